"""A text file of ratings, line by line.

Slow and exact. Used for the first line of every file, to learn where the columns are, and when
the fast reader was refused something, to say which line is to blame.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pfr_jax.errors import InputError

Columns = tuple[str, str, str] | tuple[int, int, int]  # user, item, rating
ROLES = ("user", "item", "rating")


@dataclass(frozen=True)
class Dialect:
    """Where the ratings stand in a text file."""

    separator: str  # "," or tab (fields may be quoted) or "::" (no quotes)
    num_fields: int  # of every line
    positions: tuple[int, int, int]  # of user, item and rating, from 0
    first_line: int  # that may hold a rating, from 1: after the header if there is one


@dataclass(frozen=True)
class Fault:
    """What is wrong with which line (from 1); line 0 means the file as a whole."""

    line: int
    problem: str


def refuse(path: Path, fault: Fault) -> NoReturn:
    """Raise the InputError for `fault`."""
    where = f"{path}:{fault.line}" if fault.line else f"{path}"
    raise InputError(f"{where}: {fault.problem}")


def numbered_lines(path: Path, first_line: int = 1) -> Iterator[tuple[int, str]]:
    """Line number, from 1, and text of every line that is not empty."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\n")
            if text and number >= first_line:
                yield number, text


def split_line(text: str, separator: str) -> list[str]:
    """The fields of one line."""
    if separator == "::":
        return text.split("::")
    return next(csv.reader([text], delimiter=separator))


def sniff(path: Path, separator: str, columns: Columns) -> Dialect:
    """Find `columns` in the first line: a header if they are names, else already a rating."""
    number, text = next(numbered_lines(path), (0, ""))
    if not number:
        refuse(path, Fault(0, "the file is empty; it should hold one rating per line"))
    fields = split_line(text, separator)
    if isinstance(columns[0], str):
        positions, first_line = _find_names(path, number, fields, columns), number + 1
    else:
        positions, first_line = tuple(int(column) for column in columns), number
    if max(positions) >= len(fields):
        problem = (
            f"{len(fields)} field(s) separated by {separator!r}, but column {max(positions)} "
            "(counted from 0) was asked for; see --columns"
        )
        refuse(path, Fault(number, problem))
    user, item, rating = positions
    return Dialect(separator, len(fields), (user, item, rating), first_line)


def _find_names(path: Path, number: int, fields: list[str], columns: Columns) -> tuple[int, ...]:
    for column in columns:
        if fields.count(str(column)) != 1:
            problem = (
                f"the header should name the column {column!r} once; it is {fields}. Say with "
                "--columns which names mean user, item and rating, or, without a header, which "
                "positions, such as 0,1,2"
            )
            refuse(path, Fault(number, problem))
    return tuple(fields.index(str(column)) for column in columns)


def line_of_row(path: Path, dialect: Dialect, row: int) -> int:
    """Line number, from 1, of the rating in row `row`, from 0."""
    for index, (number, _) in enumerate(numbered_lines(path, dialect.first_line)):
        if index == row:
            return number
    raise ValueError(f"{path} has no row {row}")


def first_fault(path: Path, dialect: Dialect) -> Fault | None:
    """The first line that cannot be read as a rating, or None where every line can."""
    number = 0
    for number, text in numbered_lines(path, dialect.first_line):
        problem = _line_problem(text, dialect)
        if problem:
            return Fault(number, problem)
    return None if number else Fault(0, "the file holds no ratings, only a header")


def _line_problem(text: str, dialect: Dialect) -> str | None:
    fields = split_line(text, dialect.separator)
    if len(fields) != dialect.num_fields:
        return (
            f"{len(fields)} field(s) separated by {dialect.separator!r} where the first line has "
            f"{dialect.num_fields}; correct or remove the line"
        )
    if dialect.separator == "::" and any(":" in field for field in fields):
        return "a single ':' within a field; fields must be separated by '::'"
    for role, position in zip(ROLES, dialect.positions, strict=True):
        if not fields[position].strip():
            return f"the {role} is missing; correct or remove the line"
    return _rating_problem(fields[dialect.positions[2]])


def _rating_problem(text: str) -> str | None:
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return None
    return f"the rating {text!r} is not a number; correct the line, or see --columns"
