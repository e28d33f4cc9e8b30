"""Splits that come with the data, as files of their own: MovieLens-100K's u1.base and u1.test."""

from pathlib import Path

import numpy as np

from pfr_jax.data.formats import ReadOptions, read_files
from pfr_jax.data.splits import Split
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError


def read_premade(
    train: str | Path,
    validation: str | Path | None,
    test: str | Path | None,
    options: ReadOptions | None = None,
    name: str | None = None,
) -> tuple[Ratings, Split]:
    """The ratings of all files, train first, and which rows each part has.

    Users and items are numbered across the files; one may be without a rating to train on. See
    `read_ratings` for the other arguments. Raises InputError as that does, for a user who rates an
    item in two files, naming the line of the second, and where only `train` is given.
    """
    if validation is None and test is None:
        raise InputError(
            f"a split made before wants a validation or a test file besides {train}; to split "
            "that one at random, give it as --dataset"
        )
    paths = [path for path in (train, validation, test) if path is not None]
    ratings, lengths = read_files(paths, options, name)
    rows = iter(np.split(np.arange(len(ratings)), np.cumsum(lengths)[:-1]))
    empty = np.empty(0, np.int64)
    return ratings, Split(
        train=next(rows),
        validation=empty if validation is None else next(rows),
        test=empty if test is None else next(rows),
    )
