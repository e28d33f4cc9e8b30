"""Fast, strict reading of rating files: csv, tsv, '::', MovieLens-100K and parquet.

Whole columns are parsed and checked at once. Only when something is wrong does `lines` look
for the line to blame.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from pfr_jax.data import lines
from pfr_jax.data.lines import Columns, Dialect, Fault
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError

NAMES: Columns = ("user", "item", "rating")
POSITIONS: Columns = (0, 1, 2)
# Separator and default columns by the end of the file's name. MovieLens-100K's own `u.data`
# and its splits without an ending are separated by tabs.
TEXT_FORMATS: dict[str, tuple[str, Columns]] = {
    ".csv": (",", NAMES),
    ".tsv": ("\t", NAMES),
    ".dat": ("::", POSITIONS),
    ".data": ("\t", POSITIONS),
    "": ("\t", POSITIONS),
}
Refuse = Callable[[int, str], None]  # raises InputError for a row, from 0, with what is wrong


def read_ratings(
    path: str | Path,
    columns: Columns | None = None,
    scale: Scale | None = None,
    name: str | None = None,
) -> Ratings:
    """Read one rating per line of a text file, or per row of a parquet file.

    `columns` says where user, item and rating stand: names, which need a header, or positions
    from 0, which need a file without one. By default names "user", "item", "rating" for csv,
    tsv and parquet, and positions 0, 1, 2 for the others. Labels are integers if a column
    holds nothing else ("007" is 7), and text otherwise. Without `scale`, the lowest and highest
    rating make it.

    Raises InputError, with the line, for anything that is not a finite rating inside the scale,
    given once by a user to an item.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check --dataset and --data_dir")
    columns = _check_columns(columns)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        table, refuse = _read_parquet(path, columns or NAMES)
    elif suffix in TEXT_FORMATS:
        separator, default = TEXT_FORMATS[suffix]
        table, refuse = _read_text(path, lines.sniff(path, separator, columns or default))
    else:
        known = ", ".join([*filter(None, TEXT_FORMATS), ".parquet"])
        raise InputError(f"{path}: unknown kind of file {suffix!r}; want one of {known}")
    _check_present(table, refuse)
    stars = _finite_stars(table, refuse)
    scale = scale or Scale(float(stars.min()), float(stars.max()))
    _check_scale(stars, scale, refuse)
    user, item = (_narrow(table[role].combine_chunks()) for role in ("user", "item"))
    ratings = Ratings.from_columns(user, item, stars, scale, name or path.name)
    _check_pairs(ratings, refuse)
    return ratings


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


def _read_text(path: Path, dialect: Dialect) -> tuple[pa.Table, Refuse]:
    """The columns of a text file; integer labels are tried first, for they parse faster."""

    def refuse(row: int, problem: str) -> None:
        lines.refuse(path, Fault(lines.line_of_row(path, dialect, row), problem))

    for label_type in (pa.int64(), pa.string()):
        try:
            table = _parse(path, dialect, label_type)
            break
        except pa.ArrowInvalid as error:
            message = str(error)
    else:
        fallback = Fault(0, f"cannot be read: {message}")
        lines.refuse(path, lines.first_fault(path, dialect) or fallback)
    if not table.num_rows:
        lines.refuse(path, lines.first_fault(path, dialect) or Fault(0, "the file is empty"))
    return table, refuse


def _parse(path: Path, dialect: Dialect, label_type: pa.DataType) -> pa.Table:
    """Columns user, item (`label_type`) and rating (f64), with null where a field is empty.

    Arrow separates fields by one character only. Reading '::' as ':' puts an empty column
    between any two fields, and its type null makes Arrow check that it is empty.
    """
    doubled = dialect.separator == "::"
    stride = 2 if doubled else 1
    positions = [stride * position for position in dialect.positions]
    types = dict(zip(positions, (label_type, label_type, pa.float64()), strict=True))
    if doubled:
        types |= {gap: pa.null() for gap in range(1, 2 * dialect.num_fields - 1, 2)}
    table = pyarrow.csv.read_csv(
        path,
        pyarrow.csv.ReadOptions(
            column_names=[str(p) for p in range(stride * (dialect.num_fields - 1) + 1)],
            skip_rows=dialect.first_line - 1,
        ),
        pyarrow.csv.ParseOptions(
            delimiter=dialect.separator[0], quote_char=False if doubled else '"'
        ),
        pyarrow.csv.ConvertOptions(
            column_types={str(p): kind for p, kind in types.items()},
            include_columns=[str(p) for p in types],
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    return table.select([str(p) for p in positions]).rename_columns(lines.ROLES)


def _read_parquet(path: Path, columns: Columns) -> tuple[pa.Table, Refuse]:
    def refuse(row: int, problem: str) -> None:
        raise InputError(f"{path}: row {row + 1}: {problem}")

    try:
        found = pyarrow.parquet.read_schema(path).names
        missing = [column for column in columns if column not in found]
        if missing:
            raise InputError(f"{path}: no column {missing} among {found}; name it in --columns")
        table = pyarrow.parquet.read_table(path, columns=list(columns)).select(list(columns))
        rating = table[2].cast(pa.float64())
    except pa.ArrowException as error:
        raise InputError(f"{path}: cannot be read as ratings: {error}") from error
    for column in table.columns[:2]:
        if not (pa.types.is_integer(column.type) or pa.types.is_string(column.type)):
            raise InputError(
                f"{path}: labels of type {column.type}; users and items want integers or strings"
            )
    if not table.num_rows:
        lines.refuse(path, Fault(0, "the file holds no ratings"))
    return pa.table([table[0], table[1], rating], names=lines.ROLES), refuse


def _narrow(labels: pa.Array) -> pa.Array:
    """Text labels as integers if all of them are: the other column may be why they are text."""
    if pa.types.is_string(labels.type):
        try:
            return labels.cast(pa.int64())
        except pa.ArrowInvalid:
            pass
    return labels


def _check_present(table: pa.Table, refuse: Refuse) -> None:
    for role in lines.ROLES:
        if table[role].null_count:
            row = pc.index(pc.is_null(table[role]), True).as_py()
            refuse(row, f"the {role} is missing; correct or remove the line")


def _finite_stars(table: pa.Table, refuse: Refuse) -> np.ndarray:
    stars = table["rating"].to_numpy()
    finite = np.abs(stars) <= np.finfo(np.float32).max  # which NaN is not
    if not finite.all():
        row = int(np.argmin(finite))
        refuse(row, f"the rating {stars[row]} is not a finite number; correct or remove the line")
    return stars.astype(np.float32)


def _check_scale(stars: np.ndarray, scale: Scale, refuse: Refuse) -> None:
    allowed = scale.contains(stars)
    if not allowed.all():
        row = int(np.argmin(allowed))
        refuse(row, f"the rating {stars[row]:g} is not on the scale {scale}; see --scale")


def _check_pairs(ratings: Ratings, refuse: Refuse) -> None:
    """Refuse a second rating of one item by one user."""
    pair = ratings.user.astype(np.int64) * ratings.num_items + ratings.item
    ordered = np.sort(pair)
    if not np.any(ordered[1:] == ordered[:-1]):
        return
    order = np.argsort(pair, kind="stable")
    row = int(order[1:][pair[order][1:] == pair[order][:-1]].min())
    user, item = ratings.user_ids[ratings.user[row]], ratings.item_ids[ratings.item[row]]
    refuse(row, f"user {user} rated item {item} on an earlier line too; keep one of the two")
