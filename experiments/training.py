"""A prepared simulation trained, logged and reported: what ``experiments.run`` does per seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pfr_jax.evaluation.evaluate import AnyFigures, Evaluation, judge_baselines
from pfr_jax.ledger import Traffic
from pfr_jax.report.paper_table import REFERENCE
from pfr_jax.report.run_folder import RunFolder, flat_figures
from pfr_jax.report.summary import Outcome, Reached, Retrained, Totals, per_user, summary
from pfr_jax.report.tables import headings
from pfr_jax.simulation import RoundRecord, Simulation, costs_of_clients, simulate

Baselines = dict[str, AnyFigures]


@dataclass(frozen=True)
class Report:
    """A finished run."""

    simulation: Simulation
    totals: Totals
    outcome: Outcome
    baselines: Baselines  # on the test ratings
    new_user_baselines: Baselines
    summary: dict[str, Any]


def train(
    simulation: Simulation,
    again: Simulation | None,
    folder: RunFolder,
    console: Console,
    data_seconds: float,
) -> Report:
    """Runs all rounds, writing to ``folder`` and ``console`` as it goes.

    ``again`` is the same federation with the validation ratings to train on too; it is trained
    for as many rounds as ``simulation`` selects.
    """
    totals, split = _no_totals(simulation, data_seconds), simulation.split
    to_reach = judge_baselines(simulation, split.train, split.validation, split.train)
    outcome, reached = _run_rounds(simulation, folder, console, totals, to_reach)
    baselines = baselines_of_test(simulation)
    new_user_baselines = _new_user_baselines(simulation)
    retrained = None
    if again is not None and outcome.selected is not None:
        more = _no_totals(again, 0.0)
        with _progress(again, outcome.selected.round, console, "retrained") as bar:
            for record in simulate(again, outcome.selected.round):
                more.add(record)
                bar.update(bar.task_ids[0], advance=1, loss=f"{record.loss:.4f}")
        retrained = Retrained(record, more, baselines_of_test(again))
        outcome = Outcome(outcome.selected, outcome.last, retrained)
    folder.write_table("per_user.csv", per_user(simulation, totals, outcome))
    references = baselines, new_user_baselines, to_reach
    content = summary(simulation, totals, outcome, *references, reached)
    folder.write_json("summary.json", content)
    return Report(simulation, totals, outcome, baselines, new_user_baselines, content)


def _no_totals(simulation: Simulation, data_seconds: float) -> Totals:
    seconds = {"data": data_seconds, "compile": 0.0, "train": 0.0, "eval": 0.0}
    return Totals(Traffic(), seconds, np.zeros(simulation.population.num_clients, np.int64))


def baselines_of_test(simulation: Simulation) -> Baselines:
    """Figures of the simple baselines on the test ratings."""
    split = simulation.split
    seen = np.concatenate([split.train, split.validation])
    return judge_baselines(simulation, split.train, split.test, seen)


def _new_user_baselines(simulation: Simulation) -> Baselines:
    split = simulation.split
    fitted = np.concatenate([split.train, split.support])
    return judge_baselines(simulation, fitted, split.query, seen=split.support)


def _progress(simulation: Simulation, rounds: int, console: Console, what: str) -> Progress:
    heading = next(iter(headings(simulation.implicit).values())).replace("\n", " ")
    bar = Progress(
        TextColumn(what),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn(f"loss {{task.fields[loss]}}  {heading} {{task.fields[validation]}}  ETA"),
        TimeRemainingColumn(),
        console=console,
    )
    bar.add_task("", total=rounds, loss="-", validation="-")
    return bar


def _run_rounds(
    simulation: Simulation,
    folder: RunFolder,
    console: Console,
    totals: Totals,
    to_reach: Baselines,
) -> tuple[Outcome, Reached | None]:
    """Trains and logs; what is to be reported, and when validation reached the simple baseline."""
    selected, validation, reached = None, "-", None
    reference = to_reach.get(REFERENCE["implicit" if simulation.implicit else "explicit"])
    figure = next(iter(headings(simulation.implicit)))
    with _progress(simulation, simulation.config.run.rounds, console, "round") as bar:
        for record in simulate(simulation):
            totals.add(record)
            if record.evaluation:
                _log(folder, record, totals)
                if found := record.evaluation.validation:
                    validation = f"{getattr(found, figure):.4f}"
                    if reached is None and reference and found.criterion <= reference.criterion:
                        reached = _reached(simulation, record, totals.traffic)
                if record.evaluation.improved:
                    selected = record
            loss = f"{record.loss:.4f}"
            bar.update(bar.task_ids[0], advance=1, loss=loss, validation=validation)
    return Outcome(selected, record), reached


def _reached(simulation: Simulation, record: RoundRecord, traffic: Traffic) -> Reached:
    per_client = (traffic.up + traffic.down) / simulation.num_clients
    costs = costs_of_clients(simulation)
    visits = record.round * simulation.cohort_size / simulation.num_clients
    whole = 2 * costs.ranking_download_bytes * visits if costs else 0.0
    return Reached(record.round, traffic.up, traffic.down, per_client, whole)


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
            **flat_figures("test", evaluation.test),
            **_new_user_figures(evaluation),
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
