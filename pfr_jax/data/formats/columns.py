"""The columns of one file of ratings as text, each distinct text once: what all readers make."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pfr_jax.data.formats.grammar import Fault, Faults

ENCODED = pa.dictionary(pa.int32(), pa.string())  # each distinct text once, and which it is


@dataclass(frozen=True)
class TextColumns:
    """The N ratings of one file that are in the grammar, in its order, and what is not."""

    user: pa.DictionaryArray  # string[N]
    item: pa.DictionaryArray  # string[N]
    rating: pa.DictionaryArray | None  # string[N]; None: user and item alone, every row a choice
    time: pa.ChunkedArray | None  # string[N]; None: not asked for, or there is none
    lines: Sequence[Sequence[int]]  # the lines or rows of the N ratings, from 1, in runs
    faults: Faults
    notes: list[str]  # what was found out about the file by itself, in sentences

    def line(self, row: int) -> int:
        """Where a rating (from 0) stands: its line or row, from 1."""
        for run in self.lines:
            if row < len(run):
                return int(run[row])
            row -= len(run)
        raise ValueError("there are not so many ratings")

    def place(self, row: int) -> str:
        """What to call a rating, from 0: the file and its line."""
        return f"{self.faults.path}{self.faults.row.format(self.line(row))}"

    def refuse(self, faults: Iterable[tuple[int, str]]) -> None:
        """Raises InputError for these (rating from 0, problem), if there are any."""
        found = Faults(self.faults.path, self.faults.row)
        for row, problem in faults:
            found.add(Fault(self.line(row), problem))
        found.refuse()


def join(columns: Sequence[pa.Array]) -> pa.DictionaryArray:
    """One array of parts with dictionaries of their own."""
    return pa.chunked_array(columns, ENCODED).unify_dictionaries().combine_chunks()


def compact(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same N texts, without those in the dictionary that do not occur."""
    codes = column.indices.to_numpy()
    used = np.bincount(codes, minlength=len(column.dictionary)) > 0
    if used.all():
        return column
    renumbered = (np.cumsum(used, dtype=np.int32) - 1)[codes]
    return pa.DictionaryArray.from_arrays(
        pa.array(renumbered), column.dictionary.filter(pa.array(used))
    )


def map_distinct(
    column: pa.DictionaryArray, function: Callable[[str], float | None]
) -> tuple[np.ndarray, np.ndarray | None]:
    """`function` of N texts, f32[N], called once per distinct one; and which rows are not None.

    The rows are i64[...], ascending; None: all.
    """
    values = [function(text) for text in column.dictionary.to_pylist()]
    codes = column.indices.to_numpy()
    numbers = np.array([0.0 if value is None else value for value in values], np.float32)[codes]
    if None not in values:
        return numbers, None
    return numbers, np.flatnonzero(np.array([value is not None for value in values])[codes])
