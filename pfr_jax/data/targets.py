"""What the model is trained on: stars, or 0 and 1. What becomes of them first is in `standard`."""

import numpy as np

from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError


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
