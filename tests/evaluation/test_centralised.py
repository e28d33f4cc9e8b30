"""Centralised baselines beside a run's results: chosen on validation, computed once, in order."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federations import ragged_ratings, simulation_of, small_config, small_simulation
from rich.console import Console

from pfr_jax.baselines.record import Baseline, Known, Stars
from pfr_jax.data.sources import load
from pfr_jax.data.splits import Split, random_split
from pfr_jax.data.table import Ratings
from pfr_jax.evaluation.centralised import choose_settings, judge_centralised, wanted
from pfr_jax.evaluation.evaluate import judge, part_of, simple_baselines
from pfr_jax.evaluation.explicit import EXPLICIT
from pfr_jax.evaluation.implicit import IMPLICIT, held_out_of, seen_pairs
from pfr_jax.evaluation.plain_lists import lists_and_scores
from pfr_jax.evaluation.ranked import RANKING
from pfr_jax.evaluation.scoring import same_for_all
from pfr_jax.evaluation.task import HeldOutPart, Task
from pfr_jax.runs.baselines import baselines_of_test, choose_centralised
from pfr_jax.simulation.setup import Simulation

QUIET = Console(quiet=True)


class Constant:
    """Predicts so many stars; counts how often it was fitted."""

    def __init__(self) -> None:
        self.fits: list[float] = []

    def __call__(self, known: Known, stars: float) -> Stars:
        self.fits.append(stars)
        return lambda user, item: np.full(len(user), stars)

    def baseline(self, *stars: float, **changes: Any) -> Baseline:
        settings = tuple({"stars": value} for value in stars)
        return Baseline("constant", "constant", 1, settings, self, **changes)


def part(simulation: Simulation, rows: np.ndarray) -> HeldOutPart:
    return part_of(simulation, rows, simulation.split.train)


def test_settings_are_chosen_on_validation_and_once(tmp_path: Path) -> None:
    simulation = small_simulation(validation_fraction=0.2)
    split, constant = simulation.split, Constant()
    baseline = constant.baseline(-9.0, 3.0, 9.0)
    validation = part(simulation, split.validation)
    for _ in range(2):
        chosen = choose_settings(EXPLICIT, baseline, split.train, validation, tmp_path)
        assert chosen == {"stars": 3.0}
    assert constant.fits == [-9.0, 3.0, 9.0]
    nothing = part(simulation, split.validation[:0])
    assert choose_settings(EXPLICIT, baseline, split.train, nothing, tmp_path) == {"stars": -9.0}
    assert constant.fits == [-9.0, 3.0, 9.0]


def test_figures_are_computed_once_for_every_split(tmp_path: Path) -> None:
    simulation = small_simulation()
    split, constant = simulation.split, Constant()

    def judged(fitted: np.ndarray, held: HeldOutPart, **changes: Any) -> float:
        baseline = dataclasses.replace(constant.baseline(3.0), **changes)
        found = judge_centralised(EXPLICIT, baseline, {"stars": 3.0}, fitted, held, tmp_path)
        assert found.num_warm == held.warm.sum()
        return found.figures.rmse

    test = part(simulation, split.test)
    first = judged(split.train, test)
    stars = simulation.ratings.rating[split.test]
    assert first == pytest.approx(np.sqrt(np.mean((stars - 3.0) ** 2)))
    assert judged(split.train, test) == first and len(constant.fits) == 1
    judged(split.train[1:], test)  # fitted on others
    judged(split.train, part(simulation, split.test[1:]))  # others to predict
    judged(split.train, test, version=2)  # another program
    other = dataclasses.replace(simulation.ratings, rating=simulation.ratings.rating[::-1])
    judged(split.train, dataclasses.replace(test, ratings=other))  # other ratings
    judged(split.train, dataclasses.replace(test, clip=True))
    assert len(constant.fits) == 6
    assert judged(split.train, test) == first and len(constant.fits) == 6


def test_a_second_run_of_a_split_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PFR_CACHE_DIR", str(tmp_path))
    constant = Constant()
    task = dataclasses.replace(EXPLICIT, centralised=(constant.baseline(3.0, 4.0),))
    found = []
    for seed in (0, 0, 1):
        simulation = small_simulation(validation_fraction=0.2, split_seed=seed)
        simulation = dataclasses.replace(simulation, task=task)
        chosen = choose_centralised(simulation, QUIET)
        simple = simple_baselines(simulation, simulation.split.train)
        found.append(baselines_of_test(simulation, chosen, simple)["constant"].figures.rmse)
        assert len(constant.fits) == (6 if seed else 3)
    assert found[0] == found[1] != found[2]


def test_what_is_wanted_by_size() -> None:
    def names(which: Any, num_ratings: int, num_users: int = 9, num_items: int = 9) -> list[str]:
        found, _ = wanted(RANKING, which, num_ratings, num_users, num_items)
        return [one.name for one in found]

    assert names("auto", 1_000_000) == names("all", 9_000_000) == ["item_knn", "ease", "ials"]
    assert names("simple", 9) == names("auto", 1_000_001) == []
    assert names("all", 9, 70_000, 20_000) == ["item_knn", "ials"]
    _, sentences = wanted(RANKING, "auto", 1_000_001, 9, 9)
    assert len(sentences) == 1 and "--baselines=all" in sentences[0]
    _, sentences = wanted(RANKING, "all", 9, 70_000, 20_000)
    assert sentences == ["EASE is left out: its dense matrix fits for up to 12,000 users or items."]


def test_lists_are_those_of_a_scorer() -> None:
    """The same scores by both paths, with ties, seen items and users with nothing to find."""
    ratings = ragged_ratings()
    simulation = simulation_of(small_config(feedback="implicit", test_fraction=0.4), ratings)
    split = simulation.split
    score = np.random.default_rng(0).integers(0, 4, ratings.num_items).astype(float)
    held = part(simulation, split.test)
    expected = judge(
        simulation, same_for_all(score, ratings.num_users), split.test, seen=split.train
    )
    judged = IMPLICIT.judge_baseline(held, lambda users: np.tile(score, (len(users), 1)))
    assert judged.figures == expected.figures
    for figure, values in expected.by_user.items():
        np.testing.assert_array_equal(judged.by_user[figure], values)


def test_scores_of_pairs_are_those_of_their_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfr_jax.evaluation.plain_lists.USERS_PER_BLOCK", 4)
    simulation = small_simulation(feedback="implicit", test_fraction=0.4)
    held, sizes = part(simulation, simulation.split.test), (13, 23)
    table = np.random.default_rng(0).standard_normal(sizes)
    lists, scores = lists_and_scores(
        lambda users: table[users], held_out_of(held), seen_pairs(held), 30, sizes
    )
    np.testing.assert_array_equal(scores, table[held.user, held.item])
    seen = set(zip(*(axis.tolist() for axis in seen_pairs(held)), strict=True))
    for user, items in zip(lists.users, lists.items, strict=True):
        best = [i for i in np.argsort(-table[user]) if (user, i) not in seen]
        assert items.tolist() == best + [-1] * (30 - len(best))


def figures(task: Task, ratings: Ratings, split: Split, folder: Path) -> dict[str, Any]:
    """Test figures of simple and centralised baselines, chosen on validation."""
    config = small_config(feedback=task.name, implicit_threshold=None if task is EXPLICIT else 3.5)
    simulation = simulation_of(config, ratings)
    simulation = dataclasses.replace(simulation, split=split)
    held = part_of(simulation, split.test, np.concatenate([split.train, split.validation]))
    validation = part(simulation, split.validation)
    simple = task.baselines(ratings, simulation.target, split.train)(held)
    found = {name: judged.figures for name, judged in simple.items()}
    for one in task.centralised:
        settings = choose_settings(task, one, split.train, validation, folder)
        judged = judge_centralised(task, one, settings, split.train, held, folder)
        found[one.name] = judged.figures
    return found


@pytest.mark.slow
def test_the_order_on_movielens_100k(ml100k_dir: Path, tmp_path: Path) -> None:
    ratings = load("ml100k", ml100k_dir)
    split = random_split(len(ratings), 0.05, 0.1, seed=0)
    stars = {name: f.rmse for name, f in figures(EXPLICIT, ratings, split, tmp_path).items()}
    assert stars["bayesian_mf"] < stars["item_knn"] < stars["bias_only"] < stars["item_mean"]
    assert stars["bayesian_mf"] < stars["bias_only"] - 0.025
    ranked = {name: f.ndcg_full for name, f in figures(RANKING, ratings, split, tmp_path).items()}
    assert ranked["item_mean"] < ranked["popularity"] < ranked["item_knn"] < ranked["ease"]
    assert ranked["popularity"] == pytest.approx(0.123, abs=0.01)  # from an independent program
    assert ranked["item_knn"] == pytest.approx(0.250, abs=0.03)
    assert ranked["ials"] > ranked["item_knn"]
