"""Trains one federation and reports its figures: ``python -m experiments.run --dataset=...``."""

import datetime
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import platformdirs
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
from pfr_jax import memory
from pfr_jax.config import Config
from pfr_jax.evaluation.evaluate import AnyFigures, Evaluation, judge_baselines
from pfr_jax.evaluation.metrics import Figures
from pfr_jax.ledger import Traffic
from pfr_jax.report.environment import environment, peak_rss_bytes
from pfr_jax.report.run_folder import RunFolder, flat_figures
from pfr_jax.report.summary import Outcome, Totals, per_user, summary
from pfr_jax.report.tables import bytes_text, facts_table, headings, results_table
from pfr_jax.sharding import divide_cpu
from pfr_jax.simulation import RoundRecord, Simulation, load_ratings, prepare, simulate

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Folder for the run's files; empty: a new one under runs/."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an earlier run in --output_dir.")


def run_experiment(config: Config, folder: RunFolder, console: Console) -> None:
    """Runs all rounds, writing to ``folder`` and ``console`` as it goes."""
    versions = environment()
    console.print(facts_table("Environment", versions))
    started = time.perf_counter()
    simulation = prepare(config, *load_ratings(config.data))
    seconds = {"data": time.perf_counter() - started, "compile": 0.0, "train": 0.0, "eval": 0.0}
    needed = memory.estimate(simulation)
    console.print(facts_table("Estimated peak memory", needed.facts()))
    memory.check(simulation, needed)
    folder.begin({**config.flat(), "environment": versions})
    console.print(facts_table(f"Data: {config.data.dataset}", simulation.ratings.statistics()))
    console.print(facts_table("Engine", engine_facts(simulation)))

    totals = Totals(Traffic(), seconds, np.zeros(simulation.population.num_clients, np.int64))
    outcome = _run_rounds(simulation, folder, console, totals)
    baselines = _baselines(simulation)
    folder.write_table("per_user.csv", per_user(simulation, totals, outcome))
    folder.write_json("summary.json", summary(simulation, totals, outcome, *baselines))
    _print_results(console, simulation, outcome, *baselines)
    _print_costs(console, simulation, totals, outcome.last)
    console.print(f"Files in {folder.path}", soft_wrap=True)


def engine_facts(simulation: Simulation) -> dict[str, object]:
    """How the clients will be computed, and why so."""
    federation = simulation.federation
    if simulation.joint:
        size = min(simulation.config.client.batch_size, simulation.ratings.num_users)
        return {"engine": f"one trainer, minibatches of {size} users"}
    kept = "bfloat16, rounded stochastically" if federation.side.store else "float32"
    lengths = [str(bucket.items.shape[1]) for bucket in simulation.population.buckets]
    return {
        "engine": f"{federation.engine.name} ({simulation.engine_choice})",
        "matrices are kept in": kept,
        "block shapes": ", ".join(
            f"{size} x {length} rows"
            for size, length in zip(federation.block_sizes, lengths, strict=True)
        ),
    }


def _baselines(simulation: Simulation) -> tuple[dict[str, AnyFigures], dict[str, AnyFigures]]:
    """Figures of the simple baselines on the test ratings and on those of the new users."""
    split = simulation.split
    test = judge_baselines(
        simulation, split.train, split.test, seen=np.concatenate([split.train, split.validation])
    )
    fitted = np.concatenate([split.train, split.support])
    return test, judge_baselines(simulation, fitted, split.query, seen=split.support)


def _run_rounds(
    simulation: Simulation, folder: RunFolder, console: Console, totals: Totals
) -> Outcome:
    """Trains and logs; what is to be reported."""
    selected, validation = None, "-"
    figure, heading = next(iter(headings(simulation.implicit).items()))
    heading = heading.replace("\n", " ")
    bar = Progress(
        TextColumn("round"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn(f"loss {{task.fields[loss]}}  {heading} {{task.fields[validation]}}  ETA"),
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
                    validation = f"{getattr(record.evaluation.validation, figure):.4f}"
                if record.evaluation.improved:
                    selected = record
            bar.update(task, advance=1, loss=f"{record.loss:.4f}", validation=validation)
    return Outcome(selected, record)


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


def _print_results(
    console: Console,
    simulation: Simulation,
    outcome: Outcome,
    baselines: dict[str, AnyFigures],
    new_user_baselines: dict[str, AnyFigures],
) -> None:
    name = simulation.config.run.algorithm
    reference = "popularity" if simulation.implicit else "bias_only"
    columns = headings(simulation.implicit)
    lists = f" (lists of {simulation.config.run.top_k})" if simulation.implicit else ""
    results: dict[str, AnyFigures] = {}
    new_users: dict[str, AnyFigures] = {}
    reported = {"selected on validation": outcome.selected, "last": outcome.last}
    if outcome.selected is outcome.last:
        reported = {"last, selected on validation": outcome.last}
    for what, record in reported.items():
        if record and record.evaluation:
            label = f"{name}, round {record.round} ({what})"
            if record.evaluation.test:
                results[label] = record.evaluation.test
            for encoder, figures in record.evaluation.new_users.items():
                new_users[f"{label}, {encoder}"] = figures
    if baselines:
        rows = results | baselines
        console.print(results_table(f"Test figures{lists}", rows, reference, columns))
    if new_user_baselines:
        title, rows = f"New users, never trained on{lists}", new_users | new_user_baselines
        console.print(results_table(title, rows, reference, columns))
    floor = baselines.get("noise_floor")
    selected = outcome.selected.evaluation if outcome.selected else None
    if isinstance(floor, Figures) and selected and isinstance(selected.test, Figures):
        bias_only = baselines["bias_only"].criterion
        closed = (bias_only - selected.test.rmse) / (bias_only - floor.rmse)
        console.print(f"{closed:.0%} of the gap between bias-only and the noise floor is closed.")


def _print_costs(
    console: Console, simulation: Simulation, totals: Totals, last: RoundRecord
) -> None:
    seconds, traffic = totals.seconds, totals.traffic
    per_client = last.round * simulation.cohort_size
    console.print(
        f"{bytes_text(traffic.up)} up and {bytes_text(traffic.down)} down "
        f"({bytes_text(traffic.up / per_client)} and "
        f"{bytes_text(traffic.down / per_client)} per client and round). "
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


def set_up_jax(config: Config) -> None:
    """Devices, precision, and where compiled programs are kept: in the user's cache."""
    divide_cpu(config.run.num_devices)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path(platformdirs.user_cache_dir("pfr_jax")) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    # float32 is float32, also on accelerators that would round products' inputs.
    jax.config.update("jax_default_matmul_precision", "highest")


def main(argv: Sequence[str]) -> None:
    del argv
    logging.getLogger("jax").setLevel(logging.WARNING)  # absl shows the search for other backends
    with one_line_errors():
        config = config_from_flags(flags.FLAGS)
        set_up_jax(config)
        folder = RunFolder(_output_dir(config), _OVERWRITE.value)
        try:
            run_experiment(config, folder, Console())
        finally:
            folder.discard_if_empty()


define_config_flags()
flags.adopt_module_key_flags(experiments.flags)  # so that --help shows them

if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
