"""What becomes of an item that a user rates again: refused, or one rating is kept of each pair."""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pfr_jax.data.formats.columns import TextColumns
from pfr_jax.data.formats.options import Duplicates
from pfr_jax.errors import InputError

_CLOCK = "[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,6})?)?"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
# What times may look like, and the type in which they are compared: the first that all of a file's
# times are.
_TIMES: tuple[tuple[str, pa.DataType], ...] = (
    ("-?[0-9]{1,19}", pa.int64()),
    ("[0-9]{1,20}", pa.uint64()),
    ("-?[0-9]+(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?", pa.float64()),
    (f"{_DAY}(?:{_CLOCK})?", pa.timestamp("us")),
    (f"{_DAY}{_CLOCK}(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})", pa.timestamp("us", "UTC")),
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
    none = Repeats(0, np.empty(0, np.int64), pair)
    if (pair[1:] > pair[:-1]).all():  # as in MovieLens-10M; sorting takes a second
        return none
    ordered = np.sort(pair)
    same = ordered[1:] == ordered[:-1]
    if not same.any():
        return none
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
    for like, kind in _TIMES:
        if pc.all(pc.match_substring_regex(texts, f"^(?:{like})$")).as_py():
            try:
                found = texts.cast(kind)
            except pa.ArrowInvalid:  # beyond the type, or no day of any year
                continue
            plain = pa.timestamp("us") if pa.types.is_timestamp(kind) else kind
            return found.cast(plain).to_numpy()
    begin = texts[0].as_py()
    like, kind = next((one for one in _TIMES if _is_time(begin, *one)), _TIMES[0])
    columns.refuse(
        (row, _odd_time(text))
        for row, text in enumerate(texts.to_pylist())
        if not _is_time(text, like, kind)
    )
    raise InputError(f"{columns.faults.path}: the times of ratings are written in several ways")


def _is_time(text: str, like: str, kind: pa.DataType) -> bool:
    if not re.fullmatch(like, text):
        return False
    try:
        pa.array([text]).cast(kind)
        return True
    except pa.ArrowInvalid:
        return False


def _odd_time(text: str) -> str:
    return (
        f"the time {text[:50]!r} is neither a number nor a date such as 2021-05-30 14:05:00, or is "
        "written otherwise than the first; correct it, or see --columns and --duplicates"
    )
