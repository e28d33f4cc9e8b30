"""Effects of users and items: shrunken means of what is left, by turns. All sums in float64.

In a federation a sweep is a sum over clients per item, what they are sent back, and a step of each
client by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

# The alternating least squares of scikit-surprise's BaselineOnly, with its defaults.
SWEEPS = 10
ITEM_SHRINKAGE = 10.0  # ratings of weight 0 that every item is given
USER_SHRINKAGE = 15.0  # likewise for every user


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


# (user i[n], item i[n], ratings less their mean f64[n], U, I) -> effects
FindEffects = Callable[[np.ndarray, np.ndarray, np.ndarray, int, int], Effects]


def fixed_effects(
    user: np.ndarray, item: np.ndarray, residual: np.ndarray, num_users: int, num_items: int
) -> Effects:
    """The effects of n ratings less their mean, f64[n], with shrinkage that is the same everywhere.

    Items given users, then users given items, SWEEPS times.
    """
    of_user, of_item = np.zeros(num_users), np.zeros(num_items)
    for _ in range(SWEEPS):
        of_item = shrunken_mean(item, residual - of_user[user], num_items, ITEM_SHRINKAGE)
        of_user = shrunken_mean(user, residual - of_item[item], num_users, USER_SHRINKAGE)
    return Effects(of_user, of_item, USER_SHRINKAGE, ITEM_SHRINKAGE)


def adaptive_effects(
    user: np.ndarray, item: np.ndarray, residual: np.ndarray, num_users: int, num_items: int
) -> Effects:
    """Likewise, with the shrinkage that the ratings themselves ask for.

    Effects of users are taken to be normal around 0 with one variance, those of items with another,
    and what they leave with a third; the shrinkage is a quotient of them. Expectation maximisation
    with users and items by turns (mean-field): each sweep gives every effect its posterior mean and
    variance, then the three variances their best values. In a federation this takes two more sums
    of one number per client and sweep (of squared effects, of squared rest), and two numbers back.
    """
    rated, seen = np.bincount(user, minlength=num_users), np.bincount(item, minlength=num_items)
    of_user, of_item = np.zeros(num_users), np.zeros(num_items)
    shrinkage = {"user": USER_SHRINKAGE, "item": ITEM_SHRINKAGE}
    noise = float(np.mean(residual**2))
    for _ in range(SWEEPS):
        of_item = shrunken_mean(item, residual - of_user[user], num_items, shrinkage["item"])
        of_user = shrunken_mean(user, residual - of_item[item], num_users, shrinkage["user"])
        item_variance = noise / (seen + shrinkage["item"])
        user_variance = noise / (rated + shrinkage["user"])
        rest = np.sum((residual - of_user[user] - of_item[item]) ** 2)
        noise = (rest + rated @ user_variance + seen @ item_variance) / len(residual)
        if not noise:  # the effects explain everything
            break
        shrinkage = {
            "user": noise / np.mean((of_user**2 + user_variance)[rated > 0]),
            "item": noise / np.mean((of_item**2 + item_variance)[seen > 0]),
        }
    found = Effects(of_user, of_item, shrinkage["user"], shrinkage["item"])
    return replace(found, user=found.of_users(user, residual - of_item[item]))


def shrunken_mean(
    group: np.ndarray, residual: np.ndarray, size: int, shrinkage: float
) -> np.ndarray:
    """Shrunken mean of `residual` in each group, f64[size]; 0 where a group is empty."""
    count = np.bincount(group, minlength=size)
    total = np.bincount(group, weights=residual, minlength=size)
    return total / np.maximum(count + shrinkage, 1.0)
