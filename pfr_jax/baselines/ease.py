"""EASE: one weight for each pair of items, in closed form.

Steck 2019, "Embarrassingly shallow autoencoders for sparse data": X (users by items, 1 where
chosen) is predicted by X W, where W minimises |X - X W|^2 + r |W|^2 and no item predicts itself,
W_ii = 0. With P = (X'X + r)^-1 the solution is W_ij = -P_ij / P_jj off the diagonal, so that

    X W = X - (X P) / diag(P)

(columns divided by the diagonal's entries). Where there are fewer users than items their Gram
matrix is inverted instead, with K = (XX' + r)^-1:  X P = K X  and  r P_jj = 1 - x_j' K x_j.
"""

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from pfr_jax.baselines.record import BYTES_PER_RATING, F64, Known, Scores, or_popularity

LARGEST = 12_000  # users or items, whichever are fewer: such a matrix takes 1.2 GB
USERS_PER_BLOCK = 256


def too_large(num_users: int, num_items: int) -> str:
    """See ``Baseline.too_large``."""
    if min(num_users, num_items) <= LARGEST:
        return ""
    return f"its dense matrix fits for up to {LARGEST:,} users or items"


def bytes_needed(num_ratings: int, num_users: int, num_items: int) -> float:
    """See ``Baseline.bytes_needed``: the Gram matrix, sparse and dense, and scores of users."""
    matrices = 2.2 * min(num_users, num_items) ** 2 + 3 * USERS_PER_BLOCK * num_items
    return F64 * matrices + BYTES_PER_RATING * num_ratings


def fit(known: Known, ridge: float) -> Scores:
    """Scores X W with the weight ``ridge`` of |W|^2; popularity for users who chose nothing."""
    chosen = known.chosen()
    few_users = known.num_users < known.num_items
    scores = (by_users if few_users else by_items)(chosen, ridge)
    return or_popularity(scores, chosen)


def by_items(chosen: sp.csr_array, ridge: float) -> Scores:
    """From the items' Gram matrix, f64[I, I]."""
    inverse = _inverse((chosen.T @ chosen).toarray(), ridge)
    weights = np.divide(inverse, -np.diag(inverse).copy(), out=inverse)
    np.fill_diagonal(weights, 0.0)
    return lambda users: chosen[users] @ weights


def by_users(chosen: sp.csr_array, ridge: float) -> Scores:
    """From the users' Gram matrix, f64[U, U]; the weights themselves are never there."""
    inverse = _inverse((chosen @ chosen.T).toarray(), ridge)
    explained = np.zeros(chosen.shape[1])
    for start in range(0, len(inverse), USERS_PER_BLOCK):
        block = slice(start, start + USERS_PER_BLOCK)
        explained += (chosen[block] * (inverse[block] @ chosen)).sum(axis=0)
    diagonal = (1 - explained) / ridge
    return lambda users: chosen[users].toarray() - (inverse[users] @ chosen) / diagonal


def _inverse(gram: np.ndarray, ridge: float) -> np.ndarray:
    """(gram + ridge)^-1 of a symmetric matrix, in its own memory."""
    gram[np.diag_indices_from(gram)] += ridge
    # LAPACK's matrices run by columns: the transpose is this matrix, and it is symmetric.
    factor, failed = lapack.dpotrf(gram.T, lower=1, clean=0, overwrite_a=1)
    inverse, singular = lapack.dpotri(factor, lower=1, overwrite_c=1)
    assert not failed and not singular, "a Gram matrix with a positive ridge"
    # The lower half has been worked on.
    for start in range(0, len(inverse), USERS_PER_BLOCK):
        stop = start + USERS_PER_BLOCK
        lower = inverse[start:stop, :stop]
        lower[:, start:] = np.tril(lower[:, start:]) + np.tril(lower[:, start:], -1).T
        inverse[:start, start:stop] = lower[:, :start].T
    return inverse
