"""Text files of ratings read fast: by Arrow, in pieces of whole lines.

A piece in which anything might be out of the grammar is read by the slow, exact `grammar` instead:
what Arrow might let pass is looked for with NumPy first, and what stands in the fields is checked
on each distinct text. So fast cannot mean different.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pfr_jax.data.formats import grammar, stream
from pfr_jax.data.formats.columns import ENCODED, TextColumns, join
from pfr_jax.data.formats.dialect import find_dialect
from pfr_jax.data.formats.fields import (
    COUNT,
    MISSING_LABEL,
    PLAIN_LABEL,
    Problem,
    check_label,
    check_rating,
)
from pfr_jax.data.formats.grammar import Dialect, Fault, Faults
from pfr_jax.data.formats.options import SPACES, FixedLayout, ReadOptions
from pfr_jax.data.formats.screen import looks_odd
from pfr_jax.errors import InputError

BLOCK = stream.PIECE // 4  # bytes that Arrow gives to a thread at once
# Of n ratings: the columns (ENCODED; time: string) in chunks, and the lines.
Part = tuple[list[list[pa.Array]], Sequence[int]]


def read_text(path: Path, options: ReadOptions, with_time: bool) -> TextColumns:
    """All ratings of a text file, with their times if asked for.

    Raises InputError where the file cannot be read or its first line does not fit; what is wrong
    with single lines is in the result.
    """
    try:
        dialect, notes = find_dialect(path, options)
        return _read(path, dialect if with_time else replace(dialect, time=None), notes)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read(path: Path, dialect: Dialect, notes: list[str]) -> TextColumns:
    number, parts, faults = dialect.first_line, [], Faults(path)
    for piece, last in stream.pieces(path, dialect):
        if last and dialect.own and _ends_blank(piece, dialect.ending):
            piece = piece.removesuffix(dialect.ending)
            notes.append("Its last line is blank, and passed over.")
        if not piece:
            continue
        lines = range(number, number + piece.count(b"\n") + (not piece.endswith(b"\n")))
        part = _read_fast(piece, lines, dialect) or _read_slowly(piece, lines, dialect, faults)
        parts.append(part)
        number = lines.stop
    if not parts:
        grammar.refuse(path, Fault(0, "the file holds no ratings, only a header"))
    columns = [[*chain(*chunks)] for chunks in zip(*(part for part, _ in parts), strict=True)]
    encoded = len(dialect.positions)
    user, item, *rating = (join(column) for column in columns[:encoded])
    return TextColumns(
        user=user,
        item=item,
        rating=rating[0] if rating else None,
        time=pa.chunked_array(columns[3], pa.string()) if columns[3:] else None,
        lines=[lines for _, lines in parts],
        faults=faults,
        notes=notes,
    )


def _ends_blank(piece: bytes, ending: bytes) -> bool:
    return piece == ending or piece.endswith(b"\n" + ending)


def _read_slowly(piece: bytes, numbers: range, dialect: Dialect, faults: Faults) -> Part:
    """By the grammar itself, line by line; what is wrong is added to ``faults``."""
    wanted, encoded = _wanted(dialect), len(dialect.positions)
    rows, lines = [], []
    for line, found in grammar.read_lines(BytesIO(piece), numbers.start, dialect):
        if isinstance(found, Fault):
            faults.add(found)
        else:
            rows.append([found[position] for position in wanted])
            lines.append(line)
    texts = [[row[index] for row in rows] for index in range(len(wanted))]
    columns = [pa.array(text, pa.string()) for text in texts]
    chunks = [[c.dictionary_encode()] for c in columns[:encoded]] + [[c] for c in columns[encoded:]]
    return chunks, lines


def _read_fast(piece: bytes, lines: range, dialect: Dialect) -> Part | None:
    """By Arrow; None if anything in the piece may be wrong, or is too odd for it."""
    if looks_odd(piece, dialect):
        return None
    try:
        table = _parse(piece, dialect)
    except pa.ArrowInvalid:
        return None
    columns = [table[str(position)].chunks for position in _wanted(dialect)]
    encoded = columns[: len(dialect.positions)]
    user, item, *rating = ([chunk.dictionary for chunk in chunks] for chunks in encoded)
    others = set(table.column_names) - set(map(str, dialect.positions))
    good = (
        len(table) == len(lines)
        and all(_are_labels(texts, "user", dialect.layout) for texts in user)
        and all(_are_labels(texts, "item", dialect.layout) for texts in item)
        and all(_are_ratings(texts, dialect) for texts in chain(*rating))
        and (dialect.own or all(_are_counts(table[name]) for name in others))
    )
    return (columns, lines) if good else None


def _wanted(dialect: Dialect) -> list[int]:
    """The positions of user, item, rating (if there is one) and, if it is asked for, time."""
    return [*dialect.positions, *([] if dialect.time is None else [dialect.time])]


def _parse(piece: bytes, dialect: Dialect) -> pa.Table:
    """The columns as Arrow finds them, named by their positions; all roles but time are ENCODED.

    Arrow separates fields by one character only. Reading '::' as ':' puts an empty column
    between any two fields, and its type null makes Arrow check that it is empty.
    """
    doubled = dialect.separator == "::"
    stride = 2 if doubled else 1
    separator = dialect.separator[0]
    if dialect.separator == SPACES:
        separator = " "
        piece = re.sub(rb"(?m)^ | $", b"", re.sub(rb"[ \t]+", b" ", piece.replace(b"\r", b"")))
    others = {*(range(dialect.num_fields) if dialect.layout else _wanted(dialect))}
    wanted = {str(stride * position): ENCODED for position in dialect.positions}
    wanted |= {str(stride * p): pa.string() for p in sorted(others - {*dialect.positions})}
    gaps = {str(gap): pa.null() for gap in range(1, 2 * dialect.num_fields - 1, 2) if doubled}
    table = pyarrow.csv.read_csv(
        pa.BufferReader(piece),
        pyarrow.csv.ReadOptions(
            column_names=[str(p) for p in range(stride * (dialect.num_fields - 1) + 1)],
            block_size=BLOCK,
        ),
        pyarrow.csv.ParseOptions(
            delimiter=separator,
            quote_char='"' if dialect.quotable else False,
            ignore_empty_lines=False,
        ),
        pyarrow.csv.ConvertOptions(
            column_types=wanted | gaps,
            include_columns=list(wanted | gaps),
            null_values=[""],
            strings_can_be_null=False,
        ),
    )
    table = table.select(list(wanted))
    return table.rename_columns([str(int(name) // stride) for name in table.column_names])


def _are_labels(texts: pa.Array, role: str, layout: FixedLayout | None) -> bool:
    if layout:
        counts = pc.match_substring_regex(texts, f"^{COUNT}$")
        return _all(counts) and pc.max(texts.cast(pa.int64())).as_py() <= layout.max_id
    plain = pc.match_substring_regex(texts, PLAIN_LABEL)
    missing = pc.match_substring_regex(texts, MISSING_LABEL)
    others = texts.filter(pc.or_(pc.invert(plain), missing))
    return _none_wrong(others, lambda text: check_label(text, role, layout))


def _are_ratings(texts: pa.Array, dialect: Dialect) -> bool:
    return _none_wrong(texts, lambda text: check_rating(text, dialect.rule))


def _are_counts(column: pa.ChunkedArray) -> bool:
    return _all(pc.match_substring_regex(column, f"^{COUNT}$"))


def _all(mask: pa.Array) -> bool:
    return pc.all(mask).as_py() is not False


def _none_wrong(texts: pa.Array, check: Callable[[str], object]) -> bool:
    try:
        for text in texts.to_pylist():
            check(text)
    except Problem:
        return False
    return True
