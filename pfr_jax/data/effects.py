"""Effects of users and items: shrunken means of what is left, by turns. All sums in float64.

In a federation a sweep is a sum over clients per item, what they are sent back, and a step of each
client by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

# The alternating least squares of scikit-surprise's BaselineOnly, with its defaults.
SWEEPS = 10
ITEM_SHRINKAGE = 10.0  # ratings of weight 0 that every item is given
USER_SHRINKAGE = 15.0  # likewise for every user
# A rest of a sum of squares, as a share of it, that is summed by itself: what is left of the
# difference of large numbers is not exact.
CANCELLED = 1e-6


@dataclass(frozen=True, eq=False)
class Effects:
    """What is added to the mean, and how far it is shrunk."""

    user: np.ndarray  # f64[U], 0 without ratings
    item: np.ndarray  # f64[I], likewise
    user_shrinkage: float  # ratings of weight 0 that every user is given
    item_shrinkage: float  # likewise every item

    def of_users(self, user: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """What every client computes by itself, from what the items' effects leave: f64[U]."""
        return shrunken_mean(user, residual, len(self.user), self.user_shrinkage)


@dataclass(frozen=True, eq=False)
class Side:
    """The ratings of every user, or of every item: n groups of them, m on the other side.

    A product of this matrix is several times as fast as sums over ratings one by one.
    """

    met: sp.csr_array  # f64[n, m], 1 where there is a rating
    total: np.ndarray  # f64[n], of the ratings less their mean
    count: np.ndarray  # f64[n]

    def left(self, other: np.ndarray) -> np.ndarray:
        """The totals f64[n] of what the other side's effects, f64[m], leave of the ratings."""
        rest: np.ndarray = self.total - self.met @ other
        return rest

    def given(self, other: np.ndarray, shrinkage: float) -> np.ndarray:
        """The effects f64[n] of that."""
        return _shrunken(self.left(other), self.count, shrinkage)

    def explained(self, effects: np.ndarray, total: np.ndarray) -> float:
        """What effects f64[n] change of the sum of squares of ratings with these totals f64[n]."""
        return float(self.count @ effects**2 - 2 * effects @ total)


@dataclass(frozen=True, eq=False)
class Residuals:
    """n ratings less their mean, with the sums over them that effects are found by."""

    user: np.ndarray  # i[n]
    item: np.ndarray  # i[n]
    value: np.ndarray  # f64[n]
    users: Side
    items: Side

    @classmethod
    def of(
        cls, user: np.ndarray, item: np.ndarray, value: np.ndarray, num_users: int, num_items: int
    ) -> "Residuals":
        by_user = _ones(user, item, (num_users, num_items))

        def side(met: sp.csr_array, group: np.ndarray) -> Side:
            total = np.bincount(group, value, minlength=met.shape[0])
            return Side(met, total, met @ np.ones(met.shape[1]))

        return cls(user, item, value, side(by_user, user), side(by_user.T.tocsr(), item))


def _ones(user: np.ndarray, item: np.ndarray, size: tuple[int, int]) -> sp.csr_array:
    """f64[U, I], in canonical order: how often an item is there with a user."""
    ones, same = np.ones(len(user)), user[1:] == user[:-1]
    if not ((user[1:] > user[:-1]) | same & (item[1:] > item[:-1])).all():
        return sp.csr_array((ones, (user, item)), shape=size)
    border = np.searchsorted(user, np.arange(size[0] + 1))
    kind = sp.get_index_dtype(maxval=max(len(user), *size))
    return sp.csr_array((ones, item.astype(kind, copy=False), border.astype(kind)), shape=size)


FindEffects = Callable[[Residuals], Effects]


def fixed_effects(residuals: Residuals) -> Effects:
    """The effects with shrinkage that is the same everywhere.

    Items given users, then users given items, SWEEPS times.
    """
    items, users = residuals.items, residuals.users
    of_user = np.zeros(len(users.count))
    for _ in range(SWEEPS):
        of_item = items.given(of_user, ITEM_SHRINKAGE)
        of_user = users.given(of_item, USER_SHRINKAGE)
    return Effects(of_user, of_item, USER_SHRINKAGE, ITEM_SHRINKAGE)


def adaptive_effects(residuals: Residuals) -> Effects:
    """Likewise, with the shrinkage that the ratings themselves ask for.

    Effects of users are taken to be normal around 0 with one variance, those of items with another,
    and what they leave with a third; the shrinkage is a quotient of them. Expectation maximisation
    with users and items by turns (mean-field): each sweep gives every effect its posterior mean and
    variance, then the three variances their best values. In a federation this takes two more sums
    of one number per client and sweep (of squared effects, of squared rest), and two numbers back.
    """
    items, users, value = residuals.items, residuals.users, residuals.value
    rated, seen = users.count, items.count
    of_user = np.zeros(len(rated))
    shrinkage = {"user": USER_SHRINKAGE, "item": ITEM_SHRINKAGE}
    squares = value @ value
    noise = float(squares / len(value))
    for _ in range(SWEEPS):
        of_item = items.given(of_user, shrinkage["item"])
        left = users.left(of_item)
        of_user = _shrunken(left, rated, shrinkage["user"])
        item_variance = noise / (seen + shrinkage["item"])
        user_variance = noise / (rated + shrinkage["user"])
        rest = squares + items.explained(of_item, items.total) + users.explained(of_user, left)
        if rest < CANCELLED * squares:
            left_over = value - of_user[residuals.user] - of_item[residuals.item]
            rest = left_over @ left_over
        noise = (rest + rated @ user_variance + seen @ item_variance) / len(value)
        if not noise:  # the effects explain everything
            break
        shrinkage = {
            "user": noise / np.mean((of_user**2 + user_variance)[rated > 0]),
            "item": noise / np.mean((of_item**2 + item_variance)[seen > 0]),
        }
    of_user = users.given(of_item, shrinkage["user"])
    return Effects(of_user, of_item, shrinkage["user"], shrinkage["item"])


def _shrunken(total: np.ndarray, count: np.ndarray, shrinkage: float) -> np.ndarray:
    """Means f64[n] of groups with these totals, drawn to 0; 0 where a group is empty."""
    return total / np.maximum(count + shrinkage, 1.0)


def shrunken_mean(
    group: np.ndarray, residual: np.ndarray, size: int, shrinkage: float
) -> np.ndarray:
    """Shrunken mean of `residual` in each group, f64[size]; 0 where a group is empty."""
    count = np.bincount(group, minlength=size)
    return _shrunken(np.bincount(group, residual, minlength=size), count, shrinkage)
