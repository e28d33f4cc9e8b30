"""What the model is trained on: stars, or 0 and 1. What becomes of them first is in `standard`."""

import numpy as np

from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError

RANK = "to rank items by what was chosen, say --feedback=ranking"


def explicit_targets(ratings: Ratings) -> np.ndarray:
    """The stars, f64[N]. Raises InputError where those of several users are all the same."""
    _check_ratings_differ(ratings, "explicit")
    return ratings.rating.astype(np.float64)


def implicit_targets(ratings: Ratings, threshold: float | None) -> np.ndarray:
    """1 for a rating of at least ``threshold`` stars (None: the source's own), else 0; f64[N].

    A low rating stays an observed 0. Raises InputError without any threshold, and for one that
    makes all ratings of several users positive or none.
    """
    _check_ratings_differ(ratings, "implicit")
    threshold = ratings.threshold if threshold is None else threshold
    if threshold is None:
        raise InputError(
            f"--feedback=implicit: from how many stars on does a rating of {ratings.name} count "
            "as positive? Say with --implicit_threshold"
        )
    positive = ratings.rating >= threshold
    if (positive.all() or not positive.any()) and ratings.num_users > 1:
        which = "every" if positive.all() else "no"
        raise InputError(
            f"--implicit_threshold={threshold:g}: {which} rating of {ratings.name} is at least "
            f"that; implicit feedback needs positives and negatives. {RANK.capitalize()}"
        )
    return positive.astype(np.float64)


def _check_ratings_differ(ratings: Ratings, feedback: str) -> None:
    """Raises InputError where those of several users are all the same, or there are none."""
    stars = ratings.rating
    # Those of a newcomer, who comes alone, may be alike: the model has learned from others.
    if ratings.rated and (ratings.num_users < 2 or stars.min() < stars.max()):
        return
    what = f"every rating of {ratings.name} is {stars[0]:g}, which leaves nothing to predict"
    if not ratings.rated:
        what = f"{ratings.name} has no ratings, a user and an item in a row"
    raise InputError(f"--feedback={feedback}: {what}; {RANK}")
