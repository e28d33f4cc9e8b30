"""Splitting ratings into train, validation and test."""

from dataclasses import dataclass, field, replace

import numpy as np

from pfr_jax import seeding
from pfr_jax.errors import InputError


def _no_rows() -> np.ndarray:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of a `Ratings` table, each part ascending; together every row once.

    `support` and `query` are the ratings of new users, whom training never sees.
    """

    train: np.ndarray  # i64[...]
    validation: np.ndarray  # i64[...], to choose by
    test: np.ndarray  # i64[...], to report on: nothing is chosen by it
    support: np.ndarray = field(default_factory=_no_rows)  # i64[...], what new users bring
    query: np.ndarray = field(default_factory=_no_rows)  # i64[...], to report on, for new users

    def all_to_train_on(self) -> "Split":
        """With the validation ratings among the training ratings."""
        train = np.sort(np.concatenate([self.train, self.validation]))
        return replace(self, train=train, validation=self.validation[:0])


def random_split(
    num_ratings: int, validation_fraction: float, test_fraction: float, seed: int
) -> Split:
    """Deals every rating to a part at random.

    Args:
      num_ratings: of the table.
      validation_fraction: share of all ratings, in [0, 1); the size is rounded.
      test_fraction: likewise. Which ratings they are does not depend on the validation fraction.
      seed: of the split alone.

    Returns:
      The rows of each part, ascending.

    Raises:
      InputError: a fraction is out of range, or no rating is left to train on.

    Example:
      >>> split = random_split(10, validation_fraction=0.1, test_fraction=0.2, seed=0)
      >>> len(split.train), len(split.validation), len(split.test)
      (7, 1, 2)
      >>> (split.test == random_split(10, 0.3, 0.2, seed=0).test).all()
      np.True_
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
    order = seeding.permutation(num_ratings, seeding.Stream.SPLIT, seed)
    test, validation, train = np.split(order, [num_test, num_test + num_validation])
    return Split(np.sort(train), np.sort(validation), np.sort(test))


def choose_new_users(num_users: int, fraction: float, seed: int) -> np.ndarray:
    """A random `fraction` of the users, rounded, to be held out of training; bool[U]."""
    chosen = np.zeros(num_users, bool)
    order = seeding.permutation(num_users, seeding.Stream.NEW_USERS, seed)
    chosen[order[: round(num_users * fraction)]] = True
    if chosen.all():
        raise InputError(f"--holdout_users={fraction}: leaves none of {num_users} users to train")
    return chosen


def hold_out_users(split: Split, user: np.ndarray, new_users: np.ndarray) -> Split:
    """`split` with the rows of `new_users` (bool[U]) moved to `support` and `query`.

    Their test ratings are asked for; all others are what they bring. `user` is that of every row.
    """

    def of(who: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return rows[who[user[rows]]]

    others = ~new_users
    brought = np.concatenate([of(new_users, split.train), of(new_users, split.validation)])
    return Split(
        train=of(others, split.train),
        validation=of(others, split.validation),
        test=of(others, split.test),
        support=np.sort(brought),
        query=of(new_users, split.test),
    )
