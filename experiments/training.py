"""A prepared simulation trained, logged and reported: what ``experiments.run`` does per seed."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pfr_jax.checkpoint.schedule import Schedule, Stop
from pfr_jax.checkpoint.store import Checkpoints, Saved
from pfr_jax.errors import Stopped
from pfr_jax.evaluation.evaluate import (
    Evaluation,
    Judged,
    judge_baselines,
    seen_in_test,
)
from pfr_jax.ledger import Traffic
from pfr_jax.report.progress import RunProgress, Totals
from pfr_jax.report.reference import best_baseline
from pfr_jax.report.run_folder import RunFolder, flat_figures
from pfr_jax.report.summary import Baselines, Outcome, References, Retrained, per_user, summary
from pfr_jax.report.tables import headings
from pfr_jax.simulation import Begin, RoundRecord, Simulation, simulate


@dataclass(frozen=True)
class Report:
    """A finished run."""

    simulation: Simulation
    totals: Totals
    outcome: Outcome
    references: References
    summary: dict[str, Any]


def train(
    simulation: Simulation,
    again: Simulation | None,
    folder: RunFolder,
    console: Console,
    data_seconds: float,
    settings: dict[str, Any],
) -> Report:
    """Runs all rounds, writing to ``folder`` and ``console`` as it goes.

    ``again`` is the same federation with the validation ratings to train on too; it is trained
    for as many rounds as ``simulation`` selects. ``settings`` are those that config.json shows.
    """
    split = simulation.split
    to_reach = _over_all(judge_baselines(simulation, split.train, split.validation, split.train))
    first = Training(simulation, folder, console, "checkpoints", data_seconds)
    if first.saved is None:
        folder.begin(settings)
    else:
        folder.cut_back(first.saved.content["logs"])
    first.run("round", simulation.config.run.rounds, to_reach)
    progress = first.progress
    assert progress.last is not None
    outcome = Outcome(progress.selected, progress.last)
    of_test = baselines_of_test(simulation)
    references = References(
        validation=to_reach,
        test=_over_all(of_test),
        test_warm=_over_warm(of_test),
        new_users=_over_all(_new_user_baselines(simulation)),
    )
    if again is not None and progress.selected is not None:
        second = Training(again, folder, console, "checkpoints_retrained", 0.0, logs=False)
        second.run("retrained", progress.selected.round, {})
        assert second.progress.last is not None
        of_test = baselines_of_test(again)
        retrained = Retrained(
            last=second.progress.last,
            totals=second.progress.totals,
            baselines=_over_all(of_test),
            baselines_warm=_over_warm(of_test),
        )
        outcome = Outcome(outcome.selected, outcome.last, retrained)
    folder.write_table("per_user.csv", per_user(simulation, progress.totals, outcome))
    content = summary(simulation, progress.totals, outcome, references, progress.reached)
    folder.write_json("summary.json", content)
    return Report(simulation, progress.totals, outcome, references, content)


class Training:
    """The rounds of one simulation, from the beginning or from the last checkpoint."""

    saved: Saved | None = None  # where it goes on from

    def __init__(
        self,
        simulation: Simulation,
        folder: RunFolder,
        console: Console,
        name: str,
        data_seconds: float,
        logs: bool = True,
    ) -> None:
        """``name`` is the folder of the checkpoints; ``logs``: rounds are logged in the folder."""
        run = simulation.config.run
        seconds = {"data": data_seconds} | dict.fromkeys(
            ("compile", "train", "eval", "checkpoint"), 0.0
        )
        clients = np.zeros(simulation.population.num_clients, np.int64)
        self.progress = RunProgress(simulation, Totals(Traffic(), seconds, clients))
        self._simulation, self._folder, self._logs = simulation, folder, logs
        self._console = console
        self._checkpoints = None
        if run.checkpoints:
            place = folder.path / name
            self._checkpoints = Checkpoints(place, simulation, run.keep_checkpoints)
            if folder.resume:
                self.saved = self._checkpoints.latest(console.print)
        if self.saved:
            self.progress.take_over(self.saved.content["progress"], self.saved.arrays)

    def run(self, what: str, rounds: int, to_reach: Baselines) -> None:
        """All rounds up to ``rounds``. Raises Stopped if asked to stop before."""
        done = self.saved.round if self.saved else 0
        if done >= rounds:
            return
        begin = None
        if self.saved and self._checkpoints:
            self._console.print(f"Going on after round {done}.")
            state = self._checkpoints.restore(self.saved)
            begin = Begin(state, done, self.progress.best, self.progress.fruitless)
        config = self._simulation.config
        run, feedback = config.run, config.data.feedback
        reference = to_reach[best_baseline(feedback, to_reach)] if to_reach else None
        validation, figure = "-", next(iter(headings(self._simulation.implicit)))
        # Without checkpoints nothing is gained by going on to the end of a round.
        with Stop(active=run.checkpoints) as stop, self._bar(what, rounds, done) as bar:
            cost = self._checkpoints.expected_seconds if self._checkpoints else 0.0
            schedule = Schedule(run.checkpoint_every, stop, cost)
            for record in simulate(self._simulation, rounds, begin):
                self.progress.add(record, reference)
                if record.evaluation:
                    if self._logs:
                        _log(self._folder, record, self.progress.totals)
                    if found := record.evaluation.validation:
                        validation = f"{getattr(found, figure):.4f}"
                loss = f"{record.loss:.4f}"
                bar.update(bar.task_ids[0], advance=1, loss=loss, validation=validation)
                if self._checkpoints:
                    self._checkpoint(record, schedule, rounds)

    def _checkpoint(self, record: RoundRecord, schedule: Schedule, rounds: int) -> None:
        """Writes one if it is time for it. Raises Stopped if the run has been asked to."""
        assert self._checkpoints is not None
        due, signal = schedule.due(record.round, record.round == rounds)
        if due:
            started = time.perf_counter()
            plain, arrays = self.progress.content()
            logs = self._folder.logged() if self._logs and self._folder.writes else {}
            content = {"progress": plain, "logs": logs}
            self._checkpoints.save(record.round, record.state, content, arrays)
            seconds = time.perf_counter() - started
            schedule.written(seconds)
            self.progress.totals.seconds["checkpoint"] += seconds
        if signal:
            place = self._folder.output_dir
            raise Stopped(
                f"stopped after round {record.round}; --resume --output_dir={place} goes on", signal
            )

    def _bar(self, what: str, rounds: int, done: int) -> Progress:
        heading = next(iter(headings(self._simulation.implicit).values())).replace("\n", " ")
        bar = Progress(
            TextColumn(what),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn(f"loss {{task.fields[loss]}}  {heading} {{task.fields[validation]}}  ETA"),
            TimeRemainingColumn(),
            console=self._console,
        )
        bar.add_task("", total=rounds, completed=done, loss="-", validation="-")
        return bar


def baselines_of_test(simulation: Simulation) -> dict[str, Judged]:
    """The simple baselines on the test ratings."""
    split = simulation.split
    return judge_baselines(simulation, split.train, split.test, seen_in_test(split))


def _over_all(judged: dict[str, Judged]) -> Baselines:
    return {name: one.figures for name, one in judged.items()}


def _over_warm(judged: dict[str, Judged]) -> Baselines:
    return {name: one.warm for name, one in judged.items() if one.warm}


def _new_user_baselines(simulation: Simulation) -> dict[str, Judged]:
    split = simulation.split
    fitted = np.concatenate([split.train, split.support])
    return judge_baselines(simulation, fitted, split.query, seen=split.support)


def _log(folder: RunFolder, record: RoundRecord, totals: Totals) -> None:
    evaluation = record.evaluation
    assert evaluation is not None
    folder.append_line(
        "metrics.jsonl",
        {
            "round": record.round,
            "loss": record.loss,
            "learning_rate": record.learning_rate,
            **flat_figures("validation", evaluation.validation),
            **flat_figures("validation_warm", evaluation.validation_warm),
            **flat_figures("test", evaluation.test),
            **flat_figures("test_warm", evaluation.test_warm),
            **_new_user_figures(evaluation),
            "clients": record.taken,
            **{f"clients_{what}": count for what, count in asdict(record.faults).items()},
            "payload_bytes_up": record.traffic.payload_up,
            "index_bytes_up": record.traffic.index_up,
            "payload_bytes_down": record.traffic.payload_down,
            "bytes_up_total": totals.traffic.up,
            "bytes_down_total": totals.traffic.down,
        },
    )
    folder.append_line("timings.jsonl", {"round": record.round, **totals.seconds})


def _new_user_figures(evaluation: Evaluation) -> dict[str, float]:
    return {
        name: value
        for encoder, figures in evaluation.new_users.items()
        for name, value in flat_figures(f"new_users_{encoder}", figures).items()
    }
