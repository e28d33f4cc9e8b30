"""Seeded draws that are the same on every machine and with every numpy version."""

import math
from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """First seed word of every draw, so that two purposes never share random numbers."""

    SPLIT = 1  # ratings to train, validation and test
    COHORT = 2  # clients that take part in a round
    DEAL = 3  # users to clients
    SUBSET = 4  # a sample of the users
    SYNTHETIC = 5  # the generator of synthetic ratings
    BASELINE = 6  # a random ranking of the items
    NEW_USERS = 7  # users held out of training
    FAULTS = 8  # what becomes of the clients of a round
    NEGATIVES = 9  # items that a client takes as not chosen
    DECOYS = 10  # items that a client takes as rated, and their ratings
    POISSON = 11  # clients that take part in a round, each by itself
    EFFECTS = 12  # noise on the sums before the first round
    ATTACK = 13  # clients that are attacked, and what an attack draws


def bit_generator(*words: int) -> np.random.Philox:
    """A Philox generator seeded by `words`, each in [0, 2**64), e.g. (stream, seed, round).

    SeedSequence alone takes (1, 2) and (1, 2, 0) for the same seed, and 2**32 for (0, 1). The
    count in front and two 32-bit halves for each word keep different words different.
    """
    halves = [part for word in words for part in (int(word) & 0xFFFFFFFF, int(word) >> 32)]
    return np.random.Philox(np.random.SeedSequence([len(words), *halves]))


def cohort_size(num_clients: int, fraction: float, sampling: str = "fixed") -> int:
    """Clients in a round: that share of them, rounded up, at least one.

    Of cohorts in which each client is by itself ("poisson"): the most that a round has room for.
    """
    if sampling == "poisson":
        return min(num_clients, math.ceil(1.15 * fraction * num_clients) + 20)
    # Rounded first: 0.07 x 100 is a little more than 7 in floating point.
    return max(1, math.ceil(round(fraction * num_clients, 6)))


def permutation(n: int, *words: int) -> np.ndarray:
    """A random order of 0..n-1, i64[n], fixed by `words`.

    `Generator.permutation` may change between numpy versions; raw Philox words may not. The
    sort is stable, so that even two equal words cannot make machines differ.
    """
    return np.argsort(bit_generator(*words).random_raw(n), kind="stable")
