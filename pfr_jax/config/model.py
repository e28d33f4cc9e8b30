"""Settings of the model."""

import math
from dataclasses import dataclass
from typing import Literal

from pfr_jax.config.settings import option, require, require_positive


@dataclass(frozen=True)
class ModelConfig:
    """The model (paper: one autoencoder I -> 256 -> 128 -> 256 -> I, dropout 0.5 on the code)."""

    model: Literal["autoencoder", "mf"] = option(
        "autoencoder",
        "autoencoder: the paper's; mf: biased matrix factorisation, a private vector and bias per "
        "user and a shared table of items (one user per client).",
    )
    hidden_sizes: tuple[int, ...] = option(
        (64, 32),
        "Widths of the encoder's layers, the code last; the decoder mirrors them. mf: the last is "
        "the width of its vectors.",
    )
    members: int = option(
        4,
        "Models of this kind side by side on every client, each with a beginning, dropout and loss "
        "of its own; their predictions are averaged. Bytes and state are theirs together.",
    )
    dropout: float = option(0.2, "Dropout rate on the code (paper: 0.5).")
    input_offset: float = option(
        2.0,
        "Added to each centred rating that the encoder is given (paper: 0), so that it is told "
        "which items were rated, and not only how far from the centre.",
    )
    output_bias: Literal["zero", "mean", "item"] = option(
        "zero",
        "Start of the output layer's bias: 0 (the paper), the mean training target (implicit: "
        "its logit), or each item's own, shrunk towards that. The item's needs a secure sum of the "
        "clients' centred ratings before the first round, which is counted as traffic.",
    )

    def __post_init__(self) -> None:
        require(
            len(self.hidden_sizes) >= 1 and min(self.hidden_sizes) >= 1,
            f"--hidden_sizes={','.join(map(str, self.hidden_sizes))}: one or more positive widths",
        )
        require(
            math.isfinite(self.input_offset), f"--input_offset={self.input_offset}: must be finite"
        )
        require_positive(self, "members")
        require(0 <= self.dropout < 1, f"--dropout={self.dropout}: must lie in [0, 1)")
