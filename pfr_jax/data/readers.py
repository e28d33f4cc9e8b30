"""Reading of rating files, strictly and fast: csv, tsv, '::', MovieLens-100K and parquet.

`lines` and `fields` say what is allowed. The checks of `fields` are made here themselves, on the
distinct labels and ratings of a file, which are few: so fast cannot mean different.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pfr_jax.data import fields, lines
from pfr_jax.data.columns import ENCODED, Place, read_parquet, read_text
from pfr_jax.data.fields import FixedLayout, Problem
from pfr_jax.data.lines import ROLES, Columns
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError

# To be raised whenever some file is read differently than before: cached data of an older parser
# are not used.
PARSER_VERSION = 2

NAMES: Columns = ("user", "item", "rating")
POSITIONS: Columns = (0, 1, 2)
# Separator and default columns by the end of the file's name. MovieLens-100K's own `u.data`
# and its splits (`u1.base`, `u1.test`) are separated by tabs.
TEXT_FORMATS: dict[str, tuple[str, Columns]] = {
    ".csv": (",", NAMES),
    ".tsv": ("\t", NAMES),
    ".dat": ("::", POSITIONS),
    ".data": ("\t", POSITIONS),
    ".base": ("\t", POSITIONS),
    ".test": ("\t", POSITIONS),
    "": ("\t", POSITIONS),
}


@dataclass(frozen=True)
class _File:
    """The N ratings of one file, in its order; checked, but for pairs given twice."""

    user: pa.DictionaryArray  # string[N]
    item: pa.DictionaryArray  # string[N]
    stars: np.ndarray  # f32[N]
    place: Place


def read_ratings(
    path: str | Path,
    columns: Columns | None = None,
    scale: Scale | None = None,
    name: str | None = None,
    layout: FixedLayout | None = None,
) -> Ratings:
    """Read one rating per line of a text file, or per row of a parquet file, in its order.

    `columns` says where user, item and rating stand: names, which need a header, or positions
    from 0, which need a file without one. By default names "user", "item", "rating" for csv,
    tsv and parquet, and positions 0, 1, 2 for the others. Without `scale`, the lowest and highest
    rating make it. `layout` demands what is known of a public data set's file.

    Raises InputError, with the line, for whatever the grammar in `lines` does not allow.
    """
    return read_files([path], columns, scale, name, layout)[0]


def read_files(
    paths: Sequence[str | Path],
    columns: Columns | None = None,
    scale: Scale | None = None,
    name: str | None = None,
    layout: FixedLayout | None = None,
) -> tuple[Ratings, list[int]]:
    """The ratings of several files, one after the other, and how many each file has."""
    columns = _check_columns(columns)
    files = [_read(Path(path), columns, scale, layout) for path in paths]
    user = _labels(_join([file.user for file in files]))
    item = _labels(_join([file.item for file in files]))
    stars = np.concatenate([file.stars for file in files])
    scale = scale or Scale(float(stars.min()), float(stars.max()))
    ratings = Ratings.from_columns(user, item, stars, scale, name or Path(paths[0]).name)
    _check_pairs(ratings, files)
    return ratings, [len(file.stars) for file in files]


def _check_columns(columns: Columns | None) -> Columns | None:
    if columns is None:
        return None
    names = all(isinstance(column, str) for column in columns)
    positions = all(isinstance(column, int) and column >= 0 for column in columns)
    if len(columns) != 3 or len(set(columns)) != 3 or not (names or positions):
        raise InputError(
            f"columns {columns!r}: want the three names of user, item and rating, or their three "
            "positions from 0; see --columns"
        )
    return columns


def _read(
    path: Path, columns: Columns | None, scale: Scale | None, layout: FixedLayout | None
) -> _File:
    if not path.is_file():
        raise InputError(f"{path}: no such file; check --dataset and --data_dir")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        table, place = read_parquet(path, columns or NAMES, layout)
    elif suffix in TEXT_FORMATS:
        separator, default = TEXT_FORMATS[suffix]
        table, place = read_text(
            path, lines.sniff(path, separator, columns or default, scale, layout)
        )
    else:
        known = ", ".join([*filter(None, TEXT_FORMATS), ".parquet"])
        raise InputError(f"{path}: unknown kind of file {suffix!r}; want one of {known}")
    user, item, rating = (_join(table[role].chunks) for role in ROLES)
    _check_each(user, lambda text: fields.check_label(text, "user", layout), place)
    _check_each(item, lambda text: fields.check_label(text, "item", layout), place)
    stars = _check_each(rating, lambda text: fields.check_rating(text, scale), place)
    for other in table.columns[len(ROLES) :]:
        _check_times(other, place)
    return _File(user, item, np.array(stars, np.float32)[rating.indices.to_numpy()], place)


def _join(columns: list[pa.DictionaryArray]) -> pa.DictionaryArray:
    return pa.chunked_array(columns, ENCODED).unify_dictionaries().combine_chunks()


def _check_each(column: pa.DictionaryArray, check: Callable[[str], Any], place: Place) -> list:
    """What `check` returns for each distinct text of `column`; its Problem becomes InputError."""
    results = []
    for code, text in enumerate(column.dictionary.to_pylist()):
        try:
            results.append(check(text))
        except Problem as problem:
            row = pc.index(column.indices, code).as_py()
            raise InputError(f"{place(row)}: {problem}") from problem
    return results


def _check_times(column: pa.ChunkedArray, place: Place) -> None:
    """As `fields.check_time` on every text; but nearly all of them are distinct."""
    good = pc.match_substring_regex(column, f"^{fields.INTEGER}$")
    row = pc.index(good, False).as_py()
    if row >= 0:
        try:
            fields.check_time(column[row].as_py())
        except Problem as problem:
            raise InputError(f"{place(row)}: {problem}") from problem


def _labels(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Labels of N ratings, i64 if all are integers, else text."""
    if not all(map(fields.is_integer, column.dictionary.to_pylist())):
        return column
    return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.int64()))


def _check_pairs(ratings: Ratings, files: list[_File]) -> None:
    """Refuse a second rating of one item by one user."""
    pair = ratings.user.astype(np.int64) * ratings.num_items + ratings.item
    ordered = np.sort(pair)
    if not np.any(ordered[1:] == ordered[:-1]):
        return
    order = np.argsort(pair, kind="stable")
    row = int(order[1:][pair[order][1:] == pair[order][:-1]].min())
    first = int(np.argmax(pair == pair[row]))
    user, item = ratings.user_ids[ratings.user[row]], ratings.item_ids[ratings.item[row]]
    raise InputError(
        f"{_place(row, files)}: user {user} rated item {item} at {_place(first, files)} already; "
        "keep one of the two"
    )


def _place(row: int, files: list[_File]) -> str:
    """What to call a row, from 0, of all `files` one after the other."""
    for file in files:
        if row < len(file.stars):
            return file.place(row)
        row -= len(file.stars)
    raise ValueError("no file has that row")
