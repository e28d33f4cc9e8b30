"""What clients train on: the ratings they hold, or what was chosen and a sample of what was not.

A client that learns from choices alone draws items that it has not chosen as negatives: once,
before the first round, or anew in each of its rounds. It knows its own training ratings and nothing
else, so that a held-out item may well be among them. Their rows become active: they are trained,
received, sent and counted like others.
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

    def __add__(self, other: "Examples") -> "Examples":
        """These, and the other ones behind them."""
        if not len(other):
            return self
        pairs = (self.user, other.user), (self.item, other.item), (self.target, other.target)
        return Examples(*map(np.concatenate, pairs))


def observed(ratings: Ratings, rows: np.ndarray, target: np.ndarray) -> Examples:
    """The ratings at ``rows`` (i64[n]) as they are; ``target`` is f64[N]."""
    return Examples(ratings.user[rows], ratings.item[rows], target[rows])


@dataclass(frozen=True, eq=False)
class Choices:
    """What lies on the clients, by user, and what they draw negatives by."""

    item: np.ndarray  # i[n], rated
    positive: np.ndarray  # bool[n]
    border: np.ndarray  # i64[U + 1], where each user's begin
    weight: np.ndarray  # f64[I], chances of an item
    up_to: np.ndarray  # f64[I], their cumulative sum
    negatives: int  # per positive
    seed: int

    def with_drawn(self, users: np.ndarray, *round: int) -> Examples:
        """Positives (1) and drawn negatives (0) of these users, i64[...] ascending; by user.

        A user's draws depend on the seed, the ``round`` if there is one, the user's own ratings and
        the chances, and not on who else is asked for.
        """
        rated = [slice(*self.border[user : user + 2]) for user in users.tolist()]
        chosen = [self.item[own][self.positive[own]] for own in rated]
        drawn = [
            draw_unrated(
                *(self.weight, self.up_to, self.item[own], self.negatives * len(some)),
                bit_generator(Stream.NEGATIVES, self.seed, user, *round),
            ).astype(self.item.dtype)
            for user, own, some in zip(users.tolist(), rated, chosen, strict=True)
        ]
        sizes = [len(part) for pair in zip(chosen, drawn, strict=True) for part in pair]
        items = [part for pair in zip(chosen, drawn, strict=True) for part in pair]
        return Examples(
            user=np.repeat(np.repeat(users, 2), sizes),
            item=np.concatenate([*items, self.item[:0]]),
            target=np.repeat(np.tile([1.0, 0.0], len(users)), sizes),
        )


def choices_of(
    ratings: Ratings,
    rows: np.ndarray,
    target: np.ndarray,
    negatives: int,
    sampling: Sampling,
    seed: int,
    counted: np.ndarray,
) -> Choices:
    """The positives among ``rows``, and how their users draw items that they have not rated.

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
      What ``with_drawn`` makes examples of. Low ratings are neither positives nor drawn.
    """
    order = np.argsort(ratings.user[rows], kind="stable")
    user, item = ratings.user[rows][order], ratings.item[rows][order]
    positive = target[rows][order] > 0
    weight = np.ones(ratings.num_items)
    if sampling == "popularity":
        of_all = item[positive & counted[user]]
        weight = np.bincount(of_all, minlength=ratings.num_items).astype(np.float64)
    border = np.searchsorted(user, np.arange(ratings.num_users + 1))
    return Choices(item, positive, border, weight, np.cumsum(weight), negatives, seed)


def draw_unrated(
    weight: np.ndarray,
    up_to: np.ndarray,
    rated: np.ndarray,
    wanted: int,
    bits: np.random.BitGenerator,
) -> np.ndarray:
    """Different items that are not ``rated``, ascending: ``wanted`` of them, or all there are.

    One after the other, with chances by ``weight`` f64[I] among those that are left; ``up_to``
    f64[I] is its cumulative sum. Guesses at random, of which those that cannot be taken are passed
    over, are such draws, and quick where few are wanted. What the guesses leave is drawn by the
    smallest exponential keys among the rest, which is the same as going on one by one.
    """
    random = np.random.Generator(bits)
    free = np.append(weight > 0, False)  # the last: where rounding reaches the end
    free[rated] = False
    wanted = min(wanted, int(free.sum()))
    uniform = random.random(wanted + wanted // 2 + 8)
    guesses = np.searchsorted(up_to, up_to[-1] * uniform, side="right")
    guesses = guesses[free[guesses]]
    turn = np.arange(len(guesses))
    first = np.empty(len(free), np.int64)
    first[guesses[::-1]] = turn[::-1]
    drawn = guesses[first[guesses] == turn][:wanted]
    if len(drawn) < wanted:
        free[drawn] = False
        left = np.flatnonzero(free)
        keys = -np.log1p(-random.random(len(left))) / weight[left]
        rest = np.argpartition(keys, wanted - len(drawn) - 1)[: wanted - len(drawn)]
        drawn = np.append(drawn, left[rest])
    return np.sort(drawn)
