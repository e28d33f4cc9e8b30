"""Writing ratings in the file layouts of the MovieLens data sets.

So everything that reads MovieLens can be run on synthetic ratings, where the real ones may not
be copied to.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError

FIRST_TIMESTAMP = 874_724_710  # seconds since 1970: September 1997, when MovieLens began
SECONDS_BETWEEN = 7  # two ratings


@dataclass(frozen=True)
class Layout:
    """How one MovieLens data set is stored."""

    file: str  # relative to the data directory
    separator: str
    stars: str  # format of a rating
    header: str = ""


_CSV_HEADER = "userId,movieId,rating,timestamp\n"
LAYOUTS = {
    "ml-100k": Layout("ml-100k/u.data", "\t", "{:.0f}"),
    "ml-1m": Layout("ml-1m/ratings.dat", "::", "{:.0f}"),
    "ml-10m": Layout("ml-10M100K/ratings.dat", "::", "{:g}"),
    "ml-20m": Layout("ml-20m/ratings.csv", ",", "{:.1f}", _CSV_HEADER),
    "ml-25m": Layout("ml-25m/ratings.csv", ",", "{:.1f}", _CSV_HEADER),
    "ml-32m": Layout("ml-32m/ratings.csv", ",", "{:.1f}", _CSV_HEADER),
}


def write_movielens(ratings: Ratings, data_dir: str | Path, layout: str) -> Path:
    """Write `ratings`, in their order, under `data_dir` in one of LAYOUTS; the path written.

    The fourth column is an invented time, in seconds. The file appears under its name only when
    it is complete. Raises InputError where the layout cannot hold the labels or ratings.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}; want one of {', '.join(LAYOUTS)}")
    form = LAYOUTS[layout]
    table = _table(ratings, form, layout)
    path = Path(data_dir) / form.file
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            file.write(form.header.encode())
            pyarrow.csv.write_csv(table, file, _options(form))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _options(form: Layout) -> pyarrow.csv.WriteOptions:
    return pyarrow.csv.WriteOptions(
        include_header=False, delimiter=form.separator[0], quoting_style="none"
    )


def _table(ratings: Ratings, form: Layout, layout: str) -> pa.Table:
    """User, item, rating as text, time. Arrow writes ':' only: '::' is two with nothing between."""
    for ids in (ratings.user_ids, ratings.item_ids):
        if not np.issubdtype(ids.dtype, np.integer):
            raise InputError(f"the layout {layout} wants integer labels, not {ids[0]!r}")
    columns = [
        pa.array(ratings.user_ids[ratings.user]),
        pa.array(ratings.item_ids[ratings.item]),
        _stars(ratings, form, layout),
        pa.array(FIRST_TIMESTAMP + SECONDS_BETWEEN * np.arange(len(ratings))),
    ]
    if form.separator == "::":
        empty = pa.nulls(len(ratings), pa.string())
        columns = [column for field in columns for column in (field, empty)][:-1]
    return pa.table(columns, names=[str(p) for p in range(len(columns))])


def _stars(ratings: Ratings, form: Layout, layout: str) -> pa.Array:
    """Ratings as text, string[N]: each distinct one is formatted once."""
    levels, index = np.unique(ratings.rating, return_inverse=True)
    texts = [form.stars.format(level) for level in levels]
    for level, text in zip(levels, texts, strict=True):
        if np.float32(text) != level:
            raise InputError(f"the layout {layout} cannot hold the rating {level}")
    return pa.array(texts, pa.string()).take(pa.array(index))
