"""Splits as files of their own: those that come with the data, as u1.base and u1.test, and ours."""

from pathlib import Path

import numpy as np
import pandas as pd

from pfr_jax.data.formats import ReadOptions, read_files
from pfr_jax.data.splits import Split
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError


def read_given_split(
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


def write_split(ratings: Ratings, split: Split, folder: Path) -> dict[Path, int]:
    """Writes train.csv, validation.csv and test.csv.

    Args:
      ratings: the table.
      split: of its rows; parts without any are left out.
      folder: for the files, which have the columns user, item and rating (user and item alone where
        every row is a choice). It is made.

    Returns:
      The files that were written, and how many ratings each has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, rows in _parts(split).items():
        path = folder / f"{name}.csv"
        columns = {
            "user": ratings.user_ids[ratings.user[rows]],
            "item": ratings.item_ids[ratings.item[rows]],
        }
        if ratings.rated:
            columns["rating"] = ratings.rating[rows]
        pd.DataFrame(columns).to_csv(path, index=False)
        written[path] = len(rows)
    return written


def flags_to_read(ratings: Ratings, split: Split, folder: Path) -> list[str]:
    """What tells ``pfr run`` to take the parts that ``write_split`` wrote."""
    flags = {"train": "dataset", "validation": "validation_file", "test": "test_file"}
    given = [f"--{flags[name]}={folder / name}.csv" for name in _parts(split)]
    scale = ratings.scale
    if ratings.rated:
        bounds = [scale.low, scale.high, *([scale.step] if scale.step else [])]
        given.append(f"--scale={','.join(f'{bound:g}' for bound in bounds)}")
    return given


def _parts(split: Split) -> dict[str, np.ndarray]:
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return {name: rows for name, rows in parts.items() if len(rows)}
