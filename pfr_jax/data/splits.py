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
    num_test, num_validation = _sizes(num_ratings, validation_fraction, test_fraction)
    # The parts of seeding.permutation's order, without sorting all of it.
    keys = seeding.bit_generator(seeding.Stream.SPLIT, seed).random_raw(num_ratings)
    is_test = _smallest(keys, num_test)
    return _of_masks(_smallest(keys, num_test + num_validation) & ~is_test, is_test)


def _smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """Which of the keys a stable sort would put first, bool[N]: ``count`` of them."""
    if not count:
        return np.zeros(len(keys), bool)
    bound = np.partition(keys, count - 1)[count - 1]
    chosen: np.ndarray = keys < bound
    chosen[np.flatnonzero(keys == bound)[: count - chosen.sum()]] = True
    return chosen


def _sizes(num_ratings: int, validation_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Of the test and the validation part. Raises InputError as ``random_split`` says."""
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
    return num_test, num_validation


def temporal_split(time: np.ndarray, validation_fraction: float, test_fraction: float) -> Split:
    """The newest ratings of all are for the test, those before them for validation.

    Args:
      time: [N], when each rating was made; of ratings made at once the later row counts as newer.
      validation_fraction: share of all ratings, in [0, 1); the size is rounded.
      test_fraction: likewise.

    Returns:
      The rows of each part, ascending. Users and items may be without a training rating.
    """
    num_test, num_validation = _sizes(len(time), validation_fraction, test_fraction)
    order = np.argsort(time, kind="stable")[::-1]
    test, validation, train = np.split(order, [num_test, num_test + num_validation])
    return Split(np.sort(train), np.sort(validation), np.sort(test))


def leave_one_out_split(
    user: np.ndarray, time: np.ndarray, validation: bool = True, test: bool = True
) -> Split:
    """Each user's newest rating is for the test, the one before it for validation.

    Args:
      user: i[N], whose rating.
      time: [N], when each was made; of ratings made at once the later row counts as newer.
      validation: False: there is no such part.
      test: likewise.

    Returns:
      The rows of each part, ascending. Users with fewer than three ratings only train.
    """
    order = np.lexsort((time, user))
    from_newest, count = _places(user, order)
    enough = count[user] >= 3
    is_test = enough & (from_newest == 0) if test else np.zeros(len(user), bool)
    place = int(test)
    is_validation = enough & (from_newest == place) if validation else np.zeros(len(user), bool)
    return _of_masks(is_validation, is_test)


def user_split(
    user: np.ndarray, validation_fraction: float, test_fraction: float, seed: int
) -> Split:
    """As ``random_split``, each user's ratings by themselves: the same shares of everybody's.

    Args:
      user: i[N], whose rating.
      validation_fraction: share of each user's ratings, in [0, 1); numbers are rounded, and at
        least one rating is left to train on.
      test_fraction: likewise.
      seed: of the split alone.

    Returns:
      The rows of each part, ascending.
    """
    _sizes(len(user), validation_fraction, test_fraction)
    order = seeding.permutation(len(user), seeding.Stream.SPLIT, seed)
    place, count = _places(user, order[np.argsort(user[order], kind="stable")])
    most = count[user] - 1
    num_test = np.minimum(np.rint(count * test_fraction)[user], most)
    num_held = np.minimum(num_test + np.rint(count * validation_fraction)[user], most)
    return _of_masks((place >= num_test) & (place < num_held), place < num_test)


def _places(user: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each rating stands among its user's in ``order`` (users ascending), counted from the
    last one, i64[N]; and how many ratings each user has, i64[U].
    """
    count = np.bincount(user)
    place = np.empty(len(user), np.int64)
    place[order] = np.repeat(np.cumsum(count), count) - 1 - np.arange(len(user))
    return place, count


def _of_masks(is_validation: np.ndarray, is_test: np.ndarray) -> Split:
    train = np.flatnonzero(~(is_validation | is_test))
    return Split(train, np.flatnonzero(is_validation), np.flatnonzero(is_test))


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
    if not new_users.any():
        return replace(split, support=_no_rows(), query=_no_rows())

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
