"""Splitting ratings into train, validation and test."""

from dataclasses import dataclass

import numpy as np

from pfr_jax import sampling
from pfr_jax.errors import InputError


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of a `Ratings` table, each part ascending; together every row once."""

    train: np.ndarray  # i64[...]
    validation: np.ndarray  # i64[...], to choose by
    test: np.ndarray  # i64[...], to report on: nothing is chosen by it


def random_split(
    num_ratings: int, validation_fraction: float, test_fraction: float, seed: int
) -> Split:
    """Deal every rating to a part at random; sizes are fractions of `num_ratings`, rounded.

    The test part does not depend on the validation fraction. Raises InputError for fractions
    outside [0, 1) and where no rating is left to train on.
    """
    fractions = {"--validation_fraction": validation_fraction, "--test_fraction": test_fraction}
    for flag, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise InputError(f"{flag}={fraction}: want a fraction from 0 up to, not with, 1")
    num_test = round(num_ratings * test_fraction)
    num_validation = round(num_ratings * validation_fraction)
    if num_test + num_validation >= num_ratings:
        raise InputError(
            f"--validation_fraction={validation_fraction} and --test_fraction={test_fraction} "
            f"leave none of {num_ratings:,} ratings to train on; lower one of them"
        )
    order = sampling.permutation(num_ratings, sampling.Stream.SPLIT, seed)
    test, validation, train = np.split(order, [num_test, num_test + num_validation])
    return Split(np.sort(train), np.sort(validation), np.sort(test))
