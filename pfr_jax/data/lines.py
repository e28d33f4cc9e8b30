r"""The grammar of a text file of ratings, and its slow, exact reader.

What the grammar does not allow is refused: nothing is accepted with a shrug, repaired or dropped.

file     One rating per line, the same number of fields in each. A header first if, and only if,
         columns are asked for by name; it has each of those names once.
bytes    UTF-8, without a byte-order mark (U+FEFF), control characters (tabs and line ends apart)
         or lines of more than 65,536 bytes.
line     Not blank. All end in \n, or all in \r\n, as the first one does; no \r anywhere else.
         The last line ends so too, for else it may be cut; only in a csv file of one's own it
         need not.
field    Separated by "::", and then without any ":"; or by commas or tabs, and then a field may
         stand in double quotes ("" within them means one), which are no part of it. No quotes
         in other places, no line ends in quotes. What a field may hold: see `fields`.
ratings  No user rates an item twice. (Looked for by the readers, not here.)

Readers use this module for the first line of every file, to learn where the columns are, and
when they were refused something, to say which line is to blame.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pfr_jax.data.fields import FixedLayout, Problem, check_label, check_rating, check_time
from pfr_jax.data.table import Scale
from pfr_jax.errors import InputError

Columns = tuple[str, str, str] | tuple[int, int, int]  # user, item, rating
ROLES = ("user", "item", "rating")
MAX_LINE = 65_536  # bytes, line end included
BYTE_ORDER_MARK = "\ufeff".encode()
_NO_CONTROL = bytes({*range(256)} - {*range(32), 127} | {*b"\t\r\n"})


@dataclass(frozen=True)
class Dialect:
    """How one text file is to be read."""

    separator: str  # "," or tab (fields may be quoted) or "::" (no quotes)
    num_fields: int  # of every line
    positions: tuple[int, int, int]  # of user, item and rating, from 0
    first_line: int  # that holds a rating, from 1: after a header, 2
    ending: bytes  # of every line
    open_end: bool  # the last line may do without
    scale: Scale | None  # that the ratings should be on
    layout: FixedLayout | None


@dataclass(frozen=True)
class Fault:
    """What is wrong with which line (from 1); line 0 means the file as a whole."""

    line: int
    problem: str


def refuse(path: Path, fault: Fault) -> NoReturn:
    """Raise the InputError for `fault`."""
    where = f"{path}:{fault.line}" if fault.line else f"{path}"
    raise InputError(f"{where}: {fault.problem}")


def sniff(
    path: Path, separator: str, columns: Columns, scale: Scale | None, layout: FixedLayout | None
) -> Dialect:
    """Find `columns` in the first line: a header if they are names, else already a rating."""
    with path.open("rb") as file:
        line = file.readline(MAX_LINE + 1)
    if not line:
        refuse(path, Fault(0, "the file is empty; it should hold one rating per line"))
    ending = b"\r\n" if line.endswith(b"\r\n") else b"\n"
    open_end = separator == "," and layout is None
    named = isinstance(columns[0], str)
    try:
        fields = _split(_decode(line, ending, open_end), separator)
        num_fields = layout.num_fields if layout else len(fields)
        _check_count(fields, num_fields, separator)
        user, item, rating = (
            _find_name(column, fields) if named else _check_position(int(column), fields, separator)
            for column in columns
        )
    except Problem as problem:
        refuse(path, Fault(1, str(problem)))
    positions = (user, item, rating)
    first_line = 2 if named else 1
    return Dialect(separator, num_fields, positions, first_line, ending, open_end, scale, layout)


def first_fault(lines: Iterable[bytes], number: int, dialect: Dialect) -> Fault | None:
    """The first of `lines`, with their ends, that breaks the grammar; None if none does.

    `number` is that of the first of them, from 1.
    """
    for line_number, line in enumerate(lines, start=number):
        try:
            check_line(line, dialect, is_header=line_number < dialect.first_line)
        except Problem as problem:
            return Fault(line_number, str(problem))
    return None


def check_line(line: bytes, dialect: Dialect, is_header: bool = False) -> None:
    """Raise Problem unless `line`, with its end, is in the grammar."""
    text = _decode(line, dialect.ending, dialect.open_end)
    fields = _split(text, dialect.separator)
    _check_count(fields, dialect.num_fields, dialect.separator)
    if is_header:
        return
    user, item, rating = dialect.positions
    check_label(fields[user], "user", dialect.layout)
    check_label(fields[item], "item", dialect.layout)
    check_rating(fields[rating], dialect.scale)
    if dialect.layout:
        for position in set(range(dialect.num_fields)) - set(dialect.positions):
            check_time(fields[position])


def holds_control(data: bytes) -> bool:
    """Whether any control character, tabs and line ends apart, is in `data`."""
    return bool(data.translate(None, _NO_CONTROL))


def _decode(line: bytes, ending: bytes, open_end: bool) -> str:
    """The text of `line` without its end; raises Problem."""
    if len(line) > MAX_LINE:
        raise Problem(f"a line of more than {MAX_LINE:,} bytes; is this a file of ratings?")
    if not line.endswith(b"\n") and not open_end:
        raise Problem("the last line has no line end, so it may be cut; get or write it again")
    body = line.removesuffix(ending)
    if b"\r" in body or b"\n" in body:
        raise Problem(
            rf"a \r or line end other than {ending.decode()!r}, which ends the first line; write "
            "all line ends alike"
        )
    if not body:
        raise Problem("the line is blank; remove it")
    if holds_control(body):
        raise Problem("a NUL or another control character; write the file again as plain text")
    if BYTE_ORDER_MARK in body:
        raise Problem("a byte-order mark (U+FEFF); write the file as UTF-8 without it")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Problem(f"not UTF-8 ({error.reason}); write the file again as UTF-8") from error


def _split(text: str, separator: str) -> list[str]:
    """The fields of one line, without quotes; raises Problem."""
    if separator == "::":
        fields = text.split("::")
        if any(":" in field for field in fields):
            raise Problem("a single ':' within a field; fields must be separated by '::'")
        return fields
    if '"' not in text:
        return text.split(separator)
    field = rf'(?:"(?:[^"]|"")*"|[^"{separator}]*)'
    if not re.fullmatch(f"{field}(?:{separator}{field})*", text):
        raise Problem(
            "a quote that is not closed on its line, or is inside a field; quotes must be around a "
            'whole field, and those inside it doubled ("")'
        )
    parts = re.findall(f"(?:^|{separator})({field})", text)
    return [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts]


def _check_count(fields: list[str], num_fields: int, separator: str) -> None:
    if len(fields) != num_fields:
        raise Problem(
            f"{len(fields)} field(s) separated by {separator!r} where there should be "
            f"{num_fields}; correct or remove the line"
        )


def _check_position(position: int, fields: list[str], separator: str) -> int:
    if position >= len(fields):
        raise Problem(
            f"{len(fields)} field(s) separated by {separator!r}, but column {position} (counted "
            "from 0) was asked for; see --columns"
        )
    return position


def _find_name(name: str | int, fields: list[str]) -> int:
    if fields.count(str(name)) != 1:
        raise Problem(
            f"the header should name the column {name!r} once; it is {fields}. Say with --columns "
            "which names mean user, item and rating, or, without a header, which positions, such "
            "as 0,1,2"
        )
    return fields.index(str(name))
