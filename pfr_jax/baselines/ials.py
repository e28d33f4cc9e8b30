"""Implicit alternating least squares.

Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets": every pair of
user and item counts. What was chosen is 1, with the weight 1 + CONFIDENCE, and all else 0, with the
weight 1. Given all items' factors Y, a user's are x = (Y'Y + CONFIDENCE Y_u'Y_u + ridge)^-1
(1 + CONFIDENCE) sum of Y_u, where Y_u are the rows of what the user chose; and likewise an item's.
Legend: n users (or items), F factors.
"""

import numpy as np
import scipy.sparse as sp

from pfr_jax.baselines.record import (
    BYTES_PER_RATING,
    F64,
    Known,
    Scores,
    or_popularity,
    small_numbers,
)

FACTORS = 32
SWEEPS = 10
CONFIDENCE = 10.0
ROWS_PER_BLOCK = 2048


def bytes_needed(num_ratings: int, num_users: int, num_items: int) -> float:
    """See ``Baseline.bytes_needed``: products of factors, and a block of systems, thrice each."""
    products = max(num_users, num_items) * FACTORS * (FACTORS + 1) / 2
    systems = ROWS_PER_BLOCK * FACTORS**2
    return 3 * F64 * (products + systems) + BYTES_PER_RATING * num_ratings


def fit(known: Known, ridge: float) -> Scores:
    """Scores x . y with the weight ``ridge`` of |x|^2 + |y|^2; popularity for users who chose
    nothing.
    """
    chosen = known.chosen()
    by_item = chosen.T.tocsr()
    item = small_numbers(known.num_items, FACTORS)
    for _ in range(SWEEPS):
        user = least_squares(chosen, item, ridge)
        item = least_squares(by_item, user, ridge)
    return or_popularity(lambda users: user[users] @ item.T, chosen)


def least_squares(chosen: sp.csr_array, other: np.ndarray, ridge: float) -> np.ndarray:
    """The factors f64[n, F] of one side, given those of the ``other`` f64[m, F].

    ``chosen`` is f64[n, m].
    """
    size = other.shape[1]
    row, column = np.triu_indices(size)  # of a symmetric matrix: half of it
    products = other[:, row] * other[:, column]
    everything = other.T @ other + ridge * np.eye(size)
    found = np.empty((chosen.shape[0], size))
    for start in range(0, len(found), ROWS_PER_BLOCK):
        block = chosen[start : start + ROWS_PER_BLOCK]
        gram = np.empty((block.shape[0], size, size))
        gram[:, row, column] = gram[:, column, row] = CONFIDENCE * (block @ products)
        pull = (1 + CONFIDENCE) * (block @ other)
        solved = np.linalg.solve(gram + everything, pull[:, :, None])
        found[start : start + len(gram)] = solved[:, :, 0]
    return found
