"""Files of ratings become `Ratings`: columns joined, labels numbered, repeated pairs settled.

The rules are in `grammar` and `fields`; `text` and `tables` keep to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pfr_jax.data.formats import fields, repeats, stream
from pfr_jax.data.formats.columns import TextColumns, compact, join, map_distinct
from pfr_jax.data.formats.grammar import SHOWN
from pfr_jax.data.formats.options import ReadOptions
from pfr_jax.data.formats.tables import SUFFIXES, read_table
from pfr_jax.data.formats.text import read_text
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError
from pfr_jax.paths import is_file

# To be raised whenever some file is read differently than before: cached data of an older parser
# are not used.
PARSER_VERSION = 5


@dataclass(frozen=True)
class _File:
    """The n ratings of one file that are kept, in its order."""

    columns: TextColumns
    stars: np.ndarray  # f32[n]; 1 for a choice
    rows: np.ndarray | None  # i64[n], their places in ``columns``; None: all of them
    marked: int = 0  # rows that carry the mark of no rating, dropped
    outside: int = 0  # ratings outside the range, dropped
    again: int = 0  # ratings of pairs rated again, settled
    chosen_again: int = 0  # choices of pairs chosen before, dropped

    @cached_property
    def user(self) -> pa.DictionaryArray:
        return _take(self.columns.user, self.rows)

    @cached_property
    def item(self) -> pa.DictionaryArray:
        return _take(self.columns.item, self.rows)

    def times(self) -> np.ndarray | None:
        """When each was made, i64[n] or f64[n]; None where nothing is known of it."""
        found = repeats.times(self.columns)
        if found is None:
            return None
        numbers = found.astype(np.int64) if found.dtype.kind == "M" else found
        return numbers if self.rows is None else numbers[self.rows]

    def place(self, row: int) -> str:
        return self.columns.place(row if self.rows is None else int(self.rows[row]))


def read_ratings(
    path: str | Path, options: ReadOptions | None = None, name: str | None = None
) -> Ratings:
    """The ratings of one file, in its order.

    Args:
      path: a text file (one rating per line; .gz and .zst are unpacked), parquet or feather.
      options: what is known of the file; by default all is found out.
      name: of the source, for logs and messages; by default the file's.

    Returns:
      The ratings; their ``notes`` say what was found out, their ``removed`` what was dropped.

    Raises:
      InputError: with the lines, for all that the grammar does not allow.
    """
    return read_files([path], options, name)[0]


def read_files(
    paths: Sequence[str | Path], options: ReadOptions | None = None, name: str | None = None
) -> tuple[Ratings, list[int]]:
    """The ratings of several files, one after the other, and how many each file has.

    As ``read_ratings``. A pair of user and item that is in two files is an error in any case.
    """
    options = options or ReadOptions()
    files = [_settle(_read(Path(path), options), options) for path in paths]
    rated = _all_or_none_are_rated(files)
    user = _labels(join([file.user for file in files]))
    item = _labels(join([file.item for file in files]))
    stars = np.concatenate([file.stars for file in files])
    if not len(stars):
        raise InputError(f"{paths[0]}: no rating is within --rating_range")
    scale, inferred = options.scale, options.scale is None
    notes = [f"{file.columns.faults.path.name}: {n}" for file in files for n in file.columns.notes]
    if scale is None:
        levels = np.sort(pc.unique(pa.array(stars)).to_numpy())
        scale = Scale(float(levels[0]), float(levels[-1]))
        notes += _far_levels(levels)
    elif options.duplicates == "mean" and any(file.again for file in files):
        scale = replace(scale, step=None)  # a mean may lie between the steps
    ratings = Ratings.from_columns(user, item, stars, scale, name or Path(paths[0]).name)
    removed = {
        "not_rated": sum(file.marked for file in files),
        "outside_rating_range": sum(file.outside for file in files),
        "rated_again": sum(file.again for file in files),
        "chosen_again": sum(file.chosen_again for file in files),
    }
    notes += _removals(removed, options, by_time=all(f.columns.time is not None for f in files))
    removed = {why: count for why, count in removed.items() if count}
    ratings = replace(
        ratings, scale_inferred=inferred, notes=tuple(notes), removed=removed, rated=rated
    )
    if options.times:
        times = [time for file in files if (time := file.times()) is not None]
        if len(times) == len(files):
            ratings = replace(ratings, time=np.concatenate(times))
    if len(files) > 1:
        _check_overlap(ratings, files)
    return ratings, [len(file.stars) for file in files]


def _all_or_none_are_rated(files: list[_File]) -> bool:
    """Whether the files have ratings. Raises InputError if some have and some have not."""
    rated = [file.columns.rating is not None for file in files]
    if any(rated) and not all(rated):
        paths = [str(file.columns.faults.path) for file in files]
        raise InputError(
            f"{paths[rated.index(False)]}: user and item alone, where {paths[rated.index(True)]} "
            "has ratings; write both alike, or give --columns"
        )
    return all(rated)


def _far_levels(levels: np.ndarray) -> list[str]:
    """Points at a lowest or highest rating that may be a mark of something else.

    ``levels`` f64[...] are the different ratings, ascending. MovieLens' go up in equal steps.
    """
    steps = np.diff(levels)
    if len(steps) < 3:
        return []
    told = []
    if steps[0] >= 2 * steps[1:].max():
        told.append(("lowest", levels[0], levels[1]))
    if steps[-1] >= levels[-2] - levels[0]:
        told.append(("highest", levels[-1], levels[-2]))
    return [
        f"The {which} rating, {level:g}, is far from the next, {next:g}; if it is no rating but a "
        "mark, leave it out with --rating_range"
        for which, level, next in told
    ]


def _removals(removed: dict[str, int], options: ReadOptions, by_time: bool) -> list[str]:
    """What was dropped, in sentences; ``by_time``: repeated pairs were settled by their times."""
    told = []
    if options.rating_range:
        low, high = options.rating_range
        count = removed["outside_rating_range"]
        told.append(f"{count:,} ratings outside {low:g} to {high:g} were dropped.")
    if options.unrated is not None:
        count = removed["not_rated"]
        told.append(f"{count:,} rows were marked {options.unrated:g}, not rated, and dropped.")
    if removed["rated_again"]:
        by = "by its time" if by_time else "by line, as no column of times is known (see --columns)"
        what = {"mean": "their means stand for them"}.get(
            options.duplicates, f"the {options.duplicates} of each was kept, {by}"
        )
        told.append(f"{removed['rated_again']:,} ratings were of pairs rated again; {what}.")
    if removed["chosen_again"]:
        again = removed["chosen_again"]
        told.append(f"{again:,} rows were of pairs chosen before; a pair counts once.")
    return told


def _read(path: Path, options: ReadOptions) -> TextColumns:
    if not is_file(path):
        raise InputError(f"{path}: no such file")
    if stream.suffix(path) in SUFFIXES:
        return read_table(path, options, options.with_time)
    return read_text(path, options, options.with_time)


def _settle(columns: TextColumns, options: ReadOptions) -> _File:
    """The ratings that are kept. Raises InputError with all that is wrong with the file."""
    if columns.rating is None:
        return _settle_choices(columns)
    stars, rows = map_distinct(columns.rating, lambda text: fields.check_rating(text, options.rule))
    dropped = 0 if rows is None else len(stars) - len(rows)
    marked = 0
    if dropped and options.unrated is not None:
        is_mark = [float(text) == options.unrated for text in columns.rating.dictionary.to_pylist()]
        marked = int(np.array(is_mark)[columns.rating.indices.to_numpy()].sum())
    stars = _take(stars, rows)
    file = _File(columns, stars, rows, marked, dropped - marked)
    found = repeats.find_repeats(file.user.indices.to_numpy(), file.item.indices.to_numpy())
    if found.pairs and options.duplicates == "error":
        _refuse_repeats(file, found)
    columns.faults.refuse()
    if not found.pairs:
        return file
    time = repeats.times(columns)
    kept, stars = repeats.keep_one(
        found, stars, None if time is None else _take(time, rows), options.duplicates
    )
    again = len(stars) - len(kept)
    rows = kept if rows is None else rows[kept]
    return replace(file, stars=stars[kept], rows=rows, again=again)


def _settle_choices(columns: TextColumns) -> _File:
    """Every pair of user and item once, each a 1. Raises InputError as ``_settle``."""
    columns.faults.refuse()
    stars = np.ones(len(columns.user), np.float32)
    user, item = columns.user.indices.to_numpy(), columns.item.indices.to_numpy()
    again = repeats.find_repeats(user, item).again
    if not len(again):
        return _File(columns, stars, None)
    rows = np.delete(np.arange(len(stars)), again)
    return _File(columns, stars[rows], rows, chosen_again=len(again))


def _take(values: Any, rows: np.ndarray | None) -> Any:
    """Those at ``rows`` of an array of Arrow's or NumPy's; all without ``rows``.

    The texts of rows that are left out are no longer in the dictionary.
    """
    if rows is None:
        return values
    if isinstance(values, np.ndarray):
        return values[rows]
    return compact(values.take(pa.array(rows)))


def _refuse_repeats(file: _File, found: repeats.Repeats) -> None:
    """Raises InputError for pairs rated again, after what else is wrong with the file."""
    columns, second = file.columns, int(found.again[0])
    user, item = file.user[second].as_py(), file.item[second].as_py()
    here, before = file.place(second), file.place(found.first_of(second))
    number = "1 pair is" if found.pairs == 1 else f"{found.pairs:,} pairs are"
    message = (
        f"{here}: user {user} rated item {item} at {before} already; "
        f"{number} rated again in this file. Keep one rating of each, or say "
        "--duplicates=first, last or mean"
    )
    try:
        columns.faults.refuse()
    except InputError as others:
        raise InputError(f"{others}\n  {message}") from None
    raise InputError(message)


def _labels(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Labels of N ratings, i64 or u64 if all are integers that fit, else text."""
    texts = column.dictionary
    if not pc.all(pc.match_substring_regex(texts, f"^{fields.INTEGER}$")).as_py():
        return column
    for kind in (pa.int64(), pa.uint64()):
        try:
            return pa.DictionaryArray.from_arrays(column.indices, texts.cast(kind))
        except pa.ArrowInvalid:  # beyond what it holds
            pass
    return column


def _check_overlap(ratings: Ratings, files: list[_File]) -> None:
    """Refuse a rating that stands in two files: what is tested on must not be trained on."""
    found = repeats.find_repeats(ratings.user, ratings.item)
    if not found.pairs:
        return
    texts = []
    for row in found.again[:SHOWN].tolist():
        user, item = ratings.user_ids[ratings.user[row]], ratings.item_ids[ratings.item[row]]
        texts.append(
            f"{_place(row, files)}: user {user} rated item {item} at "
            f"{_place(found.first_of(row), files)} already; a rating may be in one file only"
        )
    if len(found.again) > SHOWN:
        texts.append(f"... and {len(found.again) - SHOWN:,} more")
    raise InputError("\n  ".join(texts))


def _place(row: int, files: list[_File]) -> str:
    """What to call a row, from 0, of all `files` one after the other."""
    for file in files:
        if row < len(file.stars):
            return file.place(row)
        row -= len(file.stars)
    raise ValueError("no file has that row")
