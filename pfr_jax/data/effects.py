"""Effects of users and items: shrunken means of what is left, by turns. All sums in float64."""

import numpy as np

# The alternating least squares of scikit-surprise's BaselineOnly, with its defaults.
SWEEPS = 10
ITEM_SHRINKAGE = 10.0  # ratings of weight 0 that every item is given
USER_SHRINKAGE = 15.0  # likewise for every user


def alternating_effects(
    user: np.ndarray, item: np.ndarray, residual: np.ndarray, num_users: int, num_items: int
) -> tuple[np.ndarray, np.ndarray]:
    """The effects f64[U] and f64[I] of n ratings less their mean, f64[n]; 0 without ratings.

    Items given users, then users given items, SWEEPS times. In a federation a sweep is a sum over
    clients per item, what they are sent back, and a step of each client by itself.
    """
    user_effect, item_effect = np.zeros(num_users), np.zeros(num_items)
    for _ in range(SWEEPS):
        item_effect = shrunken_mean(item, residual - user_effect[user], num_items, ITEM_SHRINKAGE)
        user_effect = effects_of_users(user, residual - item_effect[item], num_users)
    return user_effect, item_effect


def effects_of_users(user: np.ndarray, residual: np.ndarray, num_users: int) -> np.ndarray:
    """What every client computes by itself, from what the items' effects leave: f64[U]."""
    return shrunken_mean(user, residual, num_users, USER_SHRINKAGE)


def shrunken_mean(
    group: np.ndarray, residual: np.ndarray, size: int, shrinkage: float
) -> np.ndarray:
    """Shrunken mean of `residual` in each group, f64[size]; 0 where a group is empty."""
    count = np.bincount(group, minlength=size)
    total = np.bincount(group, weights=residual, minlength=size)
    return total / np.maximum(count + shrinkage, 1.0)
