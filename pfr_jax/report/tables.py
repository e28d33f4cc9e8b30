"""Tables for the terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from pfr_jax.evaluation.task import AnyFigures
from pfr_jax.report.comparison import Comparison


class Fitted:
    """A table under its title; where it does not fit the terminal, its rows one below the other.

    A row then is the text of its first column, and below it a line per figure with its heading. No
    name and no digit is ever cut off.
    """

    def __init__(self, title: str, table: Table) -> None:
        self.title, self.table = title, table

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        yield Text(self.title, style="italic", overflow="fold")
        wide = options.update(width=10_000)
        needed = console.measure(self.table, options=wide).maximum
        for column in self.table.columns:
            if not column.no_wrap:
                longest, word = _widths(column)
                needed -= longest - min(longest, max(word, 12), options.max_width // 2)
        if needed <= options.max_width:
            yield self.table
            return
        first, *others = self.table.columns
        for row, name in enumerate(first.cells):
            yield Text(str(name), overflow="fold")
            for column in others:
                if figure := str(list(column.cells)[row]):
                    heading = str(column.header).replace("\n", " ")
                    yield Padding(
                        Text(f"{heading} {figure}".lstrip(), overflow="fold"), (0, 0, 0, 2)
                    )


def _widths(column: Column) -> tuple[int, int]:
    """Characters of a column's longest line, and of its longest word."""
    texts = [str(column.header), *map(str, column.cells)]
    lines = [line for text in texts for line in text.split("\n")]
    words = [word for line in lines for word in line.split()]
    return max(map(cell_len, lines)), max(map(cell_len, words), default=0)


def facts_table(title: str, facts: Mapping[str, object]) -> Fitted:
    """Names and values in two columns."""
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _text(value))
    return Fitted(title, table)


def results_table(
    title: str,
    groups: Mapping[str, Mapping[str, AnyFigures]],
    reference: str,
    columns: Mapping[str, str],
) -> Fitted:
    """A row of figures per predictor, and its first figure less that of ``reference``.

    ``groups`` have a line with their name above them, but for "", in which ``reference`` is;
    ``columns`` are the task's ``headings``.
    """
    # Narrow, so that nine columns of figures fit a terminal of 80 characters.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("", overflow="fold", min_width=12)
    first, *others = columns
    less = f"less\n{reference.replace('_', '-')}"
    for heading in (columns[first], less, *(columns[name] for name in others)):
        table.add_column(heading, justify="right", no_wrap=True)
    compared = getattr(groups[""][reference], first)
    for group, results in groups.items():
        if group and results:
            table.add_section()
            table.add_row(f"{group}:")
        for name, figures in results.items():
            table.add_row(
                name.replace("_", " "),
                _digits(getattr(figures, first)),
                "" if name == reference else f"{getattr(figures, first) - compared:+.4f}",
                *(_digits(getattr(figures, other)) for other in others),
            )
    return Fitted(title, table)


def bytes_text(count: float) -> str:
    """Bytes in the largest decimal unit that keeps a digit before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _digits(figure: float) -> str:
    return "-" if math.isnan(figure) else f"{figure:.4f}"


def _text(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def attacks_table(rows: Sequence[Mapping[str, Any]]) -> Fitted:
    """Figures of attacks beside what a guess gets without any upload."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("attack", ratio=1)
    for heading in ("rounds done", "figure", "value", "by guess", "clients"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for row in rows:
        figures = f"{row['value']:.3f}", f"{row['chance']:.3f}", str(row["clients"])
        table.add_row(row["attack"], str(row["round"]), row["figure"], *figures)
    return Fitted("What the server learns", table)


def comparisons_table(title: str, comparisons: Sequence[Comparison]) -> Fitted:
    """A row per comparison: who with whom, over how many users, how much, and how surely."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("run", overflow="fold")
    table.add_column("less", overflow="fold")
    for heading in ("users\nin both", "better", "worse", "mean\ndifference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("95 %\nfrom", "\nto", "\np", "Holm's\np"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in comparisons:
        table.add_row(
            Text(one.run),  # a name is no markup
            Text(one.other),
            f"{one.users:,}",
            f"{one.better:.1%}",
            f"{one.worse:.1%}",
            *(_difference(value) for value in (one.mean_difference, *one.interval)),
            f"{one.p_value:.2g}",
            f"{one.p_holm:.2g}",
        )
    return Fitted(title, table)


def deciles_table(title: str, comparisons: Sequence[Comparison]) -> Fitted:
    """Mean differences of each comparison, in one line where it fits."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for one in comparisons:
        means = " ".join(f"{value:+.3f}" for value in one.by_decile)
        table.add_row(Text(f"{one.run} less {one.other}"), means)
    return Fitted(title, table)


def _difference(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"
