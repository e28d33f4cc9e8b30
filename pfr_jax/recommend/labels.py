"""From the labels of users and items in the source's file to their row numbers."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pfr_jax.errors import InputError

Labels = Sequence[Any] | np.ndarray
MOST_COMPARED = 100_000  # labels that a wrong one is compared with


def rows_of(
    labels: Labels, known: np.ndarray, what: str, place: Callable[[int], str] | None = None
) -> np.ndarray:
    """Row numbers of labels.

    Args:
      labels: [n], integers or texts; texts of digits where the known ones are integers.
      known: [U] or [I], ascending, integers or texts.
      what: "user" or "item", for messages.
      place: number of a label -> where it stands, for messages.

    Returns:
      i64[n].

    Raises:
      InputError: a label that is not among the known ones; near ones are named.
    """
    given = np.asarray(labels).reshape(-1)
    wanted = given.astype(str) if known.dtype.kind == "U" else _integers(given)
    row = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    missing = np.flatnonzero(known[row] != wanted)
    if len(missing):
        first = int(missing[0])
        before = f"{place(first)}: " if place else ""
        raise InputError(f"{before}{_unknown(str(given[first]), known, what)}")
    return row


def _integers(labels: np.ndarray) -> np.ndarray:
    """The labels as i64[n]; what is no integer becomes one that nobody has."""
    nobody = int(np.iinfo(np.int64).min)

    def integer(label: Any) -> int:
        try:
            number = int(label)
        except (TypeError, ValueError, OverflowError):
            return nobody
        # As numbers: as floats 2**53 + 1 would be 2**53.
        whole = isinstance(label, str) or number == label
        return number if whole and -(2**63) <= number < 2**63 else nobody

    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    return np.array([integer(label) for label in labels.tolist()], np.int64)


def _unknown(label: str, known: np.ndarray, what: str) -> str:
    near = difflib.get_close_matches(label, map(str, known[:MOST_COMPARED].tolist()), 3)
    hint = f"; near ones are {', '.join(near)}" if near else ""
    return f"{what} {label}: not among the {len(known):,} {what}s of this run{hint}"
