"""Files that hold typed columns: parquet and feather, as pandas, polars, Spark and DuckDB write,
and NumPy's archives of arrays.

Every column is taken as text, each distinct value once, so that the rules of `fields` hold for all
kinds of file alike.
"""

import uuid
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from pfr_jax.data.formats.columns import TextColumns, compact
from pfr_jax.data.formats.fields import Problem, check_count, check_label, check_rating
from pfr_jax.data.formats.grammar import Fault, Faults
from pfr_jax.data.formats.header import find_time
from pfr_jax.data.formats.kinds import NAMES, TIMES
from pfr_jax.data.formats.options import NO_RATINGS, ROLES, Columns, ReadOptions
from pfr_jax.data.formats.stream import PACKED
from pfr_jax.errors import InputError

SUFFIXES = (".parquet", ".feather", ".arrow", ".npz")
_WANTED = {
    "user": "integers or text",
    "item": "integers or text",
    "rating": "numbers",
    "time": "times or numbers",
}


def read_table(path: Path, options: ReadOptions, with_time: bool) -> TextColumns:
    """All ratings of a file of one of the SUFFIXES, with their times if asked for.

    Raises InputError where the file cannot be read or lacks the columns; what is wrong with single
    rows is in the result.
    """
    if options.separator is not None or options.header is not None:
        raise InputError(
            f"{path}: --separator and --header are for text files; leave them out for "
            f"{path.suffix} files"
        )
    if path.suffix.lower() in PACKED:
        raise InputError(f"{path}: only text files are read packed; unpack it first")
    try:
        table, found = _columns(path, options)
        roles = dict(zip(found, ROLES, strict=False))
        texts = {
            name: _as_text(path, table[name], roles.get(name, "time"), name)
            for name in table.column_names
            if roles.get(name, "time") != "time" or with_time or options.layout
        }
    except (pa.ArrowException, OSError, BadZipFile, ValueError) as error:
        raise InputError(f"{path}: cannot be read as ratings: {error}") from error
    if not table.num_rows:
        raise InputError(f"{path}: the file holds no ratings")
    faults, good = _check(path, texts, roles, options)
    kept = {name: compact(text.filter(pa.array(good))) for name, text in texts.items()}
    columns = [kept[name] for name in found if name in kept]
    time = pa.chunked_array([columns[3].cast(pa.string())]) if columns[3:] and with_time else None
    user, item, *rating = columns[:3]
    rows, notes = np.flatnonzero(good) + 1, [] if rating else [NO_RATINGS]
    return TextColumns(
        user, item, rating[0] if rating else None, time, [rows.tolist()], faults, notes
    )


def _columns(path: Path, options: ReadOptions) -> tuple[pa.Table, list[str]]:
    """What must be read of the file, and the names of user, item, rating and, if found, time."""
    if path.suffix.lower() == ".parquet":
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            found, others = _find(path, file.schema_arrow.names, options)
            table = file.read([*found, *others])
    elif path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            found, others = _find(path, arrays.files, options)
            table = pa.table({name: arrays[name] for name in [*found, *others]})
    else:
        table = _read_arrow(path)
        found, others = _find(path, table.column_names, options)
        table = table.select([*found, *others])
    table.validate(full=True)  # text is UTF-8, and nothing leads outside of its buffers
    return table, found


def _read_arrow(path: Path) -> pa.Table:
    """A feather file, or a stream of Arrow's under the same name."""
    try:
        return pyarrow.feather.read_table(path, memory_map=False)
    except pa.ArrowInvalid:
        with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
            return stream.read_all()


def _find(path: Path, names: list[str], options: ReadOptions) -> tuple[list[str], list[str]]:
    """The names of the roles' columns and, of a known layout, all others."""
    columns, layout = options.columns or _usual(names, options), options.layout
    if not isinstance(columns[0], str):
        columns = tuple(names[int(c)] if int(c) < len(names) else f"number {c}" for c in columns)
    found = [str(column) for column in columns]
    if any(names.count(name) != 1 for name in found):
        raise InputError(
            f"{path}: want each column of {found} once; there are {names}. Name user, item and "
            "rating in --columns"
        )
    if layout and len(names) != layout.num_fields:
        raise InputError(
            f"{path}: {len(names)} columns where this data set has {layout.num_fields}; get the "
            "file again"
        )
    time = find_time(names, found)
    if len(found) == 3 and time:
        found.append(time)
    return found, [name for name in names if name not in found] if layout else []


def _usual(names: list[str], options: ReadOptions) -> Columns:
    """User, item and rating; user and item alone where there is nothing else but a time."""
    alone = {name for name in names if name.lower() not in TIMES} == {*NAMES[:2]}
    return NAMES[:2] if alone and not options.speaks_of_ratings else NAMES


def _as_text(path: Path, column: pa.ChunkedArray, role: str, name: str) -> pa.DictionaryArray:
    """A column of N values as ENCODED; missing ones are empty texts. Raises InputError."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    write = _writer(kind, role)
    if write is None:
        raise InputError(
            f"{path}: the column {name!r} is of type {kind}; want {_WANTED[role]} for the {role}"
            f"{_advice(kind)}"
        )
    if isinstance(column.type, pa.BaseExtensionType):
        kind = column.type.storage_type
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind)
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        column = column.cast(pa.decimal128(kind.precision, kind.scale))
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    texts = write(whole.dictionary).fill_null("")
    indices = whole.indices.cast(pa.int32())
    if indices.null_count:
        texts = pa.concat_arrays([texts, pa.array([""], pa.string())])
        indices = indices.fill_null(len(texts) - 1)
    once = texts.dictionary_encode()  # two values may have one text
    codes = once.indices.take(indices)
    return compact(pa.DictionaryArray.from_arrays(codes, once.dictionary))


def _writer(kind: pa.DataType, role: str) -> Callable[[pa.Array], pa.Array] | None:
    """What makes text of distinct values of this type; None where it cannot be of the role."""
    types = pa.types
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    raw = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    number = types.is_integer(kind) or types.is_decimal(kind)
    if types.is_floating(kind):
        number = role in ("rating", "time")
    if text or raw or number or types.is_null(kind):
        return lambda values: values.cast(pa.string())
    if kind == pa.uuid() and role in ("user", "item"):
        return lambda values: pa.array(
            [value and str(uuid.UUID(bytes=value)) for value in values.to_pylist()], pa.string()
        )
    if types.is_date(kind) and role == "time":
        return lambda values: values.cast(pa.timestamp("s")).cast(pa.int64()).cast(pa.string())
    if types.is_timestamp(kind) and role == "time":
        return lambda values: values.cast(pa.int64()).cast(pa.string())
    return None


def _advice(kind: pa.DataType) -> str:
    """How to write another type."""
    if pa.types.is_floating(kind):
        return ". Write it as integers, such as pandas' astype('int64'), or as text"
    if pa.types.is_boolean(kind):
        return ". Write 0 and 1 instead of false and true"
    return ". Write it as text or as a number"


def _check(
    path: Path,
    texts: dict[str, pa.DictionaryArray],
    roles: dict[str, str],
    options: ReadOptions,
) -> tuple[Faults, np.ndarray]:
    """What is wrong with the rows, the first fault of each, and which rows are good, bool[N]."""
    layout, rule = options.layout, options.rule
    checks: dict[str, Callable[[str], object]] = {
        "user": lambda text: check_label(text, "user", layout),
        "item": lambda text: check_label(text, "item", layout),
        "rating": lambda text: check_rating(text, rule),
    }
    found: dict[int, str] = {}
    for name, text in texts.items():
        check = checks.get(roles.get(name, ""), check_count if layout else None)
        if check:
            found = {**_faulty_rows(text, check), **found}
    faults = Faults(path, ": row {}")
    good = np.ones(len(next(iter(texts.values()))), bool)
    for row in sorted(found):
        faults.add(Fault(row + 1, found[row]))
        good[row] = False
    return faults, good


def _faulty_rows(column: pa.DictionaryArray, check: Callable[[str], object]) -> dict[int, str]:
    """The rows, from 0, whose text breaks the rule, and how."""
    problems = [_problem(check, text) for text in column.dictionary.to_pylist()]
    wrong = np.array([problem is not None for problem in problems], bool)
    if not wrong.any():
        return {}
    codes = column.indices.to_numpy()
    return {int(row): str(problems[codes[row]]) for row in np.flatnonzero(wrong[codes])}


def _problem(check: Callable[[str], object], text: str) -> str | None:
    try:
        check(text)
        return None
    except Problem as problem:
        return str(problem)
