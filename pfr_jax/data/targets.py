"""What the model is trained on: stars, or 0 and 1; and what each client subtracts from it."""

import numpy as np

from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError

CENTER_SHRINKAGE = 5  # ratings; the user's mean offset is sum / (n + 5)


def explicit_targets(ratings: Ratings) -> np.ndarray:
    """The stars, f64[N]."""
    return ratings.rating.astype(np.float64)


def implicit_targets(ratings: Ratings, threshold: float | None) -> np.ndarray:
    """1 for a rating of at least ``threshold`` stars (None: the source's own), else 0; f64[N].

    A low rating stays an observed 0. Raises InputError without any threshold, and for one that
    makes all ratings positive or none.
    """
    threshold = ratings.threshold if threshold is None else threshold
    if threshold is None:
        raise InputError(
            f"--feedback=implicit: from how many stars on does a rating of {ratings.name} count "
            "as positive? Say with --implicit_threshold"
        )
    positive = ratings.rating >= threshold
    if positive.all() or not positive.any():
        which = "every" if positive.all() else "no"
        raise InputError(
            f"--implicit_threshold={threshold:g}: {which} rating of {ratings.name} is at least "
            "that; implicit feedback needs positives and negatives"
        )
    return positive.astype(np.float64)


def user_centers(
    user: np.ndarray, target: np.ndarray, num_users: int, center: str, mean: float
) -> np.ndarray:
    """What each client subtracts from a user's targets, f64[U].

    ``user`` i[n] and ``target`` f64[n] are the ratings the clients hold; ``mean`` is that of the
    targets trained on. "none": nothing; "global": ``mean``; "user": the user's own mean, shrunk
    towards ``mean``.
    """
    if center == "none":
        return np.zeros(num_users)
    if center == "global":
        return np.full(num_users, mean)
    count = np.bincount(user, minlength=num_users)
    offset = np.bincount(user, target - mean, minlength=num_users)
    return mean + offset / (count + CENTER_SHRINKAGE)
