"""Trains one federation and reports its figures.

pfr run --dataset=ml100k --algorithm=fedavg --num_clients=100
pfr run --preset=paper_ml100k --num_seeds=4
pfr run --dataset=my.csv --columns=user,movie,stars --output_dir=runs/mine --resume
"""

import dataclasses
import datetime
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from absl import flags
from absl import logging as absl_logging
from rich.console import Console
from rich.text import Text

from pfr_jax.config import Config
from pfr_jax.data.splits import Split
from pfr_jax.errors import InputError
from pfr_jax.evaluation.metrics import Figures
from pfr_jax.evaluation.task import AnyFigures
from pfr_jax.jax_setup import set_up_jax
from pfr_jax.programs.flags import (
    config_from_flags,
    define_config_flags,
    one_line_errors,
)
from pfr_jax.report.held_out import held_out_sentences
from pfr_jax.report.paper_table import table_figures
from pfr_jax.report.tables import bytes_text, facts_table, results_table
from pfr_jax.runs.checkpoints.identity import facts_of_ratings
from pfr_jax.runs.environment import environment, peak_rss_bytes
from pfr_jax.runs.folder import RunFolder, new_folder
from pfr_jax.runs.trainer import Report, train
from pfr_jax.simulation import memory
from pfr_jax.simulation.loop import Simulation, load_ratings, prepare_alike

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Folder for the run's files; empty: a new one under runs/."
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds",
    1,
    "Runs from as many seeds, --seed and --split_seed counted up together, each in a folder of "
    "its own (seed0, seed1, ...), without compiling again.",
    1,
)
_RESUME = flags.DEFINE_bool(
    "resume",
    False,
    "Go on with the run in --output_dir from its last good checkpoint; begin it if there is none. "
    "From there on --eval_every and --top_k may be others, and with --schedule=constant --rounds.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "Several processes: host:port of the first, for the others to find it."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes",
    1,
    "Processes that simulate together, all with a common --output_dir; 0: as many as the platform "
    "(a TPU slice, Slurm) says.",
    0,
)
_PROCESS = flags.DEFINE_integer("process", -1, "Number of this one, from 0; -1: as it says.", -1)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an earlier run in --output_dir.")


def run_experiment(configs: list[Config], folders: list[RunFolder], console: Console) -> None:
    """Trains a simulation per configuration, which differ in seeds alone, one after the other."""
    versions, config = environment(), configs[0]
    started = time.perf_counter()
    console.print(f"reading {config.data.dataset} ...", soft_wrap=True)
    runs = [(one, *load_ratings(one.data)) for one in configs]
    whole = [(one, ratings, _all_to_train_on(split)) for one, ratings, split in runs]
    retrains = config.run.retrain and len(runs[0][2].validation) > 0
    simulations = prepare_alike(runs + whole if retrains else runs)
    data_seconds = (time.perf_counter() - started) / len(runs)
    needed = memory.estimate(simulations[0])
    memory.check(simulations[0], needed)
    # What is wrong with the data or the settings has been said by now.
    console.print(facts_table("Environment", versions))
    console.print(facts_table("Estimated peak memory", needed.facts()))
    ratings = simulations[0].ratings
    console.print(facts_table(f"Data: {config.data.dataset}", ratings.described()))
    for note in ratings.notes:
        console.print(Text(note), soft_wrap=True)
    console.print(facts_table("Engine", engine_facts(simulations[0])))

    reports = []
    for index, (one, folder) in enumerate(zip(configs, folders, strict=True)):
        if len(configs) > 1:
            console.rule(f"seed {one.run.seed}, split seed {one.data.split_seed}")
        ratings = simulations[index].ratings
        settings = {
            **one.flat(),
            "ratings": facts_of_ratings(ratings, simulations[index].target),
            "data": {**ratings.described(), "notes": ratings.notes, "removed": ratings.removed},
            "environment": versions,
        }
        for sentence in held_out_sentences(simulations[index]):
            console.print(sentence, soft_wrap=True, highlight=False)
        again = simulations[len(configs) + index] if retrains else None
        report = train(simulations[index], again, folder, console, data_seconds, settings)
        _print_results(console, report)
        _print_costs(console, report)
        reports.append(report)
    if len(reports) > 1:
        console.rule("all seeds")
        _print_seeds(console, reports)


def _all_to_train_on(split: Split) -> Split:
    """With the validation ratings among the training ratings."""
    train = np.sort(np.concatenate([split.train, split.validation]))
    return dataclasses.replace(split, train=train, validation=split.validation[:0])


def engine_facts(simulation: Simulation) -> dict[str, object]:
    """How the clients will be computed, and why so."""
    federation = simulation.federation
    if simulation.spec.centralized:
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


def _print_results(console: Console, report: Report) -> None:
    simulation, outcome, references = report.simulation, report.outcome, report.references
    name, task = simulation.spec.name, simulation.task
    lists = f" (lists of {simulation.config.run.top_k})" if task.lists else ""
    results: dict[str, AnyFigures] = {}
    of_warm: dict[str, AnyFigures] = {}
    new_users: dict[str, AnyFigures] = {}
    reported = {"selected on validation": outcome.selected, "last": outcome.last}
    if outcome.selected and outcome.selected.round == outcome.last.round:
        reported = {"last, selected on validation": outcome.last}
    for what, one in reported.items():
        if one:
            label = f"{name}, round {one.round} ({what})"
            if one.evaluation.test:
                results[label] = one.evaluation.test
            if one.evaluation.test_warm:
                of_warm[label] = one.evaluation.test_warm
            for encoder, figures in one.evaluation.new_users.items():
                new_users[f"{label}, {encoder}"] = figures

    def show(title: str, rows: dict[str, AnyFigures], baselines: dict[str, AnyFigures]) -> None:
        if baselines:
            reference = task.best_reference(baselines)
            table = results_table(f"{title}{lists}", rows | baselines, reference, task.headings)
            console.print(table)

    show("Test figures", results, references.test)
    of_whom = "of users and items with training ratings alone"
    show(f"Test figures {of_whom}", of_warm, references.test_warm)
    again = outcome.retrained
    if again and again.last.evaluation.test:
        label = f"{name}, round {again.last.round}"
        title = "Test figures, trained again on training and validation ratings"
        rows = {label: again.last.evaluation.test}
        show(title, rows, {name: again.baselines[name] for name in task.references})
    show("New users, never trained on", new_users, references.new_users)
    floor = references.test.get("noise_floor")
    selected = outcome.selected.evaluation if outcome.selected else None
    if isinstance(floor, Figures) and selected and isinstance(selected.test, Figures):
        bias_only = task.criterion(references.test["bias_only"])
        closed = (bias_only - selected.test.rmse) / (bias_only - floor.rmse)
        if closed > 0:
            gap = "the gap between bias-only and the noise floor"
            console.print(f"{closed:.0%} of {gap} is closed.")


def _print_seeds(console: Console, reports: list[Report]) -> None:
    """Means and standard deviations over the seeds of what each one's table starts with."""
    task = reports[0].simulation.task
    if not reports[0].references.test:
        return  # no test ratings
    table = pd.DataFrame([table_figures(report.summary, task) for report in reports])
    facts = {name: f"{table[name].mean():.4f} ({table[name].std():.4f})" for name in task.shown}
    if "best_baseline" in table:
        facts["best_baseline"] = ", ".join(table["best_baseline"].unique()).replace("_", " ")
    title = f"Test figures, mean (standard deviation) of {len(reports)} seeds"
    console.print(facts_table(title, facts))


def _print_costs(console: Console, report: Report) -> None:
    totals, seconds, traffic = report.totals, report.totals.seconds, report.totals.traffic
    lost = {what: count for what, count in dataclasses.asdict(totals.faults).items() if count}
    if lost:
        texts = (f"{count} {what.replace('_', ' ')}" for what, count in lost.items())
        console.print(f"Updates not taken, all rounds together: {', '.join(texts)}.")
    asked = max(1, totals.asked)
    console.print(
        f"{bytes_text(traffic.up)} up and {bytes_text(traffic.down)} down "
        f"({bytes_text(traffic.up / asked)} and "
        f"{bytes_text(traffic.down / asked)} per client asked and round). "
        f"Seconds: data {seconds['data']:.1f}, compile {seconds['compile']:.1f}, "
        f"train {seconds['train']:.1f}, eval {seconds['eval']:.1f}, "
        f"checkpoint {seconds['checkpoint']:.1f}. "
        f"Peak memory {bytes_text(peak_rss_bytes())}."
    )


def _with_seed(config: Config, more: int) -> Config:
    """Both seeds raised by ``more``."""
    run = dataclasses.replace(config.run, seed=config.run.seed + more)
    data = dataclasses.replace(config.data, split_seed=config.data.split_seed + more)
    return dataclasses.replace(config, run=run, data=data)


def _output_dir(config: Config) -> Path:
    """The folder of --output_dir, or a new one, which is made here."""
    if _OUTPUT_DIR.value:
        return Path(_OUTPUT_DIR.value).expanduser()
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    name = Path(config.data.dataset).stem
    return new_folder(Path("runs") / f"{name}-{config.run.algorithm}-{moment}")


def main(argv: Sequence[str]) -> None:
    del argv
    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax logs every folder, and what it raises
    with one_line_errors():
        config = config_from_flags(flags.FLAGS)
        if not _OUTPUT_DIR.value and (_RESUME.value or _NUM_PROCESSES.value != 1):
            raise InputError("--resume and --num_processes: say --output_dir, always the same")
        set_up_jax(config.run.num_devices, _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS.value)
        configs = [_with_seed(config, more) for more in range(_NUM_SEEDS.value)]
        first = jax.process_index() == 0
        output, console = _output_dir(config), Console(quiet=not first)
        places = [output / f"seed{one.run.seed}" for one in configs]
        folders: list[RunFolder] = []
        try:
            for place in places if len(configs) > 1 else [output]:
                switches = _OVERWRITE.value, _RESUME.value, first
                folders.append(RunFolder(place, *switches, output, made=not _OUTPUT_DIR.value))
            run_experiment(configs, folders, console)
        finally:
            for folder in reversed(folders):
                folder.release()
        console.print(f"Files in {output}", soft_wrap=True)


define_config_flags()
