"""What kind of file it is, and where its columns are: from its name, its first line and the user.

What is found out by itself is returned in sentences, to be shown.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

from pfr_jax.data.formats import grammar, stream
from pfr_jax.data.formats.fields import Problem, is_number
from pfr_jax.data.formats.grammar import BYTE_ORDER_MARK, Dialect, Fault
from pfr_jax.data.formats.options import (
    NO_RATINGS,
    ROLES,
    SPACES,
    Columns,
    ReadOptions,
    separator_text,
)
from pfr_jax.errors import InputError

NAMES: Columns = ("user", "item", "rating")
POSITIONS: Columns = (0, 1, 2)
TIMES = ("timestamp", "time")  # names that a column of times has by itself
SEPARATORS = ("\t", ",", ";", "::", "|")  # tried where that of the kind of file does not fit
OPEN_ENDED = (",", ";")  # spreadsheets leave out the last line end


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


def find_dialect(path: Path, options: ReadOptions) -> tuple[Dialect, list[str]]:
    """How to read the text file `path`, and what was found out by itself, in sentences.

    Raises InputError where the first line does not fit the kind of file and the options.
    """
    kind, notes = _kind_of(path, options), []
    line = stream.first_line(path)
    mark = len(BYTE_ORDER_MARK) if line.startswith(BYTE_ORDER_MARK) and not options.layout else 0
    if mark:
        line = line[mark:]
        notes.append("It begins with a byte-order mark, which is passed over.")
    if not line:
        grammar.refuse(path, Fault(0, "the file is empty; it should hold one rating per line"))
    ending = b"\r\n" if line.endswith(b"\r\n") else b"\n"
    try:
        # The end may be missing here: whether it may is said once the separator is known.
        text = grammar.decode(line, ending, open_end=True)
        wanted = _wanted(text, kind, options)
        separator = _separator(text, kind, options, wanted)
        open_end = separator in OPEN_ENDED and options.layout is None
        grammar.decode(line, ending, open_end)
        fields = grammar.split(text, separator)
        _check_count(fields, separator, options)
        header = _has_header(fields, wanted, options)
        positions = _positions(fields, wanted, kind, separator, header)
    except Problem as problem:
        grammar.refuse(path, Fault(1, str(problem)))
    if separator != kind.separator and options.separator is None:
        notes.append(f"Its fields are separated by {separator_text(separator)}.")
    if header and not options.layout and (wanted != NAMES[: len(wanted)] or len(positions) > 3):
        named = zip(ROLES, positions, strict=False)
        parts = (
            f"{fields[position].partition(':')[0]!r} is the {role}" for role, position in named
        )
        notes.append(f"Of its columns {', '.join(parts)}.")
    if len(wanted) == 2:
        notes.append(NO_RATINGS)
    return Dialect(
        separator=separator,
        num_fields=len(fields),
        positions=positions[:3],
        time=positions[3] if len(positions) > 3 else None,
        skipped=mark + (len(line) if header else 0),
        first_line=2 if header else 1,
        ending=ending,
        open_end=open_end,
        rule=options.rule,
        layout=options.layout,
    ), notes


def _kind_of(path: Path, options: ReadOptions) -> Kind:
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


def _wanted(text: str, kind: Kind, options: ReadOptions) -> Columns:
    """The columns asked for, or those of the kind: positions where there is no header.

    User and item alone where the first line has nothing else, or a time besides, however it is
    separated.
    """
    if options.columns is not None:
        return options.columns
    columns = POSITIONS if options.header is False else kind.columns
    if options.speaks_of_ratings:
        return columns
    usual = kind.separator, *SEPARATORS, SPACES
    separators = [s for s in ([options.separator] if options.separator else usual) if s]
    if any(_fits(text, separator, kind, columns) for separator in separators):
        return columns
    alone = any(_is_alone(text, separator, kind, columns[:2]) for separator in separators)
    return columns[:2] if alone else columns


def _separator(text: str, kind: Kind, options: ReadOptions, wanted: Columns) -> str:
    """The one given, else the kind's where it fits the first line, else the only one that does."""
    if options.separator is not None:
        return options.separator
    own = kind.separator
    if own and options.layout:
        return own
    fitting = [one for one in SEPARATORS if one != own and _fits(text, one, kind, wanted)]
    if own and _fits(text, own, kind, wanted):
        # Positions fit anything that has enough fields: 1;10;4,5;1,3 may be meant either way.
        by_name = isinstance(wanted[0], str)
        rivals = [one for one in fitting if _fields(text, one) >= _fields(text, own)]
        if by_name or not rivals:
            return own
        fitting = [own, *rivals]
    if not fitting and own and own in text:
        grammar.split(text, own)  # raises what is wrong with it, if that is why it does not fit
    if not fitting and _fits(text, SPACES, kind, wanted):
        fitting = [SPACES]
    if len(fitting) > 1:
        raise Problem(
            f"the fields may be separated by {' or '.join(map(separator_text, fitting))}; say with "
            "--separator"
        )
    if not fitting and not own:
        raise Problem(
            f"no separator makes this line {len(wanted)} fields or more that fit --columns; say "
            "with --separator what stands between them"
        )
    # Of those that do not fit, the one that a message about the first line should speak of.
    return (
        fitting[0] if fitting else max((str(own), *SEPARATORS), key=lambda one: _fields(text, one))
    )


def _fields(text: str, separator: str) -> int:
    """How many fields the first line has, so separated; 0: it cannot be."""
    try:
        return len(grammar.split(text, separator))
    except Problem:
        return 0


def _fits(text: str, separator: str, kind: Kind, wanted: Columns) -> bool:
    """Whether the first line, so separated, has the columns wanted."""
    try:
        fields = grammar.split(text, separator)
    except Problem:
        return False
    if isinstance(wanted[0], str):
        names = _names(fields, kind)
        return all(names.count(str(name)) == 1 for name in wanted)
    return len(fields) > max(len(wanted) - 1, *map(int, wanted))


def _is_alone(text: str, separator: str, kind: Kind, wanted: Columns) -> bool:
    """Whether the first line, so separated, has user and item and, but for a time, nothing else."""
    if not _fits(text, separator, kind, wanted):
        return False
    names = _names(grammar.split(text, separator), kind)
    if not isinstance(wanted[0], str):
        return len(names) == 2
    return all(name in wanted or name.lower() in TIMES for name in names)


def _check_count(fields: list[str], separator: str, options: ReadOptions) -> None:
    if options.layout and len(fields) != options.layout.num_fields:
        raise Problem(
            f"{len(fields)} field(s) separated by {separator_text(separator)} where there should "
            f"be {options.layout.num_fields}; get the file again"
        )


def _has_header(fields: list[str], wanted: Columns, options: ReadOptions) -> bool:
    """As the user says; else where columns are asked for by name.

    Raises Problem for a line that may be a header or not: as the names that pandas gives columns
    without any, 0,1,2, or a line without a number for the rating.
    """
    if options.header is not None:
        return options.header
    if isinstance(wanted[0], str):
        return True
    if options.layout:
        return False
    numbered = fields[1:] if not fields[0] else fields  # pandas leaves the index's name out
    if numbered and numbered == [str(number) for number in range(len(numbered))]:
        raise Problem(
            f"{','.join(fields)} may number the columns or be a rating; say --header=yes if it is "
            "a header, --header=no if it is not"
        )
    if len(wanted) == 2:
        if not any(character.isdigit() for field in fields for character in field):
            raise Problem(
                f"{' and '.join(map(repr, fields))} may name the columns or be a user and an item; "
                "say --header=yes or --header=no"
            )
        return False
    place = int(wanted[2])
    if place < len(fields) and not is_number(fields[place]) and fields[place][:1].isalpha():
        raise Problem(
            f"the rating {fields[place][:50]!r} is not a number. If this line is a header, say "
            "--header=yes, or name the columns of user, item and rating with --columns"
        )
    return False


def _names(fields: list[str], kind: Kind) -> list[str]:
    """The names in a header: of a typed one without the types."""
    return [field.partition(":")[0] for field in fields] if kind.typed else fields


def _positions(
    fields: list[str], wanted: Columns, kind: Kind, separator: str, header: bool
) -> tuple[int, ...]:
    """Where the wanted columns are, from 0; with a time by itself where a header names one."""
    if not isinstance(wanted[0], str):
        for position in map(int, wanted):
            if position >= len(fields):
                raise Problem(
                    f"{len(fields)} field(s) separated by {separator_text(separator)}, but column "
                    f"{position} (counted from 0) was asked for; see --columns and --separator"
                )
        return tuple(map(int, wanted))
    names = _names(fields, kind)
    found = [_find_name(str(name), names, separator) for name in wanted]
    if kind.typed:
        for role, position in zip(ROLES, found, strict=False):
            _check_type(fields[position], role)
    time = find_time(names, [str(name) for name in wanted])
    if time and kind.typed and not fields[names.index(time)].endswith(f":{TYPES['time']}"):
        time = None
    if time and len(found) == 3:
        found.append(names.index(time))
    return tuple(found)


def find_time(names: list[str], taken: list[str]) -> str | None:
    """The column of times that a header names by itself, in capitals or not."""
    for wanted in TIMES:
        found = [name for name in names if name.lower() == wanted and name not in taken]
        if len(found) == 1:
            return found[0]
    return None


def _find_name(name: str, names: list[str], separator: str) -> int:
    if names.count(name) != 1:
        near = [] if name in names else difflib.get_close_matches(name, names, 1)
        hint = f" (there is {near[0]!r})" if near else ""
        raise Problem(
            f"the header should name the column {name!r} once{hint}; separated by "
            f"{separator_text(separator)} it is {names}. Say with --columns which names mean "
            "user, item and rating, with --separator what stands between them, or, where there is "
            "no header, --header=no"
        )
    return names.index(name)


def _check_type(field: str, role: str) -> None:
    """Raise Problem unless a field of a typed header has the type of its role."""
    name, _, kind = field.partition(":")
    if kind != TYPES[role]:
        raise Problem(
            f"the column {name!r} is of type {kind!r}, but a {role} is a {TYPES[role]}; see "
            "--columns"
        )
