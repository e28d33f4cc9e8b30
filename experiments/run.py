"""Trains one federation and reports its figures: ``python -m experiments.run --dataset=...``."""

import datetime
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import experiments.flags
from experiments.flags import (
    config_from_flags,
    define_config_flags,
    one_line_errors,
    parse_flags,
)
from pfr_jax.config import Config
from pfr_jax.evaluation.baselines import baseline_figures
from pfr_jax.evaluation.metrics import Figures
from pfr_jax.ledger import Traffic
from pfr_jax.report.environment import environment, peak_rss_bytes
from pfr_jax.report.run_folder import RunFolder, flat_figures
from pfr_jax.report.tables import bytes_text, facts_table, results_table
from pfr_jax.simulation import RoundRecord, Simulation, load_ratings, prepare, simulate

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Folder for the run's files; empty: a new one under runs/."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an earlier run in --output_dir.")


@dataclass
class Totals:
    """What adds up over a run."""

    traffic: Traffic
    seconds: dict[str, float]  # data, compile, train, eval
    participations: np.ndarray  # i64[N], rounds of each client

    def add(self, record: RoundRecord) -> None:
        self.traffic += record.traffic
        self.participations[record.clients] += 1
        for name, value in asdict(record.timing).items():
            self.seconds[name] += value


def run_experiment(config: Config, folder: RunFolder, console: Console) -> None:
    """Runs all rounds, writing to ``folder`` and ``console`` as it goes."""
    versions = environment()
    console.print(facts_table("Environment", versions))
    started = time.perf_counter()
    simulation = prepare(config, load_ratings(config.data))
    seconds = {"data": time.perf_counter() - started, "compile": 0.0, "train": 0.0, "eval": 0.0}
    folder.begin({**config.flat(), "environment": versions})
    console.print(facts_table(f"Data: {config.data.dataset}", simulation.ratings.statistics()))

    totals = Totals(Traffic(), seconds, np.zeros(simulation.population.num_clients, np.int64))
    selected, last = _run_rounds(simulation, folder, console, totals)

    baselines = baseline_figures(simulation.ratings, simulation.split, config.run.clip_predictions)
    folder.write_table("per_user.csv", _per_user(simulation, totals, selected, last))
    folder.write_json("summary.json", _summary(simulation, totals, selected, last, baselines))
    _print_results(console, simulation, totals, selected, last, baselines)
    console.print(f"Files in {folder.path}", soft_wrap=True)


def _run_rounds(
    simulation: Simulation, folder: RunFolder, console: Console, totals: Totals
) -> tuple[RoundRecord | None, RoundRecord]:
    """The record of the round that validation selects (None without one) and of the last."""
    selected, validation = None, "-"
    bar = Progress(
        TextColumn("round"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}  validation RMSE {task.fields[validation]}  ETA"),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task("", total=simulation.config.run.rounds, loss="-", validation="-")
        for record in simulate(simulation):
            totals.add(record)
            if record.evaluation:
                _log(folder, record, totals)
                if record.evaluation.validation:
                    validation = f"{record.evaluation.validation.rmse:.4f}"
                if record.evaluation.improved:
                    selected = record
            bar.update(task, advance=1, loss=f"{record.loss:.4f}", validation=validation)
    return selected, record


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
            "payload_bytes_up": record.traffic.payload_up,
            "index_bytes_up": record.traffic.index_up,
            "payload_bytes_down": record.traffic.payload_down,
            "bytes_up_total": totals.traffic.up,
            "bytes_down_total": totals.traffic.down,
        },
    )
    folder.append_line("timings.jsonl", {"round": record.round, **totals.seconds})


def _per_user(
    simulation: Simulation, totals: Totals, selected: RoundRecord | None, last: RoundRecord
) -> dict[str, np.ndarray]:
    ratings, split = simulation.ratings, simulation.split
    client = simulation.population.client_of_user
    columns = {"user": ratings.user_ids, "client": client, "rounds": totals.participations[client]}
    for name in ("train", "validation", "test"):
        rows = getattr(split, name)
        columns[f"{name}_ratings"] = np.bincount(ratings.user[rows], minlength=ratings.num_users)
    for suffix, record in (("", selected), ("_last", last)):
        errors = record.evaluation.test_by_user if record and record.evaluation else None
        for name, values in (errors or {}).items():
            columns[f"test_{name}{suffix}"] = values
    return columns


def _summary(
    simulation: Simulation,
    totals: Totals,
    selected: RoundRecord | None,
    last: RoundRecord,
    baselines: dict[str, Figures],
) -> dict[str, Any]:
    config = simulation.config
    chosen = selected.evaluation if selected else None
    final = last.evaluation

    def fields(figures: Figures | None) -> dict[str, float] | None:
        return asdict(figures) if figures else None

    return {
        "algorithm": config.run.algorithm,
        "dataset": config.data.dataset,
        "num_users": simulation.ratings.num_users,
        "num_items": simulation.ratings.num_items,
        "num_clients": simulation.population.num_clients,
        "rounds": last.round,
        "selected_round": selected.round if selected else None,
        "validation": fields(chosen.validation if chosen else None),
        "test": fields(chosen.test if chosen else None),
        "test_last": fields(final.test if final else None),
        "baselines": {name: asdict(figures) for name, figures in baselines.items()},
        "bytes_up_total": totals.traffic.up,
        "bytes_down_total": totals.traffic.down,
        "seconds": totals.seconds,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _print_results(
    console: Console,
    simulation: Simulation,
    totals: Totals,
    selected: RoundRecord | None,
    last: RoundRecord,
    baselines: dict[str, Figures],
) -> None:
    name = simulation.config.run.algorithm
    results = {}
    reported = [(selected, "selected on validation"), (last, "last")]
    if selected is last:
        reported = [(last, "last, selected on validation")]
    for record, what in reported:
        if record and record.evaluation and record.evaluation.test:
            results[f"{name}, round {record.round} ({what})"] = record.evaluation.test
    results |= baselines
    if "bias_only" in results:
        console.print(results_table("Test figures, in stars", results, reference="bias_only"))
    floor = baselines.get("noise_floor")
    if floor and selected and selected.evaluation and selected.evaluation.test:
        gap = baselines["bias_only"].rmse - floor.rmse
        closed = (baselines["bias_only"].rmse - selected.evaluation.test.rmse) / gap
        console.print(f"{closed:.0%} of the gap between bias-only and the noise floor is closed.")
    seconds = totals.seconds
    per_client = last.round * simulation.cohort_size
    console.print(
        f"{bytes_text(totals.traffic.up)} up and {bytes_text(totals.traffic.down)} down "
        f"({bytes_text(totals.traffic.up / per_client)} and "
        f"{bytes_text(totals.traffic.down / per_client)} per client and round). "
        f"Seconds: data {seconds['data']:.1f}, compile {seconds['compile']:.1f}, "
        f"train {seconds['train']:.1f}, eval {seconds['eval']:.1f}. "
        f"Peak memory {bytes_text(peak_rss_bytes())}."
    )


def _output_dir(config: Config) -> Path:
    if _OUTPUT_DIR.value:
        return Path(_OUTPUT_DIR.value).expanduser()
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    name = Path(config.data.dataset).stem
    return Path("runs") / f"{name}-{config.run.algorithm}-{moment}"


def main(argv: Sequence[str]) -> None:
    del argv
    logging.getLogger("jax").setLevel(logging.WARNING)  # absl shows the search for other backends
    with one_line_errors():
        config = config_from_flags(flags.FLAGS)
        folder = RunFolder(_output_dir(config), _OVERWRITE.value)
        try:
            run_experiment(config, folder, Console())
        finally:
            folder.discard_if_empty()


define_config_flags()
flags.adopt_module_key_flags(experiments.flags)  # so that --help shows them

if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
