"""What a run begins with while its clients' tables are still being filled."""

import contextlib
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
from pfr_jax.simulation.compiling import begin_compiling
from pfr_jax.simulation.setup import Meanwhile, Simulation


class Ahead:
    """Of the first simulation of a run, what is done as soon as its shapes are known."""

    compile_seconds: float | None = None  # None: its round has not been compiled
    baselines: Future[JudgeBaselines]  # its simple ones, fitted on its training ratings

    def __init__(
        self,
        console: Console,
        versions: dict[str, str],
        simulations: int,
        beside: ThreadPoolExecutor,
        compiles: bool,
    ) -> None:
        """``simulations`` of such tables there will be; ``beside`` is for what numpy computes."""
        self._console, self._versions, self._simulations = console, versions, simulations
        self._beside, self._compiles = beside, compiles

    @property
    def meanwhile(self) -> Meanwhile:
        return Meanwhile(self._look, self._beside, self._work)

    def _look(self, outlined: Simulation) -> None:
        """Says what will be trained. Raises InputError if it needs more memory than there is."""
        needed = memory.estimate(outlined, most_bytes(outlined), self._simulations)
        memory.check(outlined, needed)
        # What is wrong with the data or the settings has been said by now.
        ratings = outlined.ratings
        self._console.print(facts_table("Environment", self._versions))
        self._console.print(facts_table("Estimated peak memory", needed.facts()))
        data = f"Data: {outlined.config.data.dataset}"
        self._console.print(facts_table(data, ratings.description))
        for note in ratings.notes:
            self._console.print(Text(note), soft_wrap=True)
        self._console.print(facts_table("Engine", engine_facts(outlined)))

    def _work(self, outlined: Simulation) -> None:
        self.baselines = self.baselines_of(outlined)
        if self._compiles:
            self._console.print("compiling ...")
            self.compile_seconds = begin_compiling(outlined)

    def baselines_of(self, simulation: Simulation) -> Future[JudgeBaselines]:
        """The simple ones of any, begun now."""
        return self._beside.submit(fit_simple, simulation, simulation.split.train)


@contextlib.contextmanager
def ahead_of_data(
    console: Console, versions: dict[str, str], simulations: int, compiles: bool
) -> Iterator[Ahead]:
    """``Ahead`` of a run; who leaves it early waits for no more than what its thread has begun."""
    beside = ThreadPoolExecutor(1)
    try:
        yield Ahead(console, versions, simulations, beside, compiles)
    finally:
        beside.shutdown(wait=False, cancel_futures=True)
