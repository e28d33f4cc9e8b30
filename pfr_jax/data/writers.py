"""Writing ratings in the file layouts of the MovieLens and Anime data sets.

So everything that reads those can be run on synthetic ratings, where the real ones may not be
copied to.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from pfr_jax import seeding
from pfr_jax.data import anime, profiles
from pfr_jax.data.profiles import GENDERS, YOUNGEST, Form
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError

FIRST_TIMESTAMP = 874_724_710  # seconds since 1970: September 1997, when MovieLens began
SECONDS_BETWEEN = 7  # two ratings


@dataclass(frozen=True)
class Layout:
    """How one data set is stored."""

    file: str  # relative to the data directory
    separator: str
    stars: str  # format of a rating
    header: str = ""
    unrated: bool = False  # no time, and some rows without a rating
    users_file: str = ""  # relative to the data directory; "": it has none
    users_form: Form | None = None


_CSV_HEADER = "userId,movieId,rating,timestamp\n"
LAYOUTS = {
    "ml-100k": Layout(
        "ml-100k/u.data",
        "\t",
        "{:.0f}",
        users_file="ml-100k/u.user",
        users_form=profiles.ML100K,
    ),
    "ml-1m": Layout(
        "ml-1m/ratings.dat",
        "::",
        "{:.0f}",
        users_file="ml-1m/users.dat",
        users_form=profiles.ML1M,
    ),
    "ml-10m": Layout("ml-10M100K/ratings.dat", "::", "{:g}"),
    "ml-20m": Layout("ml-20m/ratings.csv", ",", "{:.1f}", _CSV_HEADER),
    "ml-25m": Layout("ml-25m/ratings.csv", ",", "{:.1f}", _CSV_HEADER),
    "ml-32m": Layout("ml-32m/ratings.csv", ",", "{:.1f}", _CSV_HEADER),
    "anime": Layout("anime/rating.csv", ",", "{:.0f}", "user_id,anime_id,rating\n", unrated=True),
}


def write_ratings(ratings: Ratings, data_dir: str | Path, layout: str) -> Path:
    """Write `ratings`, in their order, under `data_dir` in one of LAYOUTS; the path written.

    The fourth column is an invented time, in seconds. In the layout of Anime there is none; there
    every user also watched, but did not rate, an item that nobody else has: the last rows.

    The file appears under its name only when it is complete. Raises InputError where the layout
    cannot hold the labels or ratings.
    """
    form = _layout(layout)
    table = _table(ratings, form, layout)
    if form.unrated:
        table = pa.concat_tables([table, _unrated(ratings)])

    def write(file: BinaryIO) -> None:
        file.write(form.header.encode())
        pyarrow.csv.write_csv(table, file, _options(form))

    return _write_whole(Path(data_dir) / form.file, write)


def write_users(ratings: Ratings, data_dir: str | Path, layout: str, seed: int = 0) -> Path | None:
    """Write an invented profile of every user; the path, None if the layout has no such file.

    Age, gender and occupation are drawn at random: they say nothing about the ratings.
    """
    form = _layout(layout)
    people = form.users_form
    if people is None:
        return None
    random = np.random.Generator(seeding.bit_generator(seeding.Stream.SYNTHETIC, seed, 3))
    n = ratings.num_users
    columns = {
        "user": ratings.user_ids.astype(str),
        "age": (random.integers(7, 74, n) if people.exact_age else random.choice(YOUNGEST, n)),
        "gender": random.choice(GENDERS, n),
        "occupation": random.choice(list(people.occupations), n),
        "zip": np.full(n, "00000"),
    }
    ordered = [columns[field].astype(str).tolist() for field in people.fields]
    rows = [people.separator.join(row) for row in zip(*ordered, strict=True)]
    content = "".join(row + "\n" for row in rows).encode()
    return _write_whole(Path(data_dir) / form.users_file, lambda file: file.write(content))


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise InputError(f"unknown layout {name!r}; want one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def _write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> Path:
    """Write another file first, which gets the name `path` when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            write(file)
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
    ]
    if not form.unrated:
        columns.append(pa.array(FIRST_TIMESTAMP + SECONDS_BETWEEN * np.arange(len(ratings))))
    if form.separator == "::":
        empty = pa.nulls(len(ratings), pa.string())
        columns = [column for field in columns for column in (field, empty)][:-1]
    return pa.table(columns, names=[str(p) for p in range(len(columns))])


def _unrated(ratings: Ratings) -> pa.Table:
    """One row for every user: an item beyond all others, not rated."""
    items = pa.array(np.full(ratings.num_users, ratings.item_ids.max() + 1))
    stars = pa.array([str(anime.UNRATED)] * ratings.num_users)
    return pa.table([pa.array(ratings.user_ids), items, stars], names=["0", "1", "2"])


def _stars(ratings: Ratings, form: Layout, layout: str) -> pa.Array:
    """Ratings as text, string[N]: each distinct one is formatted once."""
    levels, index = np.unique(ratings.rating, return_inverse=True)
    texts = [form.stars.format(level) for level in levels]
    for level, text in zip(levels, texts, strict=True):
        if np.float32(text) != level:
            raise InputError(f"the layout {layout} cannot hold the rating {level}")
    return pa.array(texts, pa.string()).take(pa.array(index))
