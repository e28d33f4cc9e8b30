"""What a run begins with while its clients' tables are still being filled."""

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from rich.console import Console
from rich.text import Text

from pfr_jax.evaluation.evaluate import fit_simple
from pfr_jax.evaluation.task import JudgeBaselines
from pfr_jax.report.console import engine_facts
from pfr_jax.report.tables import facts_table
from pfr_jax.runs.baselines import most_bytes
from pfr_jax.simulation import memory
from pfr_jax.simulation.loop import compile_ahead
from pfr_jax.simulation.setup import Simulation

# Seconds after which tracing lets another thread on, which asks for that after every operation on
# arrays; Python's own 0.005 would make it wait as long as it works.
LET_GO = 1e-4


class Ahead:
    """What is begun while the first simulation is still being filled with data."""

    def __init__(
        self, console: Console, versions: dict[str, str], beside: ThreadPoolExecutor
    ) -> None:
        self.beside = beside  # what numpy computes beside JAX's tracing
        self.compile_seconds = 0.0
        self._console, self._versions = console, versions
        self._first: Future[JudgeBaselines] | None = None

    def start(self, outlined: Simulation) -> None:
        """Says what will be trained, begins with its simple baselines, and compiles its round.

        Raises InputError if it needs more memory than there is.
        """
        interval = sys.getswitchinterval()
        sys.setswitchinterval(LET_GO)
        try:
            self._begin(outlined)
        finally:
            sys.setswitchinterval(interval)

    def _begin(self, outlined: Simulation) -> None:
        needed = memory.estimate(outlined, most_bytes(outlined))
        memory.check(outlined, needed)
        # What is wrong with the data or the settings has been said by now.
        ratings = outlined.ratings
        self._console.print(facts_table("Environment", self._versions))
        self._console.print(facts_table("Estimated peak memory", needed.facts()))
        data = f"Data: {outlined.config.data.dataset}"
        self._console.print(facts_table(data, ratings.described()))
        for note in ratings.notes:
            self._console.print(Text(note), soft_wrap=True)
        self._console.print(facts_table("Engine", engine_facts(outlined)))
        self._console.print("compiling ...")
        self._first = self.baselines_of(outlined)
        self.compile_seconds = compile_ahead(outlined)

    def baselines_of(self, simulation: Simulation) -> Future[JudgeBaselines]:
        """The simple ones, fitted on its training ratings; the first asked for are begun with."""
        begun, self._first = self._first, None
        return begun or self.beside.submit(fit_simple, simulation, simulation.split.train)


@contextlib.contextmanager
def ahead_of_data(console: Console, versions: dict[str, str]) -> Iterator[Ahead]:
    """``Ahead`` of a run, whose thread ends with it."""
    beside = ThreadPoolExecutor(1)
    try:
        yield Ahead(console, versions, beside)
    finally:
        beside.shutdown(wait=False, cancel_futures=True)  # who stops a run does not wait for it
