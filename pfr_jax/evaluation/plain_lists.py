"""Ranked lists and scores of pairs from scores that NumPy computes, a block of users at a time.

Baselines score so. Ties go to the item of the lower index, as in ``ranking``.
Legend: T held-out pairs, I items, B users in a block, k length of a list.
"""

import numpy as np
import scipy.sparse as sp

from pfr_jax.baselines.record import Scores
from pfr_jax.evaluation.listed import Popularity
from pfr_jax.evaluation.ranking import HeldOut, TopLists

USERS_PER_BLOCK = 256


def lists_and_scores(
    scores: Scores,
    held_out: HeldOut,
    seen: tuple[np.ndarray, np.ndarray],
    k: int,
    size: tuple[int, int],
) -> tuple[TopLists, np.ndarray]:
    """The best k items of every user with held-out positives, and the held-out pairs' scores.

    Args:
      scores: users i[B] -> scores of all items f64[B, I].
      held_out: the T pairs that are looked for.
      seen: users and items of the pairs that are no candidates for a list.
      k: length of the lists.
      size: numbers of all users and items.

    Returns:
      The lists, and the scores f64[T].
    """
    num_users, num_items = size
    # Sums of what may be there twice: only whether it is there counts.
    hidden = sp.csr_array((np.ones(len(seen[0])), seen), shape=size)
    ranked = np.unique(held_out.user[held_out.positive]).astype(np.int64)
    lists = np.full((len(ranked), k), -1)
    of_pairs = np.empty(len(held_out.user))
    order = np.argsort(held_out.user, kind="stable")
    users, first = np.unique(held_out.user[order], return_index=True)
    first = np.append(first, len(order))
    for start in range(0, len(users), USERS_PER_BLOCK):
        block = users[start : start + USERS_PER_BLOCK]
        found = np.array(scores(block), np.float64)
        pairs = order[first[start] : first[start + len(block)]]
        of_pairs[pairs] = found[np.searchsorted(block, held_out.user[pairs]), held_out.item[pairs]]
        found[hidden[block].nonzero()] = -np.inf
        listed = np.isin(block, ranked)
        top = _best(found[listed], k)
        lists[np.searchsorted(ranked, block[listed]), : top.shape[1]] = top
    return TopLists(ranked, lists, num_users, Popularity.of(seen, num_items)), of_pairs


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """The items of the k highest scores f64[B, I], best first: i64[B, at most k], -1 for -inf."""
    items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(scores, items, axis=1) > -np.inf, items, -1)
