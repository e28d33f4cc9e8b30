"""What a page is made of, as records that the template turns into HTML."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOTHING = "–"  # where a run has no such figure


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first of each row says what the row is of."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True  # all columns but the first are set to the right
    search: str = ""  # label of a field that filters the rows; "": there is none


@dataclass(frozen=True)
class Chart:
    """A plot, as Plotly takes it."""

    name: str  # of the element
    says: str  # what is drawn
    traces: list[dict[str, Any]]
    layout: dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading."""

    name: str  # of the link to it
    title: str
    sentence: str  # what it shows
    notes: tuple[str, ...] = ()  # what a reader should know besides
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    lists: bool = False  # recommendations are shown here


def across(
    caption: str, names: Sequence[str], facts: Mapping[str, Iterable[str]], numbers: bool = True
) -> Table:
    """A table with a column per run.

    Args:
      caption: of the table.
      names: of the runs.
      facts: what a row is of -> a text per run.
      numbers: the texts are set to the right.
    """
    rows = tuple((name, *texts) for name, texts in facts.items())
    return Table(caption, ("", *names), rows, numbers)


def digits(value: float | None, signed: bool = False) -> str:
    """A figure with four digits behind the point."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:+.4f}" if signed else f"{value:.4f}"


def count(value: float | None) -> str:
    """A number of things, with commas."""
    return NOTHING if value is None else f"{value:,.0f}"


def chance(p: float) -> str:
    """A p-value, whose size below a ten-thousandth tells people nothing."""
    return f"{p:.2g}" if p >= 1e-4 else "below 0.0001"


def mean_and_deviation(values: Sequence[float], signed: bool = False) -> str:
    """The mean, and in brackets the standard deviation (n - 1) where there are several."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return digits(mean, signed)
    squares = sum((value - mean) ** 2 for value in values)
    return f"{digits(mean, signed)} ({digits(math.sqrt(squares / (len(values) - 1)))})"
