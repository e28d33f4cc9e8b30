"""How a text file is to be read: from its name, its first line and the user.

What is found out by itself is returned in sentences, to be shown.
"""

from pathlib import Path

from pfr_jax.data.formats import grammar, stream
from pfr_jax.data.formats.fields import Problem
from pfr_jax.data.formats.grammar import BYTE_ORDER_MARK, Dialect, Fault
from pfr_jax.data.formats.header import has_header, names_of, positions_of
from pfr_jax.data.formats.kinds import NAMES, POSITIONS, TIMES, Kind, kind_of
from pfr_jax.data.formats.options import (
    NO_RATINGS,
    ROLES,
    SPACES,
    Columns,
    ReadOptions,
    separator_text,
)

SEPARATORS = ("\t", ",", ";", "::", "|")  # tried where that of the kind of file does not fit
OPEN_ENDED = (",", ";")  # spreadsheets leave out the last line end


def find_dialect(path: Path, options: ReadOptions) -> tuple[Dialect, list[str]]:
    """How to read the text file `path`, and what was found out by itself, in sentences.

    Raises InputError where the first line does not fit the kind of file and the options.
    """
    kind, notes = kind_of(path, options), []
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
        header = has_header(fields, wanted, options)
        positions = positions_of(fields, wanted, kind, separator, header)
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
        names = names_of(fields, kind)
        return all(names.count(str(name)) == 1 for name in wanted)
    return len(fields) > max(len(wanted) - 1, *map(int, wanted))


def _is_alone(text: str, separator: str, kind: Kind, wanted: Columns) -> bool:
    """Whether the first line, so separated, has user and item and, but for a time, nothing else."""
    if not _fits(text, separator, kind, wanted):
        return False
    names = names_of(grammar.split(text, separator), kind)
    if not isinstance(wanted[0], str):
        return len(names) == 2
    return all(name in wanted or name.lower() in TIMES for name in names)


def _check_count(fields: list[str], separator: str, options: ReadOptions) -> None:
    if options.layout and len(fields) != options.layout.num_fields:
        raise Problem(
            f"{len(fields)} field(s) separated by {separator_text(separator)} where there should "
            f"be {options.layout.num_fields}; get the file again"
        )
