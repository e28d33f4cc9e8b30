"""How much of the model counts: by hand, found on validation, kept for the rounds trained again."""

import dataclasses

import numpy as np
import pytest
from federations import ragged_ratings, simulation_of, small_config

from pfr_jax.data.splits import Split
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import evaluate, judge
from pfr_jax.evaluation.scoring import make_scorer
from pfr_jax.evaluation.shrinkage import CANDIDATES, best_shrinkage, shrunken
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.setup import prepare

RATINGS = ragged_ratings()


def test_by_hand() -> None:
    found = shrunken(np.array([2.0, -4.0, 5.0]), np.array([1, 3, 0]), 3.0)
    np.testing.assert_allclose(found, [2 / 4, -4 / 2, 0])
    outputs = np.array([1.0, 2.0])
    np.testing.assert_array_equal(shrunken(outputs, np.array([0, 7]), 0.0), outputs)


def test_the_best_on_validation_is_used_for_the_test() -> None:
    config = small_config(center="adaptive", validation_fraction=0.2, model_shrinkage=None)
    simulation = simulation_of(config, RATINGS)
    record = list(simulate(simulation))[-1]
    split, scorer = (
        simulation.split,
        make_scorer(
            simulation.federation, record.state, simulation.population, simulation.fallback
        ),
    )
    rmse = [
        judge(simulation, scorer, split.validation, split.train, k).figures.rmse for k in CANDIDATES
    ]
    found = evaluate(simulation, record.state, np.inf, last=True)
    assert found.shrinkage in (CANDIDATES[int(np.argmin(rmse))], CANDIDATES[-1])
    assert found.validation is not None
    assert found.validation.rmse == rmse[CANDIDATES.index(found.shrinkage)]
    seen = np.concatenate([split.train, split.validation])
    test = judge(simulation, scorer, split.test, seen, found.shrinkage)
    assert found.test == test.figures


@pytest.mark.parametrize(("ratings", "expected"), [(400, 3.0), (4, CANDIDATES[-1])])
def test_a_model_counts_where_it_is_surely_better_than_the_centre(
    ratings: int, expected: float
) -> None:
    """Better by 0.5 with deviations of 1: 10 standard errors of 400 ratings, one of four."""
    deviation = np.tile([-1.0, 1.0], ratings // 2)

    def squared_errors(k: float) -> np.ndarray:
        if k == CANDIDATES[-1]:
            return np.full(ratings, 2.0)
        return 1.5 + deviation + (k != 3.0)

    assert best_shrinkage(squared_errors) == expected


def test_with_the_last_candidate_the_centre_is_left() -> None:
    config = small_config(center="adaptive", model_shrinkage=1e9)
    simulation = simulation_of(config, RATINGS)
    record = list(simulate(simulation))[-1]
    assert record.evaluation is not None and record.evaluation.test is not None
    rows = simulation.split.test
    user, item = RATINGS.user[rows], RATINGS.item[rows]
    error = simulation.standard.center(user, item) - RATINGS.rating[rows]
    assert record.evaluation.test.rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)


def test_what_scores_cold_pairs_is_not_shrunk() -> None:
    """An item whose ratings are all held out: its pairs are scored by means, whatever k is."""
    rows = np.arange(len(RATINGS))
    cold = RATINGS.item == 0
    split = Split(rows[~cold], rows[:0], rows[cold])
    config = small_config(center="global", rounds=1)
    simulation = prepare(config, RATINGS, split)
    state = list(simulate(simulation))[-1].state
    parts = simulation.federation, state, simulation.population, simulation.fallback
    scorer = make_scorer(*parts)
    whole, shrunk = (judge(simulation, scorer, split.test, split.train, k) for k in (0.0, 1e6))
    assert whole.figures == shrunk.figures


def test_without_any_warm_rating_nothing_is_chosen() -> None:
    assert best_shrinkage(lambda k: np.empty(0)) == 0
    assert best_shrinkage(lambda k: np.array([k])) == CANDIDATES[-1]


def test_without_a_validation_split_nothing_is_shrunk() -> None:
    config = small_config(center="adaptive", model_shrinkage=None)
    found = list(simulate(simulation_of(config, RATINGS)))[-1].evaluation
    fixed = dataclasses.replace(config, run=dataclasses.replace(config.run, model_shrinkage=0.0))
    same = list(simulate(simulation_of(fixed, RATINGS)))[-1].evaluation
    assert found is not None and same is not None and found.test == same.test


def test_only_stars_have_a_centre() -> None:
    with pytest.raises(InputError, match="--model_shrinkage: --feedback=implicit"):
        simulation_of(small_config(feedback="implicit", model_shrinkage=3.0), RATINGS)
    with pytest.raises(InputError, match="--model_shrinkage=-1"):
        small_config(model_shrinkage=-1.0)
