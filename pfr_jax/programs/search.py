"""Searches settings on validation splits.

    pfr search --system=personalfr

Every system is searched with the same number of trials over the same kind of space. A trial
changes one or two settings of the best one so far; its figure is the mean over the
seeds (each with a split of its own) of the best validation figure less that of bias-only on the
same split. The test split is never looked at. ``DATASET_SYSTEM_trials.csv`` has a row per trial;
an interrupted search goes on where it was, and draws what it would have drawn.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from absl import flags

from pfr_jax.config import Config
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import judge_baselines
from pfr_jax.programs.flags import SECTIONS, one_line_errors
from pfr_jax.programs.search_spaces import SYSTEMS, Settings, Space, System
from pfr_jax.simulation.loading import load_ratings
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.setup import prepare_alike

_DATASET = flags.DEFINE_string("dataset", "ml100k", "As for pfr run.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "As for pfr run.")
_SYSTEM = flags.DEFINE_enum(
    "system", "personalfr", list(SYSTEMS), "What is searched (programs/search_spaces.py)."
)
_TRIALS = flags.DEFINE_integer("trials", 40, "Trials, those of earlier calls included.", 1)
_SEEDS = flags.DEFINE_integer("num_seeds", 2, "Seeds 0, 1, ... of training and split.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 300, "Communication rounds; joint: a third, as epochs.", 1)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "experiments/results", "Where the CSV goes.")


def draw(
    space: Space,
    best: Settings | None,
    trial: int,
    rng: np.random.Generator,
) -> Settings:
    """The settings of the next trial."""
    first = {name: values[0] for name, values in space.items()}
    if best is None:
        return first
    best = first | best  # a search may go on in a larger space
    if trial % 2:  # one setting after the other
        changed = [list(space)[trial // 2 % len(space)]]
    else:
        changed = list(rng.choice(list(space), 2, replace=False))
    fresh = {}
    for name in changed:
        others = [value for value in space[name] if value != best[name]]
        fresh[name] = others[int(rng.integers(len(others)))]
    return {**best, **fresh}


def config_of(system: System, settings: Settings, seed: int) -> Config:
    """The configuration of a trial with this seed of training and split."""
    fixed = {
        "dataset": _DATASET.value,
        "data_dir": _DATA_DIR.value,
        "rounds": max(1, round(_ROUNDS.value * system.rounds_factor)),
        "eval_every": system.eval_every,
        "num_devices": 1,
        "max_buckets": 2,
        "seed": seed,
        "split_seed": seed,
        **system.fixed,
    }
    chosen: Settings = {**fixed, **settings}
    return Config(
        **{
            name: section(
                **{f.name: chosen[f.name] for f in dataclasses.fields(section) if f.name in chosen}
            )
            for name, section in SECTIONS.items()
        }
    )


def try_out(system: System, settings: Settings) -> list[float]:
    """Per seed: the best validation figure less bias-only's; NaN if training diverged."""
    runs = []
    for seed in range(_SEEDS.value):
        config = config_of(system, settings, seed)
        # The test ratings are split off and left alone.
        ratings, split = load_ratings(config.data)
        runs.append((config, ratings, dataclasses.replace(split, test=split.test[:0])))
    figures = []
    for simulation in prepare_alike(runs):
        split = simulation.split
        reference = judge_baselines(simulation, split.train, split.validation, split.train)
        try:
            evaluations = [r.evaluation for r in simulate(simulation) if r.evaluation]
        except InputError:  # the loss is no longer finite
            return [float("nan")] * _SEEDS.value
        criterion = simulation.task.criterion
        found = [criterion(e.validation) for e in evaluations if e.validation]
        bias_only = criterion(reference["bias_only"].figures)
        figures.append(float(np.nanmin(found)) - bias_only)
    return figures


def search() -> None:
    system = SYSTEMS[_SYSTEM.value]
    space = system.space
    path = Path(_OUTPUT_DIR.value) / f"{_DATASET.value}_{system.name}_trials.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    best, lowest = None, float("inf")
    for trial in range(_TRIALS.value):
        if trial < len(rows):
            row = rows[trial]
        else:
            begun = time.perf_counter()
            settings = draw(space, best, trial, np.random.default_rng([trial, len(space)]))
            figures = try_out(system, settings)
            row = {"trial": trial, "validation_less_bias_only": float(np.mean(figures))}
            row |= {f"seed_{seed}": figure for seed, figure in enumerate(figures)}
            row |= {"seconds": time.perf_counter() - begun, "settings": json.dumps(settings)}
            rows.append(row)
            pd.DataFrame(rows).to_csv(path, index=False, float_format="%.6g")
            print(f"{trial}: {row['validation_less_bias_only']:+.4f} {row['settings']}", flush=True)
        if row["validation_less_bias_only"] < lowest:
            best, lowest = json.loads(row["settings"]), row["validation_less_bias_only"]
            best["hidden_sizes"] = tuple(best["hidden_sizes"])
    print(f"best: {lowest:+.4f} {json.dumps(best)}")


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        search()
