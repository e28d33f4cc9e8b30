"""The baselines of a run: simple ones, and centralised ones with settings chosen on validation."""

import time
from collections.abc import Mapping

import numpy as np
from rich.console import Console

from pfr_jax.baselines.record import Settings
from pfr_jax.data.sources import figures_directory
from pfr_jax.evaluation.centralised import choose_settings, judge_centralised, wanted
from pfr_jax.evaluation.evaluate import judge_baselines, part_of, seen_in_test
from pfr_jax.evaluation.task import AnyFigures, Judged
from pfr_jax.simulation.setup import Simulation

Baselines = dict[str, AnyFigures]
Chosen = Mapping[str, Settings]  # name of a centralised baseline -> its settings


def choose_centralised(simulation: Simulation, console: Console) -> Chosen:
    """The settings of the centralised baselines that the run wants; says what it does."""
    split, ratings, task = simulation.split, simulation.ratings, simulation.task
    if not len(split.test) + len(split.query):
        return {}
    sizes = len(split.train), ratings.num_users, ratings.num_items
    baselines, left_out = wanted(task, simulation.config.run.baselines, *sizes)
    for sentence in left_out:
        console.print(sentence, soft_wrap=True, highlight=False)
    if not baselines:
        return {}
    console.print(f"centralised baselines: {', '.join(one.label for one in baselines)} ...")
    started = time.perf_counter()
    validation = part_of(simulation, split.validation, seen=split.train)
    folder = figures_directory()
    chosen = {
        one.name: choose_settings(task, one, split.train, validation, folder) for one in baselines
    }
    seconds = time.perf_counter() - started
    console.print(f"their settings chosen on validation in {seconds:.1f} s", highlight=False)
    return chosen


def baselines_of_test(simulation: Simulation, chosen: Chosen) -> dict[str, Judged]:
    """All of them on the test ratings, fitted on the training ratings."""
    split = simulation.split
    return _judged(simulation, chosen, split.train, split.test, seen_in_test(split))


def baselines_of_new_users(simulation: Simulation, chosen: Chosen) -> dict[str, Judged]:
    """All of them on what new users are asked for, fitted on what they bring, too."""
    split = simulation.split
    fitted = np.concatenate([split.train, split.support])
    return _judged(simulation, chosen, fitted, split.query, split.support)


def _judged(
    simulation: Simulation,
    chosen: Chosen,
    fitted: np.ndarray,
    part: np.ndarray,
    seen: np.ndarray,
) -> dict[str, Judged]:
    """Figures over a part of those fitted on these rows; {} if it is empty."""
    found = judge_baselines(simulation, fitted, part, seen)
    if not found:
        return {}
    held, task, folder = part_of(simulation, part, seen), simulation.task, figures_directory()
    for one in task.centralised:
        if one.name in chosen:
            settings = chosen[one.name]
            found[one.name] = judge_centralised(task, one, settings, fitted, held, folder)
    return found


def over_all(judged: dict[str, Judged]) -> Baselines:
    """Figures over all ratings of a part."""
    return {name: one.figures for name, one in judged.items()}


def over_warm(judged: dict[str, Judged]) -> Baselines:
    """Figures over warm ratings alone; {} where all are warm or none is."""
    return {name: one.warm for name, one in judged.items() if one.warm}
