"""What clients train on: the ratings they hold, or what was chosen and a sample of what was not.

A client that learns from choices alone draws items that it has not chosen as negatives, once,
before the first round. It knows its own training ratings and nothing else, so that a held-out item
may well be among them. Their rows become active: they are trained, received, sent and counted like
others.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pfr_jax.data.table import Ratings
from pfr_jax.seeding import Stream, bit_generator

Sampling = Literal["uniform", "popularity"]


@dataclass(frozen=True, eq=False)
class Examples:
    """n pairs of a user and an item that lie on clients, and what is to be predicted."""

    user: np.ndarray  # i[n]
    item: np.ndarray  # i[n]
    target: np.ndarray  # f64[n]

    def __len__(self) -> int:
        return len(self.user)

    def of_users(self, chosen: np.ndarray) -> "Examples":
        """Those of the ``chosen`` users, bool[U]."""
        rows = chosen[self.user]
        return Examples(self.user[rows], self.item[rows], self.target[rows])


def observed(ratings: Ratings, rows: np.ndarray, target: np.ndarray) -> Examples:
    """The ratings at ``rows`` (i64[n]) as they are; ``target`` is f64[N]."""
    return Examples(ratings.user[rows], ratings.item[rows], target[rows])


def chosen_and_not(
    ratings: Ratings,
    rows: np.ndarray,
    target: np.ndarray,
    negatives: int,
    sampling: Sampling,
    seed: int,
    counted: np.ndarray,
) -> Examples:
    """The positives among ``rows``, and for each of them ``negatives`` items not rated by its user.

    Args:
      ratings: the table.
      rows: i64[n], the ratings that lie on clients.
      target: f64[N], 1 for a positive.
      negatives: how many are drawn per positive; fewer where a user has rated nearly everything.
      sampling: every unrated item alike, or in proportion to the items' positives, a sum over
        clients.
      seed: of the draws, which are each client's own.
      counted: bool[U], the users whose positives the sum is over: not new ones.

    Returns:
      Positives (1) and negatives (0), by user. Low ratings are neither.
    """
    user, item = ratings.user[rows], ratings.item[rows]
    positive = target[rows] > 0
    weight = np.ones(ratings.num_items)
    if sampling == "popularity":
        of_all = item[positive & counted[user]]
        weight = np.bincount(of_all, minlength=ratings.num_items).astype(np.float64)
    order = np.argsort(user, kind="stable")
    border = np.searchsorted(user[order], np.arange(ratings.num_users + 1))
    users, items = [user[positive]], [item[positive]]
    for index in np.unique(user[positive]):
        own = order[border[index] : border[index + 1]]
        wanted = negatives * int(positive[own].sum())
        drawn = _draw(weight, item[own], wanted, bit_generator(Stream.NEGATIVES, seed, index))
        users.append(np.full(len(drawn), index, user.dtype))
        items.append(drawn.astype(item.dtype))
    labels = np.repeat([1.0, 0.0], [len(users[0]), sum(map(len, users[1:]))])
    all_users, all_items = np.concatenate(users), np.concatenate(items)
    by_user = np.argsort(all_users, kind="stable")
    return Examples(all_users[by_user], all_items[by_user], labels[by_user])


def _draw(
    weight: np.ndarray, rated: np.ndarray, wanted: int, bits: np.random.BitGenerator
) -> np.ndarray:
    """Different items that are not ``rated``, with chances by ``weight`` f64[I]; at most all.

    Those of the smallest exponential keys, which is drawing without replacement.
    """
    uniform = np.random.Generator(bits).random(len(weight))
    keys = np.full(len(weight), np.inf)
    np.divide(-np.log1p(-uniform), weight, out=keys, where=weight > 0)
    keys[rated] = np.inf
    count = min(wanted, int(np.isfinite(keys).sum()))
    return np.sort(np.argpartition(keys, count - 1)[:count]) if count else np.empty(0, np.int64)
