"""Settings of clients that fail."""

import math
from dataclasses import dataclass

from pfr_jax.config.settings import option, require


@dataclass(frozen=True)
class FaultConfig:
    """Clients that do not deliver, and updates that are not taken."""

    dropout_rate: float = option(
        0.0, "Share of the clients asked that never come back with an update."
    )
    straggler_rate: float = option(
        0.0, "Share of the clients asked that are slow: by the factor 1/u, u uniform in (0, 1]."
    )
    deadline: float = option(
        2.0,
        "A round ends after this time, and later updates are lost; an ordinary client needs 0.5 "
        "to 1.5. 0: it waits for all.",
    )
    over_selection: float = option(
        1.0, "A round asks this many times the clients it needs, and takes the first it needs."
    )
    max_update_norm: float = option(
        0.0,
        "An update of a larger global norm is not taken (one that is not finite never is); 0: any.",
    )

    def __post_init__(self) -> None:
        for name in ("dropout_rate", "straggler_rate"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"--{name}={value}: must lie in [0, 1]")
        for name in ("deadline", "max_update_norm"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"--{name}={value}: must be 0 or more, and finite")
        factor = self.over_selection
        require(1 <= factor < math.inf, f"--over_selection={factor}: must be 1 or more, and finite")
