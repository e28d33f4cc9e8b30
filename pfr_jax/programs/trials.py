"""Trials of a search: drawn by optuna, tried out on validation splits, kept in a file."""

import dataclasses
import json
import math
import time
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pfr_jax.config import Config
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import judge_baselines
from pfr_jax.programs.search_spaces import Settings, Space, System
from pfr_jax.simulation.loading import load_ratings
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.setup import prepare_alike

FIGURE = "validation_less_bias_only"


@dataclass(frozen=True)
class Search:
    """What trials have in common, and where they are kept.

    Attributes:
      dataset: see --dataset.
      data_dir: see --data_dir.
      seeds: of training and split, from 0 on, over which a trial's figure is the mean.
      rounds: of a federation.
      folder: for the trials.
    """

    dataset: str
    data_dir: str
    seeds: int
    rounds: int
    folder: Path

    def config_of(self, system: System, settings: Settings, seed: int) -> Config:
        """The configuration of a trial with this seed of training and split."""
        fixed = {
            "dataset": self.dataset,
            "data_dir": self.data_dir,
            "rounds": max(1, round(self.rounds * system.rounds_factor)),
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
                    **{
                        f.name: chosen[f.name]
                        for f in dataclasses.fields(section)
                        if f.name in chosen
                    }
                )
                for name, section in typing.get_type_hints(Config).items()
            }
        )

    def try_out(self, system: System, settings: Settings) -> list[float]:
        """Per seed: the best validation figure less bias-only's; NaN if training diverged."""
        runs = []
        for seed in range(self.seeds):
            config = self.config_of(system, settings, seed)
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
                return [float("nan")] * self.seeds
            criterion = simulation.task.criterion
            found = [criterion(e.validation) for e in evaluations if e.validation]
            bias_only = criterion(reference["bias_only"].figures)
            figures.append(float(np.nanmin(found)) - bias_only)
        return figures

    def run(self, system: System, trials: int) -> None:
        """Trials until there are so many. Raises InputError if they cannot be kept."""
        optuna, folder = _optuna(), self.folder
        name = f"{Path(self.dataset).stem}_{system.name}"
        storage, table = folder / f"{name}.sqlite3", folder / f"{name}_trials.csv"
        if table.exists() and not storage.exists():
            raise InputError(f"{table} is of another search; name another --output_dir")
        folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            storage=f"sqlite:///{storage}", study_name=name, load_if_exists=True
        )
        done = optuna.trial.TrialState.COMPLETE
        self._same(study)
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(
                {name: as_choice(values[0]) for name, values in system.space.items()}
            )
        while len(study.get_trials(deepcopy=False, states=(done,))) < trials:
            # A seed of its own, so that a search that goes on draws what it would have drawn, and
            # processes that search together draw different things.
            number = len(study.get_trials(deepcopy=False))
            study.sampler = optuna.samplers.TPESampler(seed=number, multivariate=True)
            trial = study.ask()
            settings = drawn(system.space, trial)
            begun = time.perf_counter()
            figures = self.try_out(system, settings)
            mean = float(np.mean(figures))
            trial.set_user_attr("seeds", figures)
            trial.set_user_attr("seconds", time.perf_counter() - begun)
            trial.set_user_attr("settings", settings)
            study.tell(trial, mean if math.isfinite(mean) else math.inf)
            write_trials(study.get_trials(deepcopy=False, states=(done,)), table)
            print(f"{trial.number}: {mean:+.4f} {json.dumps(settings)}", flush=True)
        best = study.best_trial
        print(f"best: {best.value:+.4f} {json.dumps(best.user_attrs['settings'])}")

    def _same(self, study: Any) -> None:
        """Raises InputError if the study's trials are not comparable with those to come."""
        now = {"seeds": self.seeds, "rounds": self.rounds}
        for name, value in now.items():
            before = study.user_attrs.get(name, value)
            if before != value:
                raise InputError(
                    f"the trials in --output_dir={self.folder} are of {before} {name}, these of "
                    f"{value}; name another --output_dir"
                )
            study.set_user_attr(name, value)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("pfr search needs optuna: pip install 'pfr_jax[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def as_choice(value: Any) -> Any:
    """A setting's value as optuna keeps it: a number, a text or a truth value."""
    return json.dumps(value) if isinstance(value, tuple) else value


def drawn(space: Space, trial: Any) -> Settings:
    """The settings of an optuna trial."""
    settings = {}
    for name, values in space.items():
        choice = trial.suggest_categorical(name, [as_choice(value) for value in values])
        settings[name] = next(value for value in values if as_choice(value) == choice)
    return settings


def write_trials(trials: Sequence[Any], path: Path) -> None:
    """A row per trial; the file is there whole or as it was."""
    rows = [
        {"trial": trial.number, FIGURE: trial.value}
        | {f"seed_{seed}": figure for seed, figure in enumerate(trial.user_attrs["seeds"])}
        | {"seconds": trial.user_attrs["seconds"]}
        | {"settings": json.dumps(trial.user_attrs["settings"])}
        for trial in trials
    ]
    partial = path.with_name(f"{path.name}.partial")
    pd.DataFrame(rows).to_csv(partial, index=False, float_format="%.6g")
    partial.replace(path)
