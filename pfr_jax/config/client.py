"""Settings of the clients."""

import math
from dataclasses import dataclass
from typing import Literal

from pfr_jax.client.compressors import COMPRESSORS
from pfr_jax.config.settings import option, require, require_positive

Momentum = Literal["carry", "restart"]


@dataclass(frozen=True)
class ClientConfig:
    """Local training (paper: SGD 0.1, Nesterov 0.9, decay 5e-4, clip 1, 5 local epochs)."""

    client_optimizer: Literal["sgd", "adam", "adagrad", "rmsprop"] = option(
        "sgd", "Optimizer of the clients' local steps."
    )
    client_learning_rate: float = option(0.1, "Learning rate of the first round's local steps.")
    schedule: Literal["cosine", "constant"] = option(
        "cosine", "Learning rate over the rounds: cosine annealing to 0 (paper) or constant."
    )
    momentum: float = option(
        0.0, "Momentum of the client's SGD (paper: 0.9); without it a client keeps half as much."
    )
    nesterov: bool = option(True, "Nesterov momentum in the client's SGD.")
    weight_decay: float = option(
        0.0, "L2 coefficient; the decay is added to the clipped gradient (paper: 5e-4)."
    )
    ridge: float = option(
        0.4,
        "L2 penalty in ratings, beside the sum over a client's ratings, so that it follows the "
        "density of the data: this over the training ratings of the mean user is added to "
        "--weight_decay (paper: 0).",
    )
    private_rate_factor: float = option(
        0.5, "The private part's learning rate is --client_learning_rate times this (paper: 1)."
    )
    decay_biases: bool = option(True, "Weight decay on biases and norms too (the paper).")
    clip_norm: float = option(
        1.0, "Gradients are clipped to this global norm, over all parameters; 0: no clipping."
    )
    local_epochs: int = option(
        5,
        "Passes over its own users that a client makes in a round (fedalt, fedrecon: with the "
        "private part frozen).",
    )
    private_epochs: int = option(
        5, "fedalt, fedrecon: passes before those, in which only the private part moves."
    )
    proximal: float = option(
        0.0,
        "FedProx: weight of the shared part's distance from where the round began, in the "
        "client's loss.",
    )
    coupling: float = option(
        0.1,
        "ditto: weight of the distance of a client's own model from the shared one; apfl: the "
        "shared model's share in the mixture.",
    )
    weighting: Literal["clients", "ratings"] = option(
        "ratings",
        "What weighs alike in training: clients, whose loss is the mean over their ratings (the "
        "paper), or ratings: that loss times the client's ratings per user over the mean of all, "
        "before clipping.",
    )
    batch_size: int = option(10, "Users per local step, at most (paper: 10; 5 for ML-100K).")
    partial_compression: bool = option(
        True,
        "Compute and transmit only the shared rows of items that the client has rated; off: "
        "every client trains, decays and transmits every row.",
    )
    compressor: str = option(
        "none",
        "What makes uploads of weight matrices smaller: the largest entries (topk), a byte per "
        "entry (int8), or a product of two narrow matrices (lowrank). topk and lowrank: what is "
        "lost stays on the client and is added to its next upload (but not with fedrecon: its "
        "clients keep nothing).",
        choices=tuple(COMPRESSORS),
    )
    topk_share: float = option(0.1, "--compressor=topk: share of the entries that is sent.")
    lowrank_rank: int = option(4, "--compressor=lowrank: width of the two matrices.")
    private_momentum: Momentum = option(
        "carry", "Optimizer state of the private part between a client's rounds (paper: carry)."
    )
    shared_momentum: Momentum = option(
        "restart",
        "Optimizer state of the client's copy of the shared part (paper: carry). Restarted, a "
        "client keeps half as much, and learns as well with the default denominator.",
    )
    engine: Literal["auto", "factored", "active_rows"] = option(
        "auto",
        "How clients are computed, not what: exact low-rank training (SGD, one user per client), "
        "the rows of a client's items (anything), or the first where it is exact.",
    )
    kernel: Literal["auto", "off"] = option(
        "auto",
        "auto: on a TPU, or a GPU of Ampere or later, the factored engine computes a client's "
        "whole round in one program, where that program knows the settings.",
    )
    state_dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "Type in which the factored engine keeps matrices between rounds (16 bits: rounded "
        "stochastically). auto: float32 unless all clients together would need more than 4 GiB.",
    )
    state_memory: Literal["auto", "device", "host"] = option(
        "auto",
        "Where the factored engine keeps clients between rounds: on the devices, or in the "
        "machine's own memory, from which a round takes its cohort's. auto: the devices if all "
        "clients fit there beside what a round works with.",
    )
    block_size: int = option(
        0, "Clients trained at once; changes speed, not results. 0: what suits the engine."
    )
    max_buckets: int = option(
        0,
        "Most block shapes (lengths that clients are padded to) to compile; at least one for "
        "each number of minibatches that clients have. 0: up to 6, as many as save more than they "
        "take to compile.",
    )

    def __post_init__(self) -> None:
        positive = "client_learning_rate", "private_rate_factor", "local_epochs", "batch_size"
        require_positive(self, *positive, "private_epochs", "lowrank_rank")
        require(
            self.compressor in COMPRESSORS,
            f"--compressor={self.compressor}: want one of {', '.join(COMPRESSORS)}; a record of "
            "one's own is given to prepare()",
        )
        require(0 < self.topk_share <= 1, f"--topk_share={self.topk_share}: must lie in (0, 1]")
        finite = (
            "weight_decay",
            "ridge",
            "proximal",
            "coupling",
            "clip_norm",
            "block_size",
            "max_buckets",
        )
        for name in finite:
            value = getattr(self, name)
            require(0 <= value < math.inf, f"--{name}={value}: must be 0 or more, and finite")
        require(0 <= self.momentum < 1, f"--momentum={self.momentum}: must lie in [0, 1)")
