"""Item-based nearest neighbours, of stars and of choices.

Sarwar, Karypis, Konstan and Riedl 2001, "Item-based collaborative filtering recommendation
algorithms". For stars in the form of Koren 2008, "Factorization meets the neighborhood", section
2.2: neighbours explain what bias-only leaves, and correlations over few common users are shrunk.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from pfr_jax.baselines.effects import bias_only
from pfr_jax.baselines.record import BYTES_PER_RATING, F64, Known, Scores, Stars, popularity

NEIGHBOURS_OF_STARS = 40
CORRELATION_SHRINKAGE = 100.0  # common users that a correlation is shrunk by; Koren's lambda_2
NEIGHBOURS_OF_CHOICES = 100
COSINE_SHRINKAGE = 10.0  # added to the norms' product: a chance companion of a rare item is no twin
PAIRS_PER_BLOCK = 512
ITEMS_PER_BLOCK = 512
# Times popularity, added to a score: an order among items without a neighbour that was chosen.
TIE_BREAKER = 1e-6


def bytes_needed(num_ratings: int, num_users: int, num_items: int) -> float:
    """See ``Baseline.bytes_needed``: a block of items with all others, four times, and as often
    the neighbours of all with their places.
    """
    del num_users
    of_item = 4 * F64 * (ITEMS_PER_BLOCK + 2 * NEIGHBOURS_OF_CHOICES)
    return of_item * num_items + BYTES_PER_RATING * num_ratings


def fit_stars(known: Known, damping: float) -> Stars:
    """Bias-only, plus the mean residual of the user's most similar items, weighted by similarity.

    ``damping`` is a weight that says 0: a user with no like item is left with bias-only.
    """
    bias = bias_only(known)
    residuals = known.matrix(known.value - bias(known.user, known.item))
    similarity = _correlations(residuals, known.matrix(np.ones(len(known.user))))

    def of_block(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        items, place = np.unique(item, return_inverse=True)
        of_items = similarity(items)
        rated = residuals[user]
        pair = np.repeat(np.arange(len(user)), np.diff(rated.indptr))
        weight = np.maximum(of_items[place[pair], rated.indices], 0.0)
        order = np.lexsort((rated.indices, -weight, pair))
        # The order is within pairs, so they begin where they began.
        nearest = order[np.arange(len(order)) - rated.indptr[pair] < NEIGHBOURS_OF_STARS]
        weight, pair, residual = weight[nearest], pair[nearest], rated.data[nearest]
        total = np.bincount(pair, weight * residual, minlength=len(user))
        weights = np.bincount(pair, weight, minlength=len(user))
        return total / (weights + damping)

    def predict(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        stars = bias(user, item)
        order = np.argsort(item, kind="stable")  # an item's similarities are wanted once
        for start in range(0, len(order), PAIRS_PER_BLOCK):
            block = order[start : start + PAIRS_PER_BLOCK]
            stars[block] += of_block(user[block], item[block])
        return stars

    return predict


def _correlations(
    residuals: sp.csr_array, rated: sp.csr_array
) -> Callable[[np.ndarray], np.ndarray]:
    """items i[b] -> their similarities f64[b, I]: the correlation of residuals over common users,
    times n / (n + CORRELATION_SHRINKAGE) for n of them. An item is not its own neighbour.
    """
    squares = residuals.power(2)
    by_item = residuals.T.tocsr(), squares.T.tocsr(), rated.T.tocsr()

    def similarity(items: np.ndarray) -> np.ndarray:
        residual, square, one = (matrix[items] for matrix in by_item)
        product, common = (residual @ residuals).toarray(), (one @ rated).toarray()
        norms = np.sqrt((square @ rated).toarray() * (one @ squares).toarray())
        correlation = np.divide(product, norms, out=np.zeros_like(product), where=norms > 0)
        correlation *= common / (common + CORRELATION_SHRINKAGE)
        correlation[np.arange(len(items)), items] = 0.0
        return correlation

    return similarity


def fit_choices(known: Known) -> Scores:
    """The sum over the user's items of their cosines with an item, if they are its neighbours."""
    chosen = known.chosen()
    neighbours = _neighbours(chosen)
    tie_breaker = TIE_BREAKER * popularity(chosen)

    def scores(users: np.ndarray) -> np.ndarray:
        return (chosen[users] @ neighbours).toarray() + tie_breaker

    return scores


def _neighbours(chosen: sp.csr_array) -> sp.csr_array:
    """Column i holds the cosines of item i with its nearest items, and those level with the last
    of them; f64[I, I]. Nothing as large as that is ever dense.
    """
    num_items = chosen.shape[1]
    counts, by_item = chosen.sum(axis=0), chosen.T.tocsr()
    rows = []
    for start in range(0, num_items, ITEMS_PER_BLOCK):
        items = np.arange(start, min(start + ITEMS_PER_BLOCK, num_items))
        common = (by_item[items] @ chosen).toarray()
        cosine = common / (np.sqrt(counts[items][:, None] * counts) + COSINE_SHRINKAGE)
        cosine[np.arange(len(items)), items] = 0.0
        if num_items > NEIGHBOURS_OF_CHOICES:
            last = np.partition(cosine, -NEIGHBOURS_OF_CHOICES, axis=1)[:, -NEIGHBOURS_OF_CHOICES]
            cosine[cosine < last[:, None]] = 0.0
        rows.append(sp.csr_array(cosine))
    return sp.vstack(rows).T.tocsr()
