"""What becomes of an item that a user rates again: refused, or one rating is kept of each pair."""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pfr_jax.data.formats.columns import TextColumns
from pfr_jax.data.formats.options import Duplicates
from pfr_jax.errors import InputError

_ZONE = "(?:Z|[+-][0-9]{2}:?[0-9]{2})"
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,9})?)?)?"
# What times may look like, and the type in which they are compared; all of a file must look alike.
_TIMES: tuple[tuple[str, pa.DataType], ...] = (
    ("-?[0-9]{1,19}", pa.int64()),
    ("-?[0-9]+(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?", pa.float64()),
    (_DATE, pa.timestamp("ns")),
    (_DATE + _ZONE, pa.timestamp("ns", "UTC")),
)


@dataclass(frozen=True)
class Repeats:
    """The pairs of user and item that occur more than once among N ratings."""

    pairs: int  # how many different ones
    again: np.ndarray  # i64[...], ascending: ratings that have an earlier one of the same pair
    pair: np.ndarray  # i64[N], a number for each pair

    def first_of(self, row: int) -> int:
        """The earliest rating of the pair that `row` is of."""
        return int(np.argmax(self.pair == self.pair[row]))


def find_repeats(user: np.ndarray, item: np.ndarray) -> Repeats:
    """Of ratings by user i32[N] of item i32[N]."""
    num_items = int(item.max(initial=0)) + 1
    pair = user.astype(np.int64) * num_items + item
    ordered = np.sort(pair)
    same = ordered[1:] == ordered[:-1]
    if not same.any():
        return Repeats(0, np.empty(0, np.int64), pair)
    order = np.argsort(pair, kind="stable")
    again = np.sort(order[1:][pair[order][1:] == pair[order][:-1]])
    return Repeats(len(np.unique(ordered[1:][same])), again, pair)


def keep_one(
    repeats: Repeats, rating: np.ndarray, time: np.ndarray | None, which: Duplicates
) -> tuple[np.ndarray, np.ndarray]:
    """Rows i64[...] to keep, ascending, one of each pair, and all N ratings as they then are.

    "first" and "last" go by ``time`` [N] where there is one, and by row among equals; "mean" keeps
    the first with the mean of the pair's ratings f64[N].
    """
    _, group = np.unique(repeats.pair, return_inverse=True)
    row = np.arange(len(group))
    keys = (row, group) if time is None or which == "mean" else (row, time, group)
    order = np.lexsort(keys)
    border = np.flatnonzero(np.diff(group[order])) + 1
    begin, end = np.append(0, border), np.append(border, len(order)) - 1
    kept = order[end if which == "last" else begin]
    if which == "mean":
        rating = (np.bincount(group, rating) / np.bincount(group))[group]
    return np.sort(kept), rating


def times(columns: TextColumns) -> np.ndarray | None:
    """The times of N ratings as numbers or dates that can be ordered; None where there are none.

    Raises InputError for those that are neither, or look otherwise than the file's first one.
    """
    texts = columns.time
    if texts is None:
        return None
    begin = texts[0].as_py()
    fitting = [(like, kind) for like, kind in _TIMES if re.fullmatch(like, begin)]
    like, kind = fitting[0] if fitting else _TIMES[0]
    if kind == pa.int64():  # a later one may have a fraction, or more digits
        whole = pc.match_substring_regex(texts, f"^{like}$")
        like, kind = (like, kind) if pc.all(whole).as_py() else _TIMES[1]
    good = pc.match_substring_regex(texts, f"^(?:{like})$").to_numpy()
    columns.refuse(
        [(int(row), _odd_time(texts[int(row)].as_py())) for row in np.flatnonzero(~good)]
    )
    try:
        found = texts.cast(kind)
    except pa.ArrowInvalid as error:
        raise InputError(f"{columns.faults.path}: a time cannot be read: {error}") from error
    return found.cast(pa.timestamp("ns") if pa.types.is_timestamp(kind) else kind).to_numpy()


def _odd_time(text: str) -> str:
    return (
        f"the time {text[:50]!r} is neither a number nor a date such as 2021-05-30 14:05:00, or is "
        "written otherwise than the first; correct it, or see --columns and --duplicates"
    )
