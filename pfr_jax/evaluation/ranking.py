"""Ranking figures for implicit feedback, by two protocols that must not be confused.

``*_heldout``  only the user's own held-out items are ranked, positives against low ratings (the
               paper). An easy task: with few held-out items most of them are in the first k.
``*_full``     all items the user has not seen in training are ranked, as a recommender would; an
               item that is not a held-out positive counts as wrong.

Only users with at least one held-out positive have figures, and each of them counts once. Ties
go to the item of the lower index. A user with nothing but positives held out has 1 in every
``*_heldout``, whatever the order; ``*_heldout_mixed`` are the means without such users.
Legend: U users, I items, n ranked users, k length of a list, T held-out pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.evaluation.listed import Popularity, make_up
from pfr_jax.evaluation.scoring import Scorer, score_of_users

USERS_PER_BLOCK = 128
OF_HELD_OUT = ("ndcg", "map")  # the others say little where all that is ranked was rated
OF_ALL = ("ndcg", "recall", "hr", "mrr", "precision", "map")
BY_USER = (*(f"{name}_heldout" for name in OF_HELD_OUT), *(f"{name}_full" for name in OF_ALL))


@dataclass(frozen=True)
class RankingFigures:
    """Means over the users with held-out positives, of lists cut at k.

    All are in [0, 1] but ``novelty_full``, which is in bits. With h_r = 1 where the item at rank r
    is a held-out positive, else 0, and p held-out positives, a user's precision is
    sum_r h_r / k, and its average precision sum_r h_r (h_1 + ... + h_r) / r / min(k, p). Figures
    of what is listed, whether or not it is liked, are of the same users' lists: see ``make_up``.
    """

    ndcg_heldout: float
    map_heldout: float
    ndcg_heldout_mixed: float  # over the users with low ratings held out, too; NaN: there are none
    map_heldout_mixed: float
    ndcg_full: float
    recall_full: float
    hr_full: float  # share of the users with any hit
    mrr_full: float  # 1 / rank of the first hit, 0 without one
    precision_full: float
    map_full: float
    coverage_full: float  # share of all items that are on anybody's list
    gini_full: float  # of how often each item is listed; 0: all alike, 1: always the same
    novelty_full: float  # mean -log2 of the share of users who have seen a listed item
    popularity_full: float  # mean over users of the mean such share on their lists


@dataclass(frozen=True)
class HeldOut:
    """Held-out ratings of T pairs, as a ranking sees them."""

    user: np.ndarray  # i[T]
    item: np.ndarray  # i[T]
    positive: np.ndarray  # bool[T]

    def only(self, chosen: np.ndarray) -> "HeldOut":
        """The ``chosen`` pairs, bool[T]."""
        return HeldOut(self.user[chosen], self.item[chosen], self.positive[chosen])

    def counts(self, num_users: int) -> tuple[np.ndarray, np.ndarray]:
        """Positives and low ratings of each user, i64[U] both."""
        positives = np.bincount(self.user[self.positive], minlength=num_users)
        return positives, np.bincount(self.user[~self.positive], minlength=num_users)

    def kinds_of_users(self, num_users: int) -> "KindsOfUsers":
        positives, low = self.counts(num_users)
        return KindsOfUsers(
            ranked=int((positives > 0).sum()),
            mixed=int(((positives > 0) & (low > 0)).sum()),
            only_positives=int(((positives > 0) & (low == 0)).sum()),
            only_negatives=int(((positives == 0) & (low > 0)).sum()),
        )


@dataclass(frozen=True)
class KindsOfUsers:
    """Users with held-out ratings, counted by what these are."""

    ranked: int  # at least one is positive: these users have figures
    mixed: int  # positives and low ratings
    only_positives: int  # any order of them is perfect
    only_negatives: int  # no figure


@dataclass(frozen=True)
class TopLists:
    """The full ranking's lists, of the users with held-out positives."""

    users: np.ndarray  # i64[n], ascending
    items: np.ndarray  # i64[n, k], best first, -1 for none
    num_users: int  # U
    popularity: Popularity  # of the I items, among the seen ratings


def rank_held_out(
    scorer: Scorer,
    held_out: HeldOut,
    score: np.ndarray,
    seen: tuple[np.ndarray, np.ndarray],
    k: int,
) -> tuple[RankingFigures, dict[str, np.ndarray]]:
    """Figures over all users, and of each (f64[U], NaN for users without held-out positives).

    ``score`` f[T] is the scorer's of the held-out pairs; ``seen`` are the (user, item) pairs that
    are no candidates of the full ranking.
    """
    return figures_of_lists(held_out, score, top_lists(scorer, held_out, seen, k))


def top_lists(
    scorer: Scorer, held_out: HeldOut, seen: tuple[np.ndarray, np.ndarray], k: int
) -> TopLists:
    """The best k items, less the ``seen`` pairs, for every user with held-out positives."""
    num_users, num_items = len(scorer.hidden), len(scorer.output["item_bias"])
    users = np.unique(held_out.user[held_out.positive]).astype(np.int64)
    items = top_items(scorer, users, *seen, k) if len(users) else np.empty((0, k), np.int64)
    return TopLists(users, items, num_users, Popularity.of(seen, num_items))


def figures_of_lists(
    held_out: HeldOut, score: np.ndarray, lists: TopLists
) -> tuple[RankingFigures, dict[str, np.ndarray]]:
    """As ``rank_held_out``; ``held_out`` may be a part of what the ``lists`` were made for."""
    num_users, num_items = lists.num_users, len(lists.popularity.counts)
    positives, low = held_out.counts(num_users)
    users = np.flatnonzero(positives)
    by_user = {name: np.full(num_users, np.nan) for name in BY_USER}
    if not len(users):
        nothing = dict.fromkeys(RankingFigures.__dataclass_fields__, float("nan"))
        return RankingFigures(**nothing), by_user
    top = lists.items[np.searchsorted(lists.users, users)]
    listed = _hits_of_held_out(held_out, score, users, top.shape[1])
    of_held_out = list_figures(listed, positives[users])
    user, item = held_out.user[held_out.positive], held_out.item[held_out.positive]
    relevant = user.astype(np.int64) * num_items + item
    hits = (top >= 0) & np.isin(users[:, None] * num_items + top, relevant)
    of_all = list_figures(hits, positives[users])
    figures = {f"{name}_heldout": of_held_out[name] for name in OF_HELD_OUT}
    figures |= {f"{name}_full": of_all[name] for name in OF_ALL}
    means = {name: float(values.mean()) for name, values in figures.items()}
    mixed = low[users] > 0
    for name in ("ndcg_heldout", "map_heldout"):
        means[f"{name}_mixed"] = float(figures[name][mixed].mean()) if mixed.any() else np.nan
    for name, values in figures.items():
        by_user[name][users] = values
    means |= {f"{name}_full": value for name, value in make_up(top, lists.popularity).items()}
    return RankingFigures(**means), by_user


def list_figures(hits: np.ndarray, positives: np.ndarray) -> dict[str, np.ndarray]:
    """Figures f64[n] of ranked lists: ``hits`` bool[n, k] in rank order, ``positives`` i[n] > 0.

    NDCG and average precision are divided by what the best list of length k would get, so a
    perfect list has 1 however many positives there are.
    """
    rank = np.arange(1, hits.shape[1] + 1)
    discount = 1 / np.log2(1 + rank)
    best = np.minimum(positives, hits.shape[1])
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    return {
        "ndcg": (hits @ discount) / np.cumsum(discount)[best - 1],
        "map": (hits * np.cumsum(hits, axis=1) / rank).sum(axis=1) / best,
        "recall": hits.sum(axis=1) / positives,
        "hr": hits.any(axis=1).astype(np.float64),
        "mrr": 1 / first,
        "precision": hits.mean(axis=1),
    }


def _hits_of_held_out(
    held_out: HeldOut, score: np.ndarray, users: np.ndarray, k: int
) -> np.ndarray:
    """Whether the r-th best held-out item of each of ``users`` (i[n]) is positive, bool[n, k]."""
    order = np.lexsort((held_out.item, -score, held_out.user))
    user = held_out.user[order]
    rank = np.arange(len(user)) - np.searchsorted(user, user)  # from 0, among the user's own
    row = np.searchsorted(users, user)
    listed = (rank < k) & (users[np.minimum(row, len(users) - 1)] == user)
    hits = np.zeros((len(users), k), bool)
    hits[row[listed], rank[listed]] = held_out.positive[order][listed]
    return hits


def top_items(
    scorer: Scorer, users: np.ndarray, seen_user: np.ndarray, seen_item: np.ndarray, k: int
) -> np.ndarray:
    """The best k unseen items of ``users`` (i[n], ascending), best first: i64[n, k], -1 for none.

    Scores of a block of users for all items are one matrix product; only the lists come back.
    """
    num_items = len(scorer.output["item_bias"])
    lists = [
        np.asarray(top_of_block(scorer, *block, min(k, num_items)))
        for block in _blocks(users, seen_user, seen_item, num_items)
    ]
    top = np.concatenate(lists)[: len(users)].astype(np.int64)
    return np.pad(top, ((0, 0), (0, max(0, k - num_items))), constant_values=-1)


def _blocks(
    users: np.ndarray, seen_user: np.ndarray, seen_item: np.ndarray, num_items: int
) -> Iterator[tuple[jax.Array, jax.Array, jax.Array]]:
    """Users i32[B] and their seen items as (row, item) pairs, of one shape in all blocks."""
    row = np.searchsorted(users, seen_user)
    known = users[np.minimum(row, len(users) - 1)] == seen_user
    row, item = row[known], seen_item[known]
    order = np.argsort(row, kind="stable")
    row, item = row[order], item[order]
    first = np.arange(0, len(users), USERS_PER_BLOCK)
    border = np.searchsorted(row, np.append(first, len(users)))
    capacity = int(np.diff(border).max())
    for start, low, high in zip(first, border, border[1:], strict=False):
        members = np.full(USERS_PER_BLOCK, users[-1], np.int32)
        chosen = users[start : start + USERS_PER_BLOCK]
        members[: len(chosen)] = chosen
        pairs = np.full((2, capacity), num_items, np.int32)  # padding: an item that is dropped
        pairs[:, : high - low] = row[low:high] - start, item[low:high]
        yield jnp.asarray(members), jnp.asarray(pairs[0]), jnp.asarray(pairs[1])


@partial(jax.jit, static_argnames="k")
def top_of_block(
    scorer: Scorer, users: jax.Array, seen_row: jax.Array, seen_item: jax.Array, k: int
) -> jax.Array:
    """i32[B, k]; ``seen`` pairs of item I are padding."""
    scores = score_of_users(scorer, users)
    scores = scores.at[seen_row, seen_item].set(-jnp.inf, mode="drop")
    best, items = jax.lax.top_k(scores, k)
    return jnp.where(best > -jnp.inf, items, -1)
