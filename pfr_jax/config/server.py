"""Settings of the server."""

from dataclasses import dataclass
from typing import Literal

from pfr_jax.config.settings import option, require, require_positive


@dataclass(frozen=True)
class ServerConfig:
    """Aggregation of the shared part (paper: the plain mean, i.e. SGD with rate 1)."""

    server_optimizer: Literal["sgd", "adam"] = option(
        "sgd", "Optimizer applied to the mean of the clients' changes."
    )
    server_learning_rate: float = option(
        1.4,
        "Its learning rate; SGD with 1 and no momentum is the plain mean (the paper). Adam wants "
        "about a hundredth of that.",
    )
    server_momentum: float = option(0.8, "Momentum of the server's SGD (paper: 0).")
    denominator: Literal["clients", "contributors", "sqrt", "expected"] = option(
        "sqrt",
        "What the sum of an item row's changes is divided by: the C clients of the cohort (the "
        "paper), the n clients that hold the row, sqrt(C n), or the clients that a cohort has in "
        "the mean, which is known before the round.",
    )
    deterministic_sum: bool = option(
        False,
        "Round every client's changes to a fixed point (int32) before they are summed: the same "
        "bits on any number of devices and processes. A change beyond 4 is cut to that, and a "
        "loss in the log to 64.",
    )

    def __post_init__(self) -> None:
        require_positive(self, "server_learning_rate")
        require(
            0 <= self.server_momentum < 1,
            f"--server_momentum={self.server_momentum}: must lie in [0, 1)",
        )
