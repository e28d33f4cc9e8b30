"""The baselines of a run: simple ones, and centralised ones with settings chosen on validation."""

import time
from collections.abc import Mapping

import numpy as np
from rich.console import Console

from pfr_jax.baselines.record import Settings
from pfr_jax.data.sources import figures_directory
from pfr_jax.evaluation.centralised import choose_settings, judge_centralised, wanted
from pfr_jax.evaluation.evaluate import JudgeRows, part_of, seen_in_test, simple_baselines
from pfr_jax.evaluation.task import AnyFigures, Judged
from pfr_jax.simulation.setup import Simulation

Baselines = dict[str, AnyFigures]
Chosen = Mapping[str, Settings]  # name of a centralised baseline -> its settings


def most_bytes(simulation: Simulation) -> float:
    """What the largest of the centralised baselines that the run wants works with."""
    ratings, task = simulation.ratings, simulation.task
    if not len(simulation.split.test) + len(simulation.split.query):
        return 0.0
    split, sizes = simulation.split, (ratings.num_users, ratings.num_items)
    baselines, _ = wanted(task, simulation.config.run.baselines, len(split.train), *sizes)
    # Trained again there are validation ratings, too, and those that new users bring.
    at_most = len(split.train) + max(len(split.validation), len(split.support))
    return max((one.bytes_needed(at_most, *sizes) for one in baselines), default=0.0)


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


def baselines_of_test(
    simulation: Simulation, chosen: Chosen, simple: JudgeRows
) -> dict[str, Judged]:
    """All of them on the test ratings, fitted on the training ratings like the ``simple`` ones."""
    split, seen = simulation.split, seen_in_test(simulation.split)
    found = simple(split.test, seen)
    return found | _centralised(simulation, chosen, split.train, split.test, seen)


def baselines_of_new_users(simulation: Simulation, chosen: Chosen) -> dict[str, Judged]:
    """All of them on what new users are asked for, fitted on what they bring, too."""
    split = simulation.split
    fitted = np.concatenate([split.train, split.support])
    found = simple_baselines(simulation, fitted)(split.query, split.support)
    return found | _centralised(simulation, chosen, fitted, split.query, split.support)


def _centralised(
    simulation: Simulation,
    chosen: Chosen,
    fitted: np.ndarray,
    part: np.ndarray,
    seen: np.ndarray,
) -> dict[str, Judged]:
    """Figures over a part of those fitted on these rows; {} if it is empty."""
    if not len(part):
        return {}
    held, task, folder = part_of(simulation, part, seen), simulation.task, figures_directory()
    return {
        one.name: judge_centralised(task, one, chosen[one.name], fitted, held, folder)
        for one in task.centralised
        if one.name in chosen
    }


def over_all(judged: dict[str, Judged]) -> Baselines:
    """Figures over all ratings of a part."""
    return {name: one.figures for name, one in judged.items()}


def over_warm(judged: dict[str, Judged]) -> Baselines:
    """Figures over warm ratings alone; {} where all are warm or none is."""
    return {name: one.warm for name, one in judged.items() if one.warm}
