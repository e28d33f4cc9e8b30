"""Whether the first line names the columns, and which fields are user, item, rating and time."""

import difflib

from pfr_jax.data.formats.fields import Problem, is_number
from pfr_jax.data.formats.kinds import TIMES, TYPES, Kind
from pfr_jax.data.formats.options import ROLES, Columns, ReadOptions, separator_text


def has_header(fields: list[str], wanted: Columns, options: ReadOptions) -> bool:
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


def names_of(fields: list[str], kind: Kind) -> list[str]:
    """The names in a header: of a typed one without the types."""
    return [field.partition(":")[0] for field in fields] if kind.typed else fields


def positions_of(
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
    names = names_of(fields, kind)
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
