"""Trials of a search: drawn by optuna, tried out on validation splits, kept in a file."""

import dataclasses
import json
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pfr_jax.config import Config
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import simple_baselines
from pfr_jax.programs.search_spaces import Settings, Space, around
from pfr_jax.simulation.loading import load_ratings
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.setup import Simulation, prepare_alike

FIGURE = "relative_to_best_simple_baseline"  # on validation; negative is better
SURELY = 0.1  # the chance that a trial which is no worse than the best one is given up


@dataclass(frozen=True)
class Search:
    """What trials have in common, and where they are kept.

    Attributes:
      recipe: the settings of the first trial; its ``dataset`` may be several, with commas between.
      space: what is changed in them.
      seeds: of training and split, from the recipe's on, over which a trial's figure is the mean.
      storage: optuna's file of trials; a table of them is beside it.
    """

    recipe: Config
    space: Space
    seeds: int
    storage: Path

    @property
    def datasets(self) -> list[str]:
        return self.recipe.data.dataset.split(",")

    @property
    def table(self) -> Path:
        return self.storage.with_name(f"{self.storage.stem}_trials.csv")

    def config_of(self, settings: Settings, dataset: str, seed: int) -> Config:
        """The configuration of a trial on a data set, with the seeds so much higher."""
        run, data = self.recipe.run, self.recipe.data
        seeds = {"seed": run.seed + seed, "split_seed": data.split_seed + seed}
        return self.recipe.with_settings(**settings, **seeds, dataset=dataset)

    def try_out(self, settings: Settings, dataset: str) -> list[float]:
        """The trial's figure per seed; NaN for all if training diverged."""
        runs = []
        for seed in range(self.seeds):
            config = self.config_of(settings, dataset, seed)
            # The test ratings are split off and left alone.
            ratings, split = load_ratings(config.data)
            if not len(split.validation):
                raise InputError(f"--dataset={dataset}: no ratings are held out for validation")
            runs.append((config, ratings, dataclasses.replace(split, test=split.test[:0])))
        try:
            return [relative_figure(simulation) for simulation in prepare_alike(runs)]
        except FloatingPointError:
            return [math.nan] * self.seeds

    def run(self, trials: int) -> None:
        """Trials until there are so many. Raises InputError if they cannot be kept."""
        optuna = _optuna()
        if self.table.exists() and not self.storage.exists():
            raise InputError(f"{self.table} is of another search; name another --output_dir")
        self.storage.parent.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            storage=f"sqlite:///{self.storage}",
            study_name=self.storage.stem,
            pruner=_pruner(optuna),
            load_if_exists=True,
        )
        self._same(study)
        space = around(self.recipe.flat(), self.space)
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial({name: as_choice(values[0]) for name, values in space.items()})
        while len(finished := _finished(study)) < trials:
            # A seed of its own, so that a search that goes on draws what it would have drawn, and
            # processes that search together draw different things.
            number = len(study.get_trials(deepcopy=False))
            study.sampler = optuna.samplers.TPESampler(seed=number, multivariate=True)
            self._one(study, study.ask(), space)
            write_trials(_finished(study), self.table)
        done = [trial for trial in finished if trial.value is not None]
        best = min(done, key=lambda trial: trial.value, default=None)
        if best is None:
            raise InputError("training diverged in all trials; take a recipe with lower rates")
        print(f"best: {best.value:+.4f} {json.dumps(best.user_attrs['settings'])}")

    def _one(self, study: Any, trial: Any, space: Space) -> None:
        """Tries out what a trial draws, and tells the study."""
        settings = drawn(space, trial)
        trial.set_user_attr("settings", settings)
        begun, figures, states = time.perf_counter(), {}, _optuna().trial.TrialState
        for step, dataset in enumerate(self.datasets):
            figures[Path(dataset).stem] = self.try_out(settings, dataset)
            so_far = float(np.mean([np.mean(found) for found in figures.values()]))
            state, word = states.COMPLETE, f"{so_far:+.4f}"
            if not math.isfinite(so_far):
                state, word = states.PRUNED, f"diverged on {dataset}"
                break
            trial.report(float(np.mean(figures[Path(dataset).stem])), step)
            if step + 1 < len(self.datasets) and trial.should_prune():
                state, word = states.PRUNED, f"given up after {len(figures)} data sets"
                break
        trial.set_user_attr("figures", figures)
        trial.set_user_attr("seconds", time.perf_counter() - begun)
        study.tell(trial, None if state == states.PRUNED else so_far, state)
        print(f"{trial.number}: {word} {json.dumps(settings)}", flush=True)

    def _same(self, study: Any) -> None:
        """Raises InputError if the study's trials are not comparable with those to come."""
        now = json.loads(json.dumps({"num_seeds": self.seeds, **self.recipe.flat()}))
        for name, value in now.items():
            before = study.user_attrs.get(name, value)
            if before != value:
                raise InputError(
                    f"the trials in {self.storage} are of --{name}={before}, and these of "
                    f"--{name}={value}; name another --output_dir"
                )
            study.set_user_attr(name, value)


def relative_figure(simulation: Simulation) -> float:
    """The best validation figure less that of the best simple baseline, as a share of its size.

    Raises FloatingPointError if the loss is no longer finite.
    """
    task, split = simulation.task, simulation.split
    reference = simple_baselines(simulation, split.train)(split.validation, split.train)
    baselines = {name: judged.figures for name, judged in reference.items()}
    best = task.criterion(baselines[task.best_reference(baselines)])
    try:
        evaluations = [record.evaluation for record in simulate(simulation) if record.evaluation]
    except InputError as error:
        raise FloatingPointError(str(error)) from error
    found = [task.criterion(e.validation) for e in evaluations if e.validation]
    return (float(np.nanmin(found)) - best) / abs(best)


def _finished(study: Any) -> list[Any]:
    """The trials that are through, those that were given up among them."""
    trials: list[Any] = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state.is_finished()]


def _pruner(optuna: Any) -> Any:
    """Gives up what is worse than the best trial on the same data sets, by Wilcoxon's test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.WilcoxonPruner(p_threshold=SURELY)


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
        | {
            f"{dataset}_{seed}": figure
            for dataset, found in trial.user_attrs["figures"].items()
            for seed, figure in enumerate(found)
        }
        | {"seconds": trial.user_attrs["seconds"]}
        | {"settings": json.dumps(trial.user_attrs["settings"])}
        for trial in trials
    ]
    partial = path.with_name(f"{path.name}.partial")
    pd.DataFrame(rows).to_csv(partial, index=False, float_format="%.6g")
    partial.replace(path)
