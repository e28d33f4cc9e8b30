"""Users and items without training ratings ("cold"), and what scores their pairs.

Nothing has trained what a model would say of them: the output row of a cold item is as it began,
and a cold user's features come from an empty input. So a mean is their score, on purpose. A client
that no round has asked is not cold, nor is an item that others have trained.

Where all items are ranked by what was chosen, a choice counts as a training rating and a drawn
negative does not: an item that nobody chose is listed last, a user who chose nothing gets the most
popular items.

Legend: U users, I items, N ratings, T pairs.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pfr_jax.data.effects import ITEM_SHRINKAGE, USER_SHRINKAGE, shrunken_mean
from pfr_jax.data.examples import Examples
from pfr_jax.data.standard import Standard

LOWEST = -1e30  # a score below any that a model gives; finite, so that it can still be listed


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fallback:
    """Scores of cold pairs, in the unit of the model's output: standardised stars, or logits.

    For what a user or item must have "without" not to be cold see ``ColdRule``.
    """

    cold_user: np.ndarray  # bool[U], without anything that its client trains or adapts on
    cold_item: np.ndarray  # bool[I], without anything that any client trains on
    user_score: np.ndarray  # f64[U], of a warm user for a cold item
    item_score: np.ndarray  # f64[I], of a cold user for an item; of a cold item: the global mean


@dataclass(frozen=True)
class ColdRule:
    """How cold pairs are scored, and what a reader is told of that.

    Attributes:
      fit: see ``fit_fallback``, which is one.
      training: what a cold user or item has none of.
      cold_user: what scores the pairs of a cold user.
      cold_item: likewise of a cold item.
      both: likewise of a cold user and a cold item.
      sums: what is summed over clients per item to find these scores.
    """

    fit: Callable[
        [Examples, np.ndarray, Standard, bool, Callable[[Any], Any], int], Fallback | None
    ]
    training: str
    cold_user: str
    cold_item: str
    both: str
    sums: int


@dataclass(frozen=True)
class ColdCounts:
    """What is cold in a held-out part."""

    users: int  # different cold users
    items: int  # different cold items
    ratings: int  # of cold users, of cold items, or of both
    ratings_of_cold_users: int
    ratings_of_cold_items: int
    ratings_of_both: int


def fit_fallback(
    examples: Examples,
    trained: np.ndarray,
    standard: Standard,
    adds_center: bool,
    link: Callable[[Any], Any],
    num_items: int,
) -> Fallback | None:
    """The fallback of what clients train on; None where every user and item has some of it.

    ``trained`` bool[n] are the examples of users who are not new; ``standard`` is what becomes of
    targets before a model sees them; for ``adds_center`` and ``link`` see ``Task``.
    """
    user, item, num_users = examples.user, examples.item[trained], len(standard.user)
    cold_user = np.bincount(user, minlength=num_users) == 0
    cold_item = np.bincount(item, minlength=num_items) == 0
    if not (cold_user.any() or cold_item.any()):
        return None
    mean = examples.target[trained].mean()
    residual = examples.target - mean
    of_item = mean + shrunken_mean(item, residual[trained], num_items, ITEM_SHRINKAGE)
    of_user = mean + shrunken_mean(user, residual, num_users, USER_SHRINKAGE)
    if not adds_center:
        return Fallback(cold_user, cold_item, link(of_user), link(of_item))
    if standard.item_effects:  # the centre knows how far to trust them
        return Fallback(cold_user, cold_item, np.zeros(num_users), np.zeros(num_items))
    users, items = np.arange(num_users), np.arange(num_items)
    # Of a cold user or item nothing is known: one number for all of them.
    some_cold_user, some_cold_item = np.argmax(cold_user), np.argmax(cold_item)
    user_score = standard.values(link(of_user), users, np.full(num_users, some_cold_item))
    item_score = standard.values(link(of_item), np.full(num_items, some_cold_user), items)
    return Fallback(cold_user, cold_item, user_score, item_score)


def fit_popularity(
    examples: Examples,
    trained: np.ndarray,
    standard: Standard,
    adds_center: bool,
    link: Callable[[Any], Any],
    num_items: int,
) -> Fallback | None:
    """As ``fit_fallback``, of choices: scores that put the items of a list in the right order.

    A cold user has the items' choices for scores; a cold item has one below all others.
    """
    del adds_center, link
    chosen, num_users = examples.target > 0, len(standard.user)
    cold_user = np.bincount(examples.user[chosen], minlength=num_users) == 0
    popularity = np.bincount(examples.item[chosen & trained], minlength=num_items)
    cold_item = popularity == 0
    if not (cold_user.any() or cold_item.any()):
        return None
    return Fallback(cold_user, cold_item, np.full(num_users, LOWEST), popularity.astype(np.float64))


BY_MEANS = ColdRule(
    fit=fit_fallback,
    training="training ratings",
    cold_user="these are scored by the item's mean or effect",
    cold_item="these are scored by the user's mean or effect",
    both="these are scored by the mean of all training ratings instead",
    sums=2,  # of ratings, and their number
)
BY_POPULARITY = ColdRule(
    fit=fit_popularity,
    training="training choices",
    cold_user="the list of these is that of popularity",
    cold_item="these are listed last",
    both="these are listed last by popularity, too",
    sums=1,  # of choices
)


def by_releases(rule: ColdRule, popularity: np.ndarray | None) -> ColdRule:
    """``rule`` under differential privacy, where nothing may be scored by exact sums.

    No item is cold: to know which are takes exact counts. A cold user, who knows that it is, gets
    the centre, which was released, or ``popularity`` (f64[I], released), or all items alike.
    """

    def fit(*given: Any) -> Fallback | None:
        exact = rule.fit(*given)
        if exact is None or not exact.cold_user.any():
            return None
        nothing = np.zeros_like(exact.item_score)
        return Fallback(
            cold_user=exact.cold_user,
            cold_item=np.zeros_like(exact.cold_item),
            user_score=np.zeros_like(exact.user_score),
            item_score=nothing if popularity is None else popularity,
        )

    return dataclasses.replace(
        rule, fit=fit, cold_user="these are scored by what was released before the first round"
    )


def warm_pairs(fallback: Fallback | None, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Which of the pairs i[T], i[T] are of a user and an item that are not cold, bool[T]."""
    if fallback is None:
        return np.ones(len(user), bool)
    return ~(fallback.cold_user[user] | fallback.cold_item[item])


def count_cold(fallback: Fallback | None, user: np.ndarray, item: np.ndarray) -> ColdCounts:
    """Counts among the pairs i[T], i[T] of a held-out part."""
    if fallback is None:
        return ColdCounts(0, 0, 0, 0, 0, 0)
    of_user, of_item = fallback.cold_user[user], fallback.cold_item[item]
    return ColdCounts(
        users=len(np.unique(user[of_user])),
        items=len(np.unique(item[of_item])),
        ratings=int((of_user | of_item).sum()),
        ratings_of_cold_users=int(of_user.sum()),
        ratings_of_cold_items=int(of_item.sum()),
        ratings_of_both=int((of_user & of_item).sum()),
    )
