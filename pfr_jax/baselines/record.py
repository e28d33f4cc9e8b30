"""What a centralised baseline is, as a record, and what it is fitted on.

It sees the training ratings of all users in one place, which no server of a federation does.
Legend: U users, I items, n ratings, B users in a block.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from pfr_jax.data.table import Ratings
from pfr_jax.seeding import Stream, bit_generator

Settings = Mapping[str, float]
Stars = Callable[[np.ndarray, np.ndarray], np.ndarray]  # users i[n], items i[n] -> stars f64[n]
Scores = Callable[[np.ndarray], np.ndarray]  # users i[B] -> scores of all items f64[B, I]
F64 = 8  # bytes
BYTES_PER_RATING = 48.0  # of sparse matrices, in both directions


@dataclass(frozen=True, eq=False)
class Known:
    """The n ratings that a baseline is fitted on; no user has an item twice."""

    user: np.ndarray  # i[n]
    item: np.ndarray  # i[n]
    value: np.ndarray  # f64[n], stars; or 1 for what was chosen, 0 for a low rating
    num_users: int
    num_items: int

    @classmethod
    def of(cls, ratings: Ratings, rows: np.ndarray, target: np.ndarray) -> "Known":
        """The ``rows`` i64[n] of the table, with what each rating is trained on, f64[N]."""
        sizes = ratings.num_users, ratings.num_items
        return cls(ratings.user[rows], ratings.item[rows], target[rows], *sizes)

    def matrix(self, values: np.ndarray) -> sp.csr_array:
        """f64[U, I] with these ``values`` f[n]; a zero among them is an entry, too."""
        shape = self.num_users, self.num_items
        return sp.csr_array((values.astype(np.float64), (self.user, self.item)), shape=shape)

    def chosen(self) -> sp.csr_array:
        """1 where a user chose an item, f64[U, I]; low ratings are no entries."""
        matrix = self.matrix(self.value)
        matrix.eliminate_zeros()
        return matrix


@dataclass(frozen=True, eq=False)
class Baseline:
    """A centralised baseline.

    Attributes:
      name: in files.
      label: in tables.
      version: another number for another result of ``fit``; what was kept is then made again.
      settings: keyword arguments of ``fit`` to choose among, on validation ratings; the first ones
        are used where there are none.
      fit: (known, **settings) -> ``Stars`` or ``Scores``, as the task wants.
      bytes_needed: (ratings to fit on, users, items) -> what ``fit`` works with at the peak.
      too_large: (number of users, number of items) -> why it cannot be fitted; "" if it can.
    """

    name: str
    label: str
    version: int
    settings: tuple[Settings, ...]
    fit: Callable[..., Any]
    bytes_needed: Callable[[int, int, int], float] = lambda num_ratings, num_users, num_items: 0.0
    too_large: Callable[[int, int], str] = lambda num_users, num_items: ""


def popularity(chosen: sp.csr_array) -> np.ndarray:
    """The share of all choices f64[I] that each item has."""
    counts: np.ndarray = chosen.sum(axis=0)
    return counts / max(1.0, counts.sum())


def or_popularity(scores: Scores, chosen: sp.csr_array) -> Scores:
    """``scores``, but popularity for users who chose nothing: of them nothing else is known."""
    unknown, popular = np.diff(chosen.indptr) == 0, popularity(chosen)

    def either(users: np.ndarray) -> np.ndarray:
        return np.where(unknown[users][:, None], popular, scores(users))

    return either


def small_numbers(*shape: int) -> np.ndarray:
    """What factors begin with, f64[shape]: uniform, mean 0, standard deviation 0.1."""
    words = bit_generator(Stream.BASELINE, *shape).random_raw(math.prod(shape))
    uniform = (words >> np.uint64(11)).astype(np.float64) / 2.0**53
    return 0.1 * math.sqrt(12) * (uniform.reshape(shape) - 0.5)
