"""Rating files split into columns of text, fast: at once, and by Arrow.

What Arrow might let pass is looked for first, piece by piece with NumPy; an odd piece is then
read by the slow, exact `lines`. So is the whole file where Arrow fails, to name the line.
"""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pfr_jax.data import lines
from pfr_jax.data.fields import FixedLayout
from pfr_jax.data.lines import ROLES, Columns, Dialect, Fault
from pfr_jax.errors import InputError

PIECE = 1 << 20  # bytes, about
ENCODED = pa.dictionary(pa.int32(), pa.string())  # each distinct text once, and which it is
Place = Callable[[int], str]  # what to call a row, from 0: the file and its line


def read_text(path: Path, dialect: Dialect) -> tuple[pa.Table, Place]:
    """Columns user, item and rating (ENCODED) and, of a fixed layout, the others (string).

    What is in the fields is not checked. Raises InputError for all that is wrong around them.
    """
    if _check_pieces(path, dialect) < dialect.first_line:
        lines.refuse(path, Fault(0, "the file holds no ratings, only a header"))
    try:
        table = _parse(path, dialect)
    except pa.ArrowInvalid as error:
        with path.open("rb") as file:
            fault = lines.first_fault(file, 1, dialect)
        lines.refuse(path, fault or Fault(0, f"cannot be read: {error}"))
    return table, lambda row: f"{path}:{row + dialect.first_line}"


def _check_pieces(path: Path, dialect: Dialect) -> int:
    """Refuse what Arrow might let pass; the number of lines."""
    number = 1
    for piece in _pieces(path):
        if _looks_odd(piece, dialect):
            fault = lines.first_fault(BytesIO(piece), number, dialect)
            if fault:
                lines.refuse(path, fault)
        number += piece.count(b"\n") + (not piece.endswith(b"\n"))
    return number - 1


def _pieces(path: Path) -> Iterator[bytes]:
    """The file in pieces of whole lines."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece if piece.endswith(b"\n") else piece + file.readline()


def _looks_odd(piece: bytes, dialect: Dialect) -> bool:
    """Whether anything is in `piece` that might be wrong outside the fields, or quoted."""
    if dialect.ending == b"\r\n":
        odd_ends = not piece.count(b"\r\n") == piece.count(b"\r") == piece.count(b"\n")
    else:
        odd_ends = b"\r" in piece
    return (
        odd_ends
        or not (piece.endswith(b"\n") or dialect.open_end)
        or piece.startswith(dialect.ending)
        or b"\n" + dialect.ending in piece  # a blank line
        or (dialect.separator != "::" and b'"' in piece)
        or lines.holds_control(piece)
        or lines.BYTE_ORDER_MARK in piece
        or _longest_line(piece) > lines.MAX_LINE
        or not _is_utf8(piece)
    )


def _longest_line(piece: bytes) -> int:
    """In bytes, line end included."""
    ends = np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n"))
    return int(np.diff(ends, prepend=-1, append=len(piece) - 1).max())


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse(path: Path, dialect: Dialect) -> pa.Table:
    """The columns as Arrow finds them.

    Arrow separates fields by one character only. Reading '::' as ':' puts an empty column
    between any two fields, and its type null makes Arrow check that it is empty.
    """
    doubled = dialect.separator == "::"
    stride = 2 if doubled else 1
    others = set(range(dialect.num_fields if dialect.layout else 0)) - set(dialect.positions)
    wanted = {str(stride * position): ENCODED for position in dialect.positions}
    wanted |= {str(stride * position): pa.string() for position in sorted(others)}
    gaps = {str(gap): pa.null() for gap in range(1, 2 * dialect.num_fields - 1, 2) if doubled}
    table = pyarrow.csv.read_csv(
        path,
        pyarrow.csv.ReadOptions(
            column_names=[str(p) for p in range(stride * (dialect.num_fields - 1) + 1)],
            skip_rows=dialect.first_line - 1,
        ),
        pyarrow.csv.ParseOptions(
            delimiter=dialect.separator[0],
            quote_char=False if doubled else '"',
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
    return table.rename_columns([*ROLES, *table.column_names[len(ROLES) :]])


def read_parquet(
    path: Path, columns: Columns, layout: FixedLayout | None
) -> tuple[pa.Table, Place]:
    """As `read_text`; a missing value is an empty text."""
    try:
        table = _parquet_table(path, columns, layout)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as ratings: {error}") from error
    if not table.num_rows:
        raise InputError(f"{path}: the file holds no ratings")
    return table, lambda row: f"{path}: row {row + 1}"


def _parquet_table(path: Path, columns: Columns, layout: FixedLayout | None) -> pa.Table:
    with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        if any(names.count(str(column)) != 1 for column in columns):
            raise InputError(
                f"{path}: want each column of {list(columns)} once; there are {names}. Name user, "
                "item and rating in --columns"
            )
        if layout and len(names) != layout.num_fields:
            raise InputError(
                f"{path}: {len(names)} columns where this data set has {layout.num_fields}; get "
                "the file again"
            )
        others = [name for name in names if name not in columns] if layout else []
        table = file.read([*map(str, columns), *others]).select([*columns, *others])
    labels = [_as_text(path, column, pa.types.is_string) for column in table.columns[:2]]
    rating = _as_text(path, table[2], pa.types.is_floating)
    times = [_as_text(path, column) for column in table.columns[3:]]
    encoded = [column.dictionary_encode() for column in (*labels, rating)]
    return pa.table([*encoded, *times], names=[*ROLES, *others])


def _as_text(
    path: Path, column: pa.ChunkedArray, also: Callable[[pa.DataType], bool] | None = None
) -> pa.ChunkedArray:
    """An integer column, or one of a type that is `also` allowed, as text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if not (pa.types.is_integer(kind) or (also and also(kind))):
        raise InputError(
            f"{path}: a column of type {kind}; want integers or strings for users and items, "
            "numbers for ratings"
        )
    return column.cast(pa.string()).fill_null("")
