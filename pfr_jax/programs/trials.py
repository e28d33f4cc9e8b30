"""Trials of a search: drawn by optuna, tried out on validation splits, kept in a file."""

import dataclasses
import json
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd

from pfr_jax.config import MAY_CHANGE, Config
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import simple_baselines
from pfr_jax.programs.search_spaces import Settings, Space, around
from pfr_jax.simulation.loading import load_ratings
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.setup import Simulation, prepare_alike

FIGURE = "relative_to_best_simple_baseline"  # on validation; negative is better
GIVING_UP = 0.1  # the level of the test by which a trial is given up


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
    def datasets(self) -> dict[str, str]:
        """By the names of their columns. Raises InputError if two have one."""
        given = [dataset.strip() for dataset in self.recipe.data.dataset.split(",")]
        found = {Path(dataset).stem: dataset for dataset in given}
        if len(found) < len(given):
            raise InputError(f"--dataset={self.recipe.data.dataset}: two are called the same")
        return found

    @property
    def table(self) -> Path:
        return self.storage.with_name(f"{self.storage.stem}_trials.csv")

    def config_of(self, settings: Settings, dataset: str, seed: int) -> Config:
        """The configuration of a trial on a data set, with the seeds so much higher."""
        run, data = self.recipe.run, self.recipe.data
        seeds = {"seed": run.seed + seed, "split_seed": data.split_seed + seed}
        return self.recipe.with_settings(**settings, **seeds, dataset=dataset)

    def try_out(self, settings: Settings, dataset: str) -> list[float]:
        """The trial's figure per seed. Raises InputError if training diverges."""
        runs = []
        for seed in range(self.seeds):
            config = self.config_of(settings, dataset, seed)
            # The test ratings are split off and left alone.
            ratings, split = load_ratings(config.data)
            if not len(split.validation):
                raise InputError(f"--dataset={dataset}: no ratings are held out for validation")
            runs.append((config, ratings, dataclasses.replace(split, test=split.test[:0])))
        return [relative_figure(simulation) for simulation in prepare_alike(runs)]

    def run(self, trials: int) -> None:
        """Trials until there are so many. Raises InputError if they cannot be kept or all fail."""
        optuna, space = _optuna(), around(self.recipe, self.space)
        if self.table.exists() and not self.storage.exists():
            raise InputError(f"{self.table} is of another search; name another --output_dir")
        for dataset in self.datasets.values():  # before a trial has been spent on the first ones
            load_ratings(self.config_of({}, dataset, 0).data)
        self.storage.parent.mkdir(parents=True, exist_ok=True)
        alone = filelock.FileLock(self.storage.with_suffix(".lock"))  # among searches together
        with alone:
            study = optuna.create_study(
                storage=f"sqlite:///{self.storage}",
                study_name=self.storage.stem,
                pruner=_pruner(optuna),
                load_if_exists=True,
            )
            self._same(study, space)
            if not study.get_trials(deepcopy=False):
                study.enqueue_trial({name: as_choice(values[0]) for name, values in space.items()})
        while True:
            with alone:
                if len(finished := _finished(study)) >= trials:
                    break
                # A seed of its own: a search that goes on draws what it would have drawn, and
                # processes that search together draw different things.
                number = len(study.get_trials(deepcopy=False))
                study.sampler = optuna.samplers.TPESampler(seed=number, multivariate=True)
                trial = study.ask()
                settings = drawn(space, trial)
            self._one(study, trial, settings)
            with alone:
                write_trials(_finished(study), self.table)
        whole = [trial for trial in finished if _is_whole(trial)]
        if not whole:
            raise InputError(f"no trial came to an end; {finished[-1].user_attrs['ended']}")
        best = min(whole, key=lambda trial: trial.value)
        print(f"best: {best.value:+.4f} {json.dumps(best.user_attrs['settings'])}")

    def _one(self, study: Any, trial: Any, settings: Settings) -> None:
        """Tries settings out, and tells the study; if interrupted, that they are to be tried."""
        begun, states = time.perf_counter(), _optuna().trial.TrialState
        figures: dict[str, list[float]] = {}
        ended = ""
        try:
            for step, (name, dataset) in enumerate(self.datasets.items()):
                figures[name] = self.try_out(settings, dataset)
                trial.report(float(np.mean(figures[name])), step)
                if step + 1 < len(self.datasets) and trial.should_prune():
                    ended = f"given up after {len(figures)} data sets"
                    break
        except InputError as error:
            ended = f"{dataset}: {error}"
        except BaseException:
            study.tell(trial, state=states.FAIL)
            study.enqueue_trial(trial.params)
            raise
        figure = float(np.mean([np.mean(found) for found in figures.values()])) if figures else 0.0
        attributes = {"settings": settings, "figures": figures, "ended": ended}
        for name, value in {**attributes, "seconds": time.perf_counter() - begun}.items():
            trial.set_user_attr(name, value)
        if ended:
            study.tell(trial, state=states.PRUNED)
        else:
            study.tell(trial, figure)
        print(f"{trial.number}: {ended or f'{figure:+.4f}'} {json.dumps(settings)}", flush=True)

    def _same(self, study: Any, space: Space) -> None:
        """Raises InputError if the study's trials are not comparable with those to come."""
        settings = self.recipe.flat().items()
        counted = {name: value for name, value in settings if name not in MAY_CHANGE}
        now = json.loads(json.dumps({"num_seeds": self.seeds, "space": space, **counted}))
        before = study.user_attrs.get("recipe", now) if _finished(study) else now
        for name, value in now.items():
            if before[name] != value:
                raise InputError(
                    f"the trials in {self.storage} are of --{name}={before[name]}, and these of "
                    f"--{name}={value}; name another --output_dir"
                )
        study.set_user_attr("recipe", now)


def relative_figure(simulation: Simulation) -> float:
    """The best validation figure less that of the best simple baseline, as a share of its size.

    Raises InputError if training diverges, or the baseline has no figure to compare with.
    """
    task, split = simulation.task, simulation.split
    reference = simple_baselines(simulation, split.train)(split.validation, split.train)
    baselines = {name: judged.figures for name, judged in reference.items()}
    best = task.criterion(baselines[task.best_reference(baselines)])
    if not best or not np.isfinite(best):
        raise InputError("the simple baselines have no figure on the validation ratings")
    evaluations = [record.evaluation for record in simulate(simulation) if record.evaluation]
    found = [task.criterion(e.validation) for e in evaluations if e.validation]
    return (float(np.nanmin(found)) - best) / abs(best)


def _finished(study: Any) -> list[Any]:
    """The trials that are through, those that ended early among them."""
    trials: list[Any] = study.get_trials(deepcopy=False)
    return [trial for trial in trials if "ended" in trial.user_attrs and trial.state.is_finished()]


def _is_whole(trial: Any) -> bool:
    """Whether it was tried on all data sets; optuna gives others their last data set's figure."""
    return not trial.user_attrs["ended"]


def _pruner(optuna: Any) -> Any:
    """Gives up what is worse than the best trial on the same data sets, by Wilcoxon's signed-rank
    test at the level GIVING_UP: of four that are worse it says so, of three not yet.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.WilcoxonPruner(p_threshold=GIVING_UP)


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
        {"trial": trial.number, FIGURE: trial.value if _is_whole(trial) else None}
        | {
            f"{dataset}_{seed}": figure
            for dataset, found in trial.user_attrs["figures"].items()
            for seed, figure in enumerate(found)
        }
        | {name: trial.user_attrs[name] for name in ("ended", "seconds")}
        | {"settings": json.dumps(trial.user_attrs["settings"])}
        for trial in trials
    ]
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    pd.DataFrame(rows).to_csv(partial, index=False, float_format="%.6g")
    partial.replace(path)
