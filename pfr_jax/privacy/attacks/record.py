"""What an attack is, as a record: what it is given, what it knows besides, and what it finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.privacy.attacks.differences import Differences
from pfr_jax.privacy.attacks.uploads import Payloads
from pfr_jax.privacy.attacks.view import CohortView
from pfr_jax.simulation.setup import Simulation


@dataclass(frozen=True, eq=False)
class Scene:
    """A run at some round, as an attack meets it."""

    simulation: Simulation
    state: FederationState  # not to be used up
    round: int  # rounds done; an upload is that of the next one
    views: Sequence[CohortView]  # of the rounds done that were watched
    differences: Differences | None  # what they leave to who knows all other uploads
    payloads: Payloads  # what a client would hand over in the next
    clients: np.ndarray  # i64[n], whom to attack
    sets: np.ndarray  # bool[N, I], what each client has rated: the truth, and the popularity
    rng: np.random.Generator


@dataclass(frozen=True)
class Finding:
    """A figure of an attack, beside what a guess without any upload gets."""

    what: str
    value: float
    chance: float
    clients: int  # that it is of


@dataclass(frozen=True)
class Attack:
    """Attributes:
    name: what files call it.
    knows: what the attacker is given besides what the server sees, for people.
    applies: whether the server of this run is sent what the attack needs.
    find: the figures; none where the scene has nothing for it, such as no round done.
    takes_long: seconds per client, not milliseconds.
    """

    name: str
    knows: str
    applies: Callable[[Simulation], bool]
    find: Callable[[Scene], list[Finding]]
    takes_long: bool = False
