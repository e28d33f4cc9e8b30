"""What is told of a round, and where a run begins."""

import math
from dataclasses import astuple, dataclass

import numpy as np

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.evaluation.evaluate import Evaluation
from pfr_jax.simulation.ledger import Traffic


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds, device work included.

    Compilation is apart. That of the round, and making the initial state, are counted with the
    first round; that of evaluations with the first evaluated one.
    """

    train: float
    eval: float = 0.0
    compile: float = 0.0


@dataclass(frozen=True)
class Faults:
    """Clients of a round, or of several, that were asked and whose updates were not taken."""

    dropped: int = 0  # never came back
    late: int = 0  # after the deadline
    surplus: int = 0  # after enough others
    not_finite: int = 0  # rejected
    too_large: int = 0  # rejected

    def __add__(self, other: "Faults") -> "Faults":
        return Faults(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class RoundRecord:
    """What one round did. ``round`` counts from 1."""

    round: int
    loss: float  # mean over clients and their local steps of what they minimise
    learning_rate: float
    clients: np.ndarray  # i64[C], whose updates arrived in time; centralised: the users
    taken: int  # of their updates
    faults: Faults
    fruitless: int  # rounds on end, up to this one, in which all updates that came were rejected
    traffic: Traffic  # of this round
    evaluation: Evaluation | None  # every eval_every rounds and after the last
    timing: Timing
    state: FederationState  # after it; the next round uses it up


@dataclass(frozen=True)
class Begin:
    """Where a run goes on from."""

    state: FederationState  # is used up
    round: int = 0  # rounds done
    best: float = math.inf  # lowest ``criterion`` so far on validation
    fruitless: int = 0  # as in RoundRecord
