"""The rounds of one simulation: logged, saved, and the selected one's model kept."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

from pfr_jax.errors import InputError, Stopped
from pfr_jax.privacy.attacks.catalog import ATTACKS, attack, attacked_clients
from pfr_jax.privacy.attacks.view import Watcher
from pfr_jax.privacy.report import epsilon_spent
from pfr_jax.runs.baselines import Baselines
from pfr_jax.runs.checkpoints.schedule import Schedule, Stop
from pfr_jax.runs.checkpoints.store import Checkpoints, Saved
from pfr_jax.runs.display import display
from pfr_jax.runs.folder import RunFolder
from pfr_jax.runs.kept import KeptModel
from pfr_jax.runs.logs import log_round
from pfr_jax.runs.progress import RunProgress, Totals
from pfr_jax.runs.tensorboard import Events
from pfr_jax.simulation.ledger import Traffic
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.records import Begin, RoundRecord
from pfr_jax.simulation.setup import Simulation

ATTACKED = 100  # clients, by --attack_every
LOOKED_AT_IN_EVERY_ROUND = 20  # of these, whose uploads are computed once more


class Training:
    """The rounds of one simulation, from the beginning or from the last checkpoint."""

    saved: Saved | None = None  # where it goes on from

    def __init__(
        self,
        simulation: Simulation,
        folder: RunFolder,
        console: Console,
        name: str,
        rounds: int,
        before: dict[str, float],
        logs: bool = True,
        keeps: bool = True,
    ) -> None:
        """Finds the last checkpoint in the folder ``name``, if the run is to be resumed.

        ``before`` are seconds that were spent on it already, by kind as in ``Totals``. ``logs``:
        rounds are logged in the run's folder, and it is an error if the checkpoint is of
        no use for so many ``rounds``; otherwise they begin again. ``keeps``: its model is the one
        that is kept.
        """
        run = simulation.config.run
        seconds = dict.fromkeys(("data", "compile", "train", "eval", "checkpoint"), 0.0) | before
        clients = np.zeros(simulation.population.num_clients, np.int64)
        self.progress = RunProgress(simulation, Totals(Traffic(), seconds, clients))
        self._simulation, self._folder, self._logs = simulation, folder, logs
        self._console, self._rounds = console, rounds
        self._compiled = before.get("compile")
        self._checkpoints, self._kept = None, None
        if run.checkpoints:
            place = folder.path / name
            self._checkpoints = Checkpoints(place, simulation, run.keep_checkpoints)
            if keeps:
                self._kept = KeptModel(folder.path, simulation, place, retrained=not logs)
            if folder.resume:
                self.saved = self._checkpoints.latest(console.print)
        if self.saved and (why := self._no_use(self.saved)):
            if logs:
                raise InputError(why)
            self.saved = None
        if self.saved:
            self.progress.take_over(self.saved.content["progress"], self.saved.arrays)
            for name, spent in before.items():
                self.progress.totals.seconds[name] += spent
            if other := self._looked_at_otherwise(self.saved):
                self.progress.select_anew()
                if logs:
                    console.print(
                        f"{other}: earlier figures are not comparable, and a round is selected "
                        f"among those after round {self.saved.round}.",
                        soft_wrap=True,
                    )

    def _no_use(self, saved: Saved) -> str:
        """Why a training of so many rounds cannot go on from there; empty if it can."""
        if saved.round < self._rounds:
            return ""
        if saved.content["rounds"] != self._rounds:
            return f"--rounds={self._rounds}: {saved.round} rounds are done already; ask for more"
        if other := self._looked_at_otherwise(saved):
            return f"{other}: all {saved.round} rounds are done, and none is left to look at so"
        return ""

    def _looked_at_otherwise(self, saved: Saved) -> str:
        """What figures depend on and has changed since; empty if nothing has."""
        task, settings = self._simulation.task, self._simulation.config.flat()
        looks = {"top_k": task.lists, "model_shrinkage": bool(task.squared_errors)}
        changed = [n for n, counts in looks.items() if counts and saved.settings[n] != settings[n]]
        return ", ".join(f"--{n} was {saved.settings[n]}, is {settings[n]}" for n in changed)

    def run(self, what: str, to_reach: Callable[[], Baselines]) -> None:
        """All rounds that are left; then the selected one is kept. Raises Stopped if asked to.

        ``to_reach`` gives figures of simple baselines on validation, and is asked after a round.
        """
        done = self.saved.round if self.saved else 0
        if done < self._rounds:
            self._run(what, to_reach, done)
        if self._kept and (reported := self.progress.selected or self.progress.last):
            started = time.perf_counter()
            self._kept.finish(reported, self._console)
            self.progress.totals.seconds["checkpoint"] += time.perf_counter() - started

    def _run(self, what: str, to_reach: Callable[[], Baselines], done: int) -> None:
        rounds, begin = self._rounds, None
        if self.saved and self._checkpoints:
            self._console.print(f"Going on after round {done}.")
            state = self._checkpoints.restore(self.saved)
            begin = Begin(state, done, self.progress.best, self.progress.fruitless)
        run, task = self._simulation.config.run, self._simulation.task
        attacker = None
        if run.attack_every and self._logs:
            some = attacked_clients(self._simulation, LOOKED_AT_IN_EVERY_ROUND)
            attacker = Watcher(self._simulation, begin.state if begin else None, some)
        watch = display(self._console, what, task.heading, done, rounds, self._compiled)
        events: Any = contextlib.nullcontext()
        if run.tensorboard and self._logs and self._folder.writes:
            events = contextlib.closing(Events(self._folder.path, done))
        # Without checkpoints nothing is gained by going on to the end of a round.
        with Stop(active=run.checkpoints) as stop, events as tracked, watch as show:
            cost = self._checkpoints.expected_seconds if self._checkpoints else 0.0
            schedule = Schedule(run.checkpoint_every, stop, cost)
            for record in simulate(self._simulation, rounds, begin):
                stop.progress = True
                baselines = to_reach() if record.evaluation else {}
                reference = baselines[task.to_reach(baselines)] if baselines else None
                self.progress.add(record, reference)
                if record.evaluation and self._logs:
                    spent = epsilon_spent(self._simulation.plan, record.round)
                    line = log_round(self._folder, record, self.progress.totals, spent)
                    if tracked:
                        tracked.add(line)
                found = record.evaluation.validation if record.evaluation else None
                show(record, getattr(found, task.figure) if found else None)
                if attacker:
                    self._attack(attacker, record)
                if self._kept and self.progress.reports(record):
                    self.progress.totals.seconds["checkpoint"] += self._kept.offer(record, rounds)
                if self._checkpoints:
                    self._checkpoint(record, schedule)

    def _attack(self, watcher: Watcher, record: RoundRecord) -> None:
        """Looks at a round, and if it is time for it writes what the server learns."""
        watcher.add(record)
        every, simulation = self._simulation.config.run.attack_every, self._simulation
        if record.round % every and record.round != self._rounds:
            return
        clients = attacked_clients(simulation, ATTACKED)
        state, round, quick = record.state, record.round, [a for a in ATTACKS if not a.takes_long]
        for row in attack(simulation, state, round, watcher, clients, quick):
            del row["seconds"]  # the same run has the same files
            self._folder.append_line("attacks.jsonl", row)

    def _checkpoint(self, record: RoundRecord, schedule: Schedule) -> None:
        """Writes one if it is time for it. Raises Stopped if the run has been asked to."""
        assert self._checkpoints is not None
        due, signal = schedule.due(record.round, record.round == self._rounds)
        if due:
            started = time.perf_counter()
            plain, arrays = self.progress.content()
            logs = self._folder.logged() if self._logs and self._folder.writes else {}
            content = {"progress": plain, "logs": logs, "rounds": self._rounds}
            self._checkpoints.save(record.round, record.state, content, arrays)
            seconds = time.perf_counter() - started
            schedule.written(seconds)
            self.progress.totals.seconds["checkpoint"] += seconds
        if signal:
            place = self._folder.output_dir
            raise Stopped(
                f"stopped after round {record.round}; --resume --output_dir={place} goes on", signal
            )
