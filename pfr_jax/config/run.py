"""Settings of the round loop."""

import math
from dataclasses import dataclass
from typing import Literal

from pfr_jax.algorithms.catalog import ALGORITHMS, PERSONALFR
from pfr_jax.config.settings import option, require, require_positive, require_seed


@dataclass(frozen=True)
class RunConfig:
    """The round loop."""

    algorithm: str = option(
        PERSONALFR.name,
        "; ".join(f"{spec.name}: {spec.description}" for spec in ALGORITHMS.values()) + ".",
        choices=tuple(ALGORITHMS),
    )
    rounds: int = option(300, "Communication rounds (paper: 800).")
    cohort_fraction: float = option(0.1, "Share of the clients in a round, rounded up.")
    sampling: Literal["fixed", "poisson"] = option(
        "fixed",
        "Cohorts of one size, or every client by itself with that chance, as differential privacy "
        "counts them (at most 1.15 times the mean, and 20).",
    )
    seed: int = option(0, "Seed of initial weights, cohorts and the clients' randomness.")
    eval_every: int = option(10, "Rounds between evaluations on the validation split.")
    attack_every: int = option(
        0,
        "Rounds between attacks on what the server is sent (those that take milliseconds per "
        "client; pfr attack has all), with one after the last round; 0: none.",
    )
    retrain: bool = option(
        False,
        "After the run, train once more from the start on training and validation ratings, for "
        "the number of rounds that validation selected.",
    )
    adaptation_epochs: int = option(
        5,
        "Local epochs in which the private part of a held-out user (--holdout_users) is fitted "
        "to its own ratings against the frozen shared part, at --client_learning_rate.",
    )
    model_shrinkage: float | None = option(
        None,
        "Stars: a client counts the model's part of a prediction, which is added to its centre "
        "(--center), n / (n + this) times, n its user's training ratings. Unset: what is best on "
        "the validation split, found anew at every evaluation; 0 where there is none.",
    )
    clip_predictions: bool = option(
        True, "Clip predictions to the rating scale when measuring errors (paper: no)."
    )
    matmul_precision: Literal["highest", "high", "default"] = option(
        "highest",
        "Matrix products of rounds on an accelerator: as precise as float32; or on a TPU of three "
        "products of bfloat16 (high) or one (default), on a GPU of TensorFloat-32. A CPU has one "
        "precision.",
    )
    num_devices: int = option(
        0,
        "Devices among which the clients are divided; 0: all there are, on a CPU one per core.",
    )
    memory_limit: float = option(
        0.0, "GiB of memory that the run may take before it is refused; 0: what is there."
    )
    checkpoints: bool = option(
        True, "Write checkpoints, from which --resume goes on; also when asked to stop (SIGTERM)."
    )
    checkpoint_every: int = option(
        0,
        "Rounds between checkpoints, the last round included; 0: as often as a twentieth of the "
        "time allows, at most once a minute, and after the last round if that takes less than a "
        "tenth of the run's time.",
    )
    keep_checkpoints: int = option(2, "How many of them are kept, the last ones.")
    tensorboard: bool = option(
        False, "Write the figures of evaluated rounds as TensorBoard events, too (tensorboard/)."
    )
    top_k: int = option(
        10,
        "Implicit feedback and ranking: length of the lists that figures look at (paper: 10).",
    )
    baselines: Literal["auto", "simple", "all"] = option(
        "auto",
        "Baselines beside the results: means, effects and popularity alone (simple), or the "
        "centralised ones too (item-kNN; Bayesian factorisation, or EASE and iALS), which are "
        "computed once per split and kept. auto: all up to a million training ratings.",
    )

    def __post_init__(self) -> None:
        require(
            self.algorithm in ALGORITHMS,
            f"--algorithm={self.algorithm}: want one of {', '.join(ALGORITHMS)}; a record of one's "
            "own is given to prepare()",
        )
        positive = "rounds", "eval_every", "adaptation_epochs", "top_k", "keep_checkpoints"
        require_positive(self, *positive)
        shrinkage = self.model_shrinkage
        require(
            shrinkage is None or 0 <= shrinkage < math.inf,
            f"--model_shrinkage={shrinkage}: must be 0 or more, and finite",
        )
        require(self.attack_every >= 0, f"--attack_every={self.attack_every}: 0 (none) or more")
        every = self.checkpoint_every
        require(every >= 0, f"--checkpoint_every={every}: a number of rounds, or 0")
        require(
            0 <= self.memory_limit < math.inf,
            f"--memory_limit={self.memory_limit}: must be 0 or more, and finite",
        )
        require(self.num_devices >= 0, f"--num_devices={self.num_devices}: 0 (all) or more")
        require(
            0 < self.cohort_fraction <= 1,
            f"--cohort_fraction={self.cohort_fraction}: must lie in (0, 1]",
        )
        require_seed(self, "seed")
