"""How far a training is: a bar in a terminal; in a file or a pipe a line now and then."""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from pfr_jax.simulation.records import RoundRecord

Show = Callable[[RoundRecord, float | None], None]  # after a round; its validation figure, if any
LEAST_SECONDS, MOST_SECONDS = 1.0, 30.0  # between two lines
LEAST_BAR = 10  # characters


@contextlib.contextmanager
def display(
    console: Console, what: str, heading: str, done: int, rounds: int, compiled: float | None = None
) -> Iterator[Show]:
    """While entered, what it gives is to be called after every round.

    ``what`` is the name of a round, ``heading`` that of the validation figure, and ``compiled``
    are seconds of compiling before; None: that begins now.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        if compiled is None:
            console.print("compiling ...")
        tell: Callable[[str], None] = partial(console.print, soft_wrap=True, highlight=False)
        yield Lines(tell, what, heading, rounds, compiled or 0.0).show
        return
    with Progress(*_columns(console.width, what, heading, rounds), console=console) as bar:
        task = bar.add_task("compiling", total=rounds, completed=done, loss="-", validation="-")

        def show(record: RoundRecord, validation: float | None) -> None:
            bar.update(task, advance=1, description=what, loss=f"{record.loss:.4f}")
            if validation is not None:
                bar.update(task, validation=f"{validation:.4f}")

        yield show


def _columns(width: int, what: str, heading: str, rounds: int) -> list[ProgressColumn]:
    """A narrow terminal gets the figures without bar and time, on two lines if need be."""
    figures = f"loss {{task.fields[loss]}}  validation {heading} {{task.fields[validation]}}"
    longest = f"{what} {rounds}/{rounds}  loss 0.0000  validation {heading} 0.0000  ETA 0:00:00"
    if len(longest) + LEAST_BAR + 1 > width:
        text = f"{{task.description}} {{task.completed}}/{{task.total}}  {figures}"
        return [TextColumn(text, table_column=Column(overflow="fold"))]
    return [
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn(f"{figures}  ETA"),
        TimeRemainingColumn(),
    ]


class Lines:
    """Tells of the rounds with an evaluation, if a second has gone by since the line before; of any
    round after half a minute; and always of the last one.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        what: str,
        heading: str,
        rounds: int,
        compiled: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._tell, self._what, self._heading, self._rounds = tell, what, heading, rounds
        self._compiled, self._clock = compiled, clock
        self._began: float | None = None  # with the first round
        self._told = 0.0

    def show(self, record: RoundRecord, validation: float | None) -> None:
        now = self._clock()
        if self._began is None:
            self._tell(f"compiled in {self._compiled + record.timing.compile:.1f} s")
            self._began = self._told = now - record.timing.train - record.timing.eval
        else:
            self._began += record.timing.compile
        due = LEAST_SECONDS if record.evaluation else MOST_SECONDS
        if record.round < self._rounds and now - self._told < due:
            return
        self._told = now
        figure = "" if validation is None else f"  validation {self._heading} {validation:.4f}"
        self._tell(
            f"{self._what} {record.round}/{self._rounds}  loss {record.loss:.4f}{figure}  "
            f"{now - self._began:.0f} s"
        )
