"""Kinds of text files, known by the ending of their names, and what their columns are called."""

from dataclasses import dataclass
from pathlib import Path

from pfr_jax.data.formats import stream
from pfr_jax.data.formats.options import Columns, ReadOptions
from pfr_jax.errors import InputError

NAMES: Columns = ("user", "item", "rating")
POSITIONS: Columns = (0, 1, 2)
TIMES = ("timestamp", "time")  # names that a column of times has by itself


@dataclass(frozen=True)
class Kind:
    """A kind of text file, known by the ending of its name."""

    separator: str | None  # None: as the first line suggests
    columns: Columns  # where the user says nothing
    typed: bool = False  # the header says "name:type"


# MovieLens-100K's own `u.data` and its splits (`u1.base`, `u1.test`) are separated by tabs;
# `.inter` is RecBole's atomic file of interactions.
KINDS = {
    ".csv": Kind(",", NAMES),
    ".tsv": Kind("\t", NAMES),
    ".dat": Kind("::", POSITIONS),
    ".data": Kind("\t", POSITIONS),
    ".base": Kind("\t", POSITIONS),
    ".test": Kind("\t", POSITIONS),
    "": Kind("\t", POSITIONS),
    ".txt": Kind(None, POSITIONS),
    ".inter": Kind("\t", ("user_id", "item_id", "rating"), typed=True),
}
TYPES = {"user": "token", "item": "token", "rating": "float", "time": "float"}  # of typed headers


def kind_of(path: Path, options: ReadOptions) -> Kind:
    """The kind of the file `path`. Raises InputError where its name does not tell."""
    suffix = stream.suffix(path)
    if suffix in KINDS:
        return KINDS[suffix]
    if options.separator is not None:
        return Kind(options.separator, POSITIONS)
    raise InputError(
        f"{path}: unknown kind of file {suffix!r}. If it is text, say with --separator what stands "
        f"between its fields (and with --columns which they are); else write it as one of "
        f"{', '.join(filter(None, KINDS))}, .parquet or .feather; text may be packed: .csv.gz, "
        ".csv.zst"
    )
