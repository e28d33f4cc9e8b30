"""Clients that are asked to take part in a round and do not deliver.

What becomes of every client is drawn from (seed, round, client) alone. Those that fail take empty
places in the same compiled round, so a run with failures computes what a run that had never asked
these clients computes. Times are in units of what an ordinary client needs for a round.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from pfr_jax.config import FaultConfig
from pfr_jax.seeding import Stream, bit_generator, permutation
from pfr_jax.simulation.setup import Simulation


@dataclass(frozen=True)
class Fates:
    """Of the clients that a round asks."""

    asked: np.ndarray  # i64[S]
    delivered: np.ndarray  # i64[...], whose updates arrive and are wanted; in the order of asking
    dropped: int  # never came back
    late: int  # after the deadline
    surplus: int  # after enough others


def asked_clients(cohort_size: int, num_clients: int, config: FaultConfig) -> int:
    """How many clients a round asks, to get updates of ``cohort_size``."""
    return min(num_clients, int(np.ceil(round(cohort_size * config.over_selection, 6))))


def fates(
    asked: np.ndarray, cohort_size: int, num_clients: int, config: FaultConfig, *words: int
) -> Fates:
    """What becomes of the clients asked in the round that ``words`` (seed, round) name.

    An ordinary client's time lies in [0.5, 1.5). A straggler's is that over u, uniform in (0, 1]:
    a heavy tail. A round takes the first ``cohort_size`` updates.
    """
    draws = bit_generator(Stream.FAULTS, *words).random_raw(4 * num_clients)
    uniform = (draws >> np.uint64(11)).reshape(num_clients, 4)[asked] * 2.0**-53  # in [0, 1)
    dropped = uniform[:, 0] < config.dropout_rate
    slow = uniform[:, 1] < config.straggler_rate
    time = (0.5 + uniform[:, 2]) / np.where(slow, 1 - uniform[:, 3], 1)
    late = ~dropped & (time > (config.deadline or np.inf))
    arrived = ~dropped & ~late
    first = np.argsort(np.where(arrived, time, np.inf), kind="stable")[:cohort_size]
    wanted = np.zeros(len(asked), bool)
    wanted[first] = True
    delivered = arrived & wanted
    return Fates(
        asked=asked,
        delivered=asked[delivered],
        dropped=int(dropped.sum()),
        late=int(late.sum()),
        surplus=int((arrived & ~wanted).sum()),
    )


def sample_cohort(simulation: Simulation, round: int) -> np.ndarray:
    """The clients that a round (counted from 0) asks, i64[...], without replacement.

    Poisson: each by itself with the chance --cohort_fraction; of more than a round has room for, so
    many at random. Centralised: all users.
    """
    trainable = simulation.population.trainable
    if simulation.spec.centralized:
        return trainable
    run, room = simulation.config.run, simulation.cohort_size
    if run.sampling == "poisson":
        return trainable[poisson_cohort(len(trainable), run.cohort_fraction, room, run.seed, round)]
    asked = asked_clients(simulation.cohort_size, len(trainable), simulation.config.faults)
    order = permutation(len(trainable), Stream.COHORT, simulation.config.run.seed, round)
    return trainable[order[:asked]]


def poisson_cohort(num_clients: int, chance: float, room: int, seed: int, round: int) -> np.ndarray:
    """The places i64[...] of the clients that are drawn, at most ``room``, in a random order."""
    draws = bit_generator(Stream.POISSON, seed, round).random_raw(2 * num_clients)
    uniform, order = (draws >> np.uint64(11)).reshape(2, num_clients) * 2.0**-53  # in [0, 1)
    drawn = np.flatnonzero(uniform < chance)
    return drawn[np.argsort(order[drawn], kind="stable")][:room]


def fates_of_round(simulation: Simulation, round: int) -> Fates:
    """What becomes of the clients that a round asks.

    Where a secure sum does not come about, all of them count as dropped.
    """
    asked = sample_cohort(simulation, round)
    if simulation.spec.centralized:
        return Fates(asked, asked, 0, 0, 0)
    config, clients = simulation.config, simulation.population.num_clients
    found = fates(asked, simulation.cohort_size, clients, config.faults, config.run.seed, round)
    # (Under differential privacy whoever adds the noise is trusted with any sum, and a client must
    # not decide by its coming whether others are in it: that is more than its own change.)
    is_secure_sum = config.privacy.upload == "secure_sum"
    if not is_secure_sum or len(found.delivered) >= least_in_a_sum(len(asked)):
        return found
    lost = found.dropped + len(found.delivered)
    return dataclasses.replace(found, delivered=asked[:0], dropped=lost)


def least_in_a_sum(asked: int) -> int:
    """Clients that must stay, for a secure sum of so many to come about: more than half of them.

    Of fewer the protocol's clients reveal nothing (``pfr_jax.privacy.secure_sum.client``), and a
    sum over one would be its payload.
    """
    return max(2, asked // 2 + 1)
