"""Runs from settings to reports, as ``pfr run`` and ``pfr_jax.train`` make them."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from pfr_jax.algorithms import AlgorithmSpec
from pfr_jax.client.compressors import Compressor
from pfr_jax.config import Config
from pfr_jax.data.splits import Split
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError
from pfr_jax.report.console import print_costs, print_results, print_seeds
from pfr_jax.report.held_out import held_out_sentences
from pfr_jax.runs.ahead import ahead_of_data
from pfr_jax.runs.checkpoints.identity import facts_of_ratings
from pfr_jax.runs.environment import environment
from pfr_jax.runs.folder import RunFolder
from pfr_jax.runs.trainer import Report, train_simulation
from pfr_jax.simulation.chosen import Chosen, MakeModel, choose
from pfr_jax.simulation.loading import load_ratings, split_ratings
from pfr_jax.simulation.setup import Simulation, prepare_alike

Run = tuple[Config, Ratings, Split]


def train(
    config: Config,
    output_dir: str | Path,
    *,
    ratings: Ratings | None = None,
    split: Split | None = None,
    spec: AlgorithmSpec | None = None,
    model: MakeModel | None = None,
    compressor: Compressor | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
) -> Report:
    """Trains a federation, logs and checkpoints it: what ``pfr run`` does.

    Args:
      config: all settings.
      output_dir: the run's folder: config.json, metrics.jsonl, per_user.csv, summary.json and
        checkpoints.
      ratings: a table of one's own; None: what the settings name.
      split: of these ratings; None: as the settings say.
      spec: an algorithm of one's own, as for ``prepare``.
      model: likewise.
      compressor: likewise.
      resume: go on from the last good checkpoint of the same run; begin it if there is none.
      overwrite: replace an earlier run in the folder.
      quiet: show nothing on the console.

    Returns:
      The finished run; ``summary`` of it is what summary.json holds.

    Raises:
      InputError: the settings, the ratings or the folder are not usable; what to do is said.
      Stopped: the process was asked to stop (SIGTERM, Ctrl-C); a checkpoint has been written.
    """
    started = time.perf_counter()
    if ratings is None and split is not None:
        raise InputError("train(split=...): give the ratings, too, whose rows these are")
    if ratings is None:
        ratings, split = load_ratings(config.data)
    elif split is None:
        split = split_ratings(config.data, ratings)
    folder = RunFolder(Path(output_dir).expanduser(), overwrite, resume, jax.process_index() == 0)
    try:
        chosen = choose(config, spec, model, compressor)
        runs = [(config, ratings, split)]
        seconds = time.perf_counter() - started
        return train_alike(runs, [folder], Console(quiet=quiet), chosen, seconds)[0]
    finally:
        folder.release()


def train_alike(
    runs: list[Run],
    folders: list[RunFolder],
    console: Console,
    chosen: Chosen | None = None,
    read_seconds: float = 0.0,
) -> list[Report]:
    """Trains runs that differ in seeds and splits alone, one after the other.

    ``read_seconds`` were spent on their ratings.
    """
    started, config = time.perf_counter(), runs[0][0]
    retrains = config.run.retrain and len(runs[0][2].validation) > 0
    whole: list[Run] = []
    if retrains:
        whole = [(one, ratings, split.all_to_train_on()) for one, ratings, split in runs]
    versions = environment()
    count = (1 + retrains) * len(runs)
    # Whether a finished run has rounds left is not known before its checkpoint is read.
    unfinished = not any(folder.resume and folder.finished for folder in folders)
    with ahead_of_data(console, versions, count, compiles=unfinished) as ahead:
        simulations = prepare_alike(runs + whole, np.float32, chosen, ahead.meanwhile)
        compiling = ahead.compile_seconds
        data_seconds = read_seconds + time.perf_counter() - started - (compiling or 0.0)
        before = {"data": data_seconds / len(runs)}
        reports = []
        for index, folder in enumerate(folders):
            simulation, run = simulations[index], runs[index][0].run
            if len(runs) > 1:
                split_seed = runs[index][0].data.split_seed
                console.rule(f"seed {run.seed}, split seed {split_seed}")
            for sentence in held_out_sentences(simulation):
                console.print(sentence, soft_wrap=True, highlight=False)
            # Programs are compiled with the first run, for all of them.
            compiled = {} if compiling is None else {"compile": 0.0 if index else compiling}
            report = train_simulation(
                simulation,
                simulations[len(runs) + index] if retrains else None,
                folder,
                console,
                before | compiled,
                _settings(runs[index][0], simulation, versions),
                ahead.baselines_of(simulation) if index else ahead.baselines,
            )
            print_results(console, report)
            print_costs(console, report)
            reports.append(report)
    if len(reports) > 1:
        console.rule("all seeds")
        print_seeds(console, reports)
    return reports


def _settings(config: Config, simulation: Simulation, versions: dict[str, str]) -> dict[str, Any]:
    """What config.json shows."""
    ratings = simulation.ratings
    return {
        **config.flat(),
        "ratings": facts_of_ratings(ratings, simulation.target),
        "data": {**ratings.description, "notes": ratings.notes, "removed": ratings.removed},
        "environment": versions,
    }
