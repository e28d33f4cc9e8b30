r"""The grammar of a text file of ratings, and its slow, exact reader.

What the grammar does not allow is refused: nothing is accepted with a shrug, repaired or dropped.

file     One rating per line, the same number of fields in each; a header first or none (`dialect`
         finds that out). Read out of gzip or zstandard by the ending of its name.
bytes    UTF-8, without control characters (tabs and line ends apart) or lines of more than 65,536
         bytes. A byte-order mark (U+FEFF) at the very beginning of a file of one's own, only.
line     Not blank, but for the very last one of a file of one's own. All end in \n, or all in
         \r\n, as the first one does; no \r anywhere else. The last line ends so too, for else it
         may be cut; only in a file of one's own with commas or semicolons it need not.
field    Separated by "::", and then without any ":"; or by runs of blanks and tabs, which may
         also begin and end a line; or by one character, and then a field may stand in double quotes
         ("" within them means one), which are no part of it. No quotes in other places, no line
         ends in quotes. What a field may hold: see `fields`.
ratings  No user rates an item twice, unless --duplicates says what to do. (Looked for by `files`.)
         A file may hold user and item alone: every line is a choice, and counts once.

A file of one's own is any whose `FixedLayout` is not known.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from pfr_jax.data.formats.fields import Problem, check_count, check_label, check_rating
from pfr_jax.data.formats.options import SPACES, FixedLayout, RatingRule, separator_text
from pfr_jax.errors import InputError

MAX_LINE = 65_536  # bytes, line end included
BYTE_ORDER_MARK = "\ufeff".encode()
SHOWN = 20  # faults that a message lists
_NO_CONTROL = bytes({*range(256)} - {*range(32), 127} | {*b"\t\r\n"})


@dataclass(frozen=True)
class Dialect:
    """How one text file is to be read."""

    separator: str  # one character (fields may be quoted), "::" or SPACES (no quotes)
    num_fields: int  # of every line
    positions: tuple[int, ...]  # of user, item and, where there is one, rating, from 0
    time: int | None  # position of the rating's time
    skipped: int  # bytes before the first line that holds a rating: a mark, a header
    first_line: int  # that holds a rating, from 1: after a header, 2
    ending: bytes  # of every line
    open_end: bool  # the last line may do without
    rule: RatingRule
    layout: FixedLayout | None

    @property
    def own(self) -> bool:
        """A file of one's own."""
        return self.layout is None

    @property
    def quotable(self) -> bool:
        """Whether fields may be quoted."""
        return self.separator not in ("::", SPACES)


@dataclass(frozen=True)
class Fault:
    """What is wrong where: a line from 1 or a row from 1; 0 means the file as a whole."""

    line: int
    problem: str


@dataclass
class Faults:
    """All that is wrong with a file; only the first ones are kept in words."""

    path: Path
    row: str = ":{}"  # what stands before the problem, after the path: of a line or row
    shown: list[Fault] = field(default_factory=list)
    count: int = 0

    def add(self, fault: Fault) -> None:
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(fault)

    def refuse(self) -> None:
        """Raises InputError with all of them, if there are any."""
        if not self.count:
            return
        shown = sorted(self.shown, key=lambda fault: fault.line)
        texts = [f"{self.path}{self.row.format(f.line)}: {f.problem}" for f in shown]
        if self.count == 1:
            raise InputError(texts[0])
        if self.count > len(texts):
            texts.append(f"... and {self.count - len(texts):,} more")
        raise InputError("\n  ".join([f"{self.path}: {self.count:,} faults", *texts]))


def refuse(path: Path, fault: Fault) -> NoReturn:
    """Raise the InputError for a single `fault`."""
    where = f"{path}:{fault.line}" if fault.line else f"{path}"
    raise InputError(f"{where}: {fault.problem}")


def read_lines(
    lines: Iterable[bytes], number: int, dialect: Dialect
) -> Iterator[tuple[int, list[str] | Fault]]:
    """The fields of each line (given with its end) or what is wrong with it, and its number.

    `number` is that of the first of them, from 1.
    """
    for line_number, line in enumerate(lines, start=number):
        try:
            yield line_number, check_line(line, dialect)
        except Problem as problem:
            yield line_number, Fault(line_number, str(problem))


def check_line(line: bytes, dialect: Dialect) -> list[str]:
    """The fields of `line`, given with its end. Raises Problem unless it is in the grammar."""
    fields = split(decode(line, dialect.ending, dialect.open_end), dialect.separator)
    if len(fields) != dialect.num_fields:
        raise Problem(
            f"{len(fields)} field(s) separated by {separator_text(dialect.separator)} where there "
            f"should be {dialect.num_fields}; correct or remove the line"
        )
    for role, position in zip(("user", "item"), dialect.positions, strict=False):
        check_label(fields[position], role, dialect.layout)
    for position in dialect.positions[2:]:
        check_rating(fields[position], dialect.rule)
    if dialect.layout:
        for position in set(range(dialect.num_fields)) - set(dialect.positions):
            check_count(fields[position])
    return fields


def holds_control(data: bytes) -> bool:
    """Whether any control character, tabs and line ends apart, is in `data`."""
    return bool(data.translate(None, _NO_CONTROL))


def decode(line: bytes, ending: bytes, open_end: bool) -> str:
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
        raise Problem("a byte-order mark (U+FEFF) where no file begins; remove it")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Problem(f"not UTF-8 ({error.reason}); write the file again as UTF-8") from error


def split(text: str, separator: str) -> list[str]:
    """The fields of one line, without quotes; raises Problem."""
    if separator == SPACES:
        return [field for field in re.split("[ \t]+", text) if field]
    if separator == "::":
        fields = text.split("::")
        if any(":" in field for field in fields):
            raise Problem("a single ':' within a field; fields must be separated by '::'")
        return fields
    if '"' not in text:
        return text.split(separator)
    between = re.escape(separator)
    field = rf'(?:"(?:[^"]|"")*"|[^"{between}]*)'
    if not re.fullmatch(f"{field}(?:{between}{field})*", text):
        raise Problem(
            "a quote that is not closed on its line, or is inside a field; quotes must be around a "
            'whole field, and those inside it doubled ("")'
        )
    parts = re.findall(f"(?:^|{between})({field})", text)
    return [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts]
