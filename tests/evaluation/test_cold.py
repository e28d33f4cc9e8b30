"""Users and items without training ratings: what scores them, by hand, and how they are counted."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
from federations import ragged_ratings, simulation_of, small_config

from pfr_jax.data.examples import observed
from pfr_jax.data.splits import Split
from pfr_jax.data.standard import Standard
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.evaluation.cold import BY_MEANS, ColdCounts, by_releases, count_cold, fit_fallback
from pfr_jax.evaluation.evaluate import NOTHING, evaluate, simple_baselines
from pfr_jax.evaluation.explicit import EXPLICIT
from pfr_jax.evaluation.ranking import top_items
from pfr_jax.evaluation.scoring import Scorer, make_scorer, score_of_pairs, score_of_users
from pfr_jax.report.held_out import cold_counts, held_out_sentences
from pfr_jax.runs.progress import Reported, RunProgress, Totals
from pfr_jax.simulation.ledger import Traffic
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.setup import Simulation, prepare

# Users 0 and 1 have training ratings, and so have items 0 and 1; user 2 and item 2 have none.
#                  train       test: warm, cold user twice, cold item twice, both
USER = np.array([0, 0, 1] + [1, 2, 2, 0, 1, 2])
ITEM = np.array([0, 1, 0] + [1, 0, 1, 2, 2, 2])
STARS = np.array([5, 5, 2] + [3, 4, 1, 2, 5, 3])
TEST = np.arange(3, 9)
# The mean is 4. Item means are shrunk by 10 ratings, user means by 15.
ITEM_0, ITEM_1 = 4 + (1 - 2) / (2 + 10), 4 + 1 / (1 + 10)
USER_0, USER_1 = 4 + (1 + 1) / (2 + 15), 4 - 2 / (1 + 15)
EXPECTED = [ITEM_0, ITEM_1, USER_0, USER_1, 4.0]  # of the test ratings but for the warm one


def ratings_with_cold() -> Ratings:
    ratings = Ratings.from_columns(USER, ITEM, STARS.astype(np.float32), Scale(1, 5, 1), "cold")
    return dataclasses.replace(ratings, threshold=4.0)


def cold_simulation(parts: Split | None = None, **settings: object) -> Simulation:
    split = parts or Split(np.arange(3), np.array([], int), TEST)
    return prepare(small_config(**settings), ratings_with_cold(), split)


def scorer_of(simulation: Simulation, fallback: bool = True) -> Scorer:
    """Of the state before the first round."""
    return make_scorer(
        simulation.federation,
        initial_state(simulation),
        simulation.population,
        simulation.fallback if fallback else None,
    )


@pytest.mark.parametrize("popularity", [None, np.array([7.0, 5.0, 6.0])], ids=["none", "released"])
def test_nothing_exact_scores_under_differential_privacy(popularity: np.ndarray | None) -> None:
    """No item is cold; a cold user gets what was released."""
    simulation = cold_simulation(center="none")
    given = simulation.examples, np.ones(3, bool), simulation.standard, True, lambda x: x, 3
    found = by_releases(BY_MEANS, popularity).fit(*given)
    assert found is not None
    assert found.cold_user.tolist() == [False, False, True]
    assert not found.cold_item.any() and not found.user_score.any()
    expected = np.zeros(3) if popularity is None else popularity
    np.testing.assert_array_equal(found.item_score, expected)


def test_cold_users_get_the_released_centre() -> None:
    private = {"upload": "dp", "denominator": "expected", "cohort_fraction": 1.0, "center": "bias"}
    simulation = cold_simulation(**private, noise_multiplier=1.0, standardize=True)
    assert simulation.fallback is not None
    stars = score_of_pairs(scorer_of(simulation), np.full(3, 2), np.arange(3))
    np.testing.assert_array_equal(stars, np.zeros(3))


@pytest.mark.parametrize("center", ["none", "global", "user"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"algorithm": "fedavg", "num_clients": 2, "partial_compression": False},
        {"algorithm": "local"},
        {"algorithm": "joint"},
    ],
    ids=str,
)
def test_stars_of_cold_pairs_by_hand(settings: dict, center: str) -> None:
    simulation = cold_simulation(center=center, **settings)
    stars = score_of_pairs(scorer_of(simulation), USER[TEST], ITEM[TEST])
    stars = simulation.standard.targets(np.asarray(stars, float), USER[TEST], ITEM[TEST])
    np.testing.assert_allclose(stars[1:], EXPECTED, rtol=1e-6)
    raw = score_of_pairs(scorer_of(simulation, fallback=False), USER[TEST], ITEM[TEST])
    raw = simulation.standard.targets(np.asarray(raw, float), USER[TEST], ITEM[TEST])
    # The warm pair has the model's; without a fallback the others but the last would have, too.
    assert np.isclose(stars, raw)[:5].tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("center", ["bias", "adaptive"])
def test_stars_of_cold_pairs_are_the_centre_where_it_has_effects(center: str) -> None:
    simulation = cold_simulation(center=center)
    stars = np.asarray(score_of_pairs(scorer_of(simulation), USER[TEST], ITEM[TEST]))
    assert stars[0] and not stars[1:].any()  # the first pair is warm


def test_logits_of_cold_pairs_by_hand() -> None:
    """Two of three training ratings are positive: shares are shrunk towards 2/3."""
    simulation = cold_simulation(feedback="implicit")
    logits = score_of_pairs(scorer_of(simulation), USER[TEST], ITEM[TEST])
    shares = [
        2 / 3 + (1 / 3 - 2 / 3) / 12,
        2 / 3 + 1 / 3 / 11,
        2 / 3 + (1 / 3 + 1 / 3) / 17,
        2 / 3 - 2 / 3 / 16,
        2 / 3,
    ]
    expected = [math.log(share / (1 - share)) for share in shares]
    np.testing.assert_allclose(logits[1:], expected, rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["personalfr", "local"])
@pytest.mark.parametrize("feedback", ["explicit", "implicit"])
def test_the_full_ranking_has_the_scores_of_the_pairs(feedback: str, algorithm: str) -> None:
    simulation = cold_simulation(feedback=feedback, algorithm=algorithm)
    scorer = scorer_of(simulation)
    user, item = np.divmod(np.arange(9), 3)
    pairs = np.asarray(score_of_pairs(scorer, user, item)).reshape(3, 3)
    rows = jax.jit(score_of_users)(scorer, np.arange(3))
    np.testing.assert_allclose(rows, pairs, rtol=1e-5)
    # A cold user's list is that of the items' means: item 1 (5 stars), item 2 (none), item 0.
    nobody = np.array([], int), np.array([], int)
    assert top_items(scorer, np.array([2]), *nobody, k=3).tolist() == [[1, 2, 0]]


def test_new_users_are_warm_by_what_they_bring() -> None:
    """User 1 is new, and its rating is no training rating of item 0; user 2 brings nothing."""
    ratings = ratings_with_cold()
    split = Split(
        train=np.array([0, 1]),
        validation=np.array([], int),
        test=np.array([], int),
        support=np.array([2]),
        query=np.array([3, 4]),
    )
    target, standard = ratings.rating.astype(float), Standard(np.zeros(3), np.zeros(3), 1.0)
    held = np.concatenate([split.train, split.support])
    examples, trained = observed(ratings, held, target), np.array([True, True, False])
    common = EXPLICIT.adds_center, EXPLICIT.link, ratings.num_items
    fallback = fit_fallback(examples, trained, standard, *common)
    assert fallback is not None
    assert fallback.cold_user.tolist() == [False, False, True]
    assert fallback.cold_item.tolist() == [False, False, True]
    np.testing.assert_allclose(fallback.item_score, [5, 5, 5])  # 2 stars are not trained on
    assert fallback.user_score[1] == pytest.approx(5 + (2 - 5) / (1 + 15))


def test_nothing_cold_leaves_the_scorer_as_it_was() -> None:
    """No fallback is an empty branch of the pytree: the compiled programs are the same, too."""
    simulation = simulation_of(small_config(test_fraction=0.02), ragged_ratings())
    assert simulation.fallback is None
    scorer = scorer_of(simulation)
    assert len(jax.tree.leaves(scorer)) == 3  # hidden features, output kernel and bias
    found = evaluate(simulation, initial_state(simulation), best=0.0, last=True)
    assert found.test is not None and found.test_warm is None
    assert held_out_sentences(simulation) == []


def test_figures_of_warm_ratings_alone() -> None:
    """Among the test ratings one is warm."""
    simulation = cold_simulation()
    found = evaluate(simulation, initial_state(simulation), best=0.0, last=True)
    raw = float(score_of_pairs(scorer_of(simulation), USER[3:4], ITEM[3:4])[0])
    assert found.test is not None and found.test_warm is not None
    assert found.test_warm.rmse == pytest.approx(abs(raw - 3), rel=1e-6)
    errors = np.array([raw, *EXPECTED]) - STARS[TEST]
    assert found.test.rmse == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-6)
    split = simulation.split
    judged = simple_baselines(simulation, split.train)(split.test, split.train)["item_mean"]
    assert judged.num_warm == 1 and judged.warm is not None
    assert judged.warm.rmse == pytest.approx(5 - 3)  # the mean of item 1, not shrunk


def test_without_a_warm_validation_rating_no_round_is_selected() -> None:
    split = Split(train=np.arange(3), validation=TEST[1:3], test=TEST[:1])
    simulation = cold_simulation(split)
    found = evaluate(simulation, initial_state(simulation), best=math.inf, last=False)
    assert found.validation is not None and not found.improved
    assert any("no round can be selected" in line for line in held_out_sentences(simulation))
    split = dataclasses.replace(split, validation=TEST[:2], test=TEST[2:])
    simulation = cold_simulation(split)
    assert evaluate(simulation, initial_state(simulation), math.inf, last=False).improved


def test_counts_and_sentences() -> None:
    simulation = cold_simulation()
    counts = cold_counts(simulation)
    assert counts == {
        "validation": ColdCounts(0, 0, 0, 0, 0, 0),
        "test": ColdCounts(
            users=1,
            items=1,
            ratings=5,
            ratings_of_cold_users=3,
            ratings_of_cold_items=3,
            ratings_of_both=1,
        ),
    }
    assert count_cold(None, USER, ITEM) == counts["validation"]
    assert held_out_sentences(simulation) == [
        "Test: 3 of 6 ratings (50 %) are of 1 user without training ratings; these are scored by "
        "the item's mean or effect.",
        "Test: 3 of 6 ratings (50 %) are of 1 item without training ratings; these are scored by "
        "the user's mean or effect.",
        "Test: 1 of 6 ratings (16.7 %) are of such a user and such an item alike; these are "
        "scored by the mean of all training ratings instead.",
    ]


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        ({"validation_fraction": 0.05}, ["--validation_fraction=0.05 leaves no rating"]),
        ({"validation_fraction": 0.0}, []),
        ({"test_file": "t.csv"}, []),  # a validation file was not asked for
        ({"validation_file": "v.csv"}, ["--validation_file=v.csv leaves no rating"]),
    ],
    ids=str,
)
def test_a_part_that_was_asked_for_and_is_empty(settings: dict, warnings: list[str]) -> None:
    simulation = cold_simulation(**settings)
    found = [line for line in held_out_sentences(simulation) if line.startswith("Warning")]
    assert len(found) == len(warnings)
    for line, start in zip(found, warnings, strict=True):
        assert start in line and "the last one is reported" in line


def test_no_test_rating_is_a_warning_too() -> None:
    empty = np.array([], int)
    simulation = cold_simulation(Split(np.arange(3), empty, empty), test_fraction=0.1)
    assert "there will be no test figures" in held_out_sentences(simulation)[0]


@pytest.mark.parametrize("feedback", ["explicit", "implicit"])
def test_warm_figures_survive_a_checkpoint(feedback: str) -> None:
    """Those of ranking without a mixed user are NaN there, and stay so."""
    split = Split(train=np.arange(3), validation=TEST[[0, 1, 5]], test=TEST[2:5])
    simulation = cold_simulation(split, feedback=feedback)
    found = evaluate(simulation, initial_state(simulation), best=math.inf, last=True)
    assert found.validation_warm is not None and found.test_warm is None
    found = dataclasses.replace(found, test_warm=found.validation_warm)
    progress, restored = (
        RunProgress(simulation, Totals(Traffic(), {}, np.zeros(3, int))) for _ in range(2)
    )
    progress.selected, progress.last = Reported(1, found), Reported(2, NOTHING)
    plain, arrays = progress.content()
    restored.take_over(json.loads(json.dumps(plain)), arrays)
    assert restored.selected and restored.last
    for name in ("validation", "validation_warm", "test_warm"):
        one, other = (getattr(p.selected.evaluation, name) for p in (progress, restored))
        np.testing.assert_equal(dataclasses.asdict(one), dataclasses.asdict(other))
    assert restored.last.evaluation.test_warm is None


def test_one_rating_per_user_is_no_worse_than_the_mean_of_all() -> None:
    """Nobody with a held-out rating has another one: a model's word would be chance."""
    rng = np.random.default_rng(0)
    item = np.arange(200) % 5
    stars = np.clip(1 + item + rng.integers(0, 2, 200), 1, 5).astype(np.float32)
    ratings = Ratings.from_columns(np.arange(200), item, stars, Scale(1, 5, 1), "one each")
    config = small_config(algorithm="fedavg", center="user", validation_fraction=0.05)
    simulation = simulation_of(config, ratings)
    found = evaluate(simulation, initial_state(simulation), best=math.inf, last=True)
    split = simulation.split
    baselines = simple_baselines(simulation, split.train)(split.test, split.train)
    assert found.test is not None and found.test_warm is None and not found.improved
    assert found.test.rmse < baselines["global_mean"].figures.rmse - 0.2
    assert any(
        line.startswith("Test: 20 of 20 ratings (100 %) are of 20 users without training ratings")
        for line in held_out_sentences(simulation)
    )


def ranking_with_cold() -> Simulation:
    """Item 1 has low ratings alone, item 2 none in training, and user 2 chose nothing there."""
    # user, item, stars; the last four are held out
    table = np.array(
        [(0, 0, 5), (0, 1, 1), (0, 3, 5), (1, 3, 4), (1, 1, 2), (2, 0, 1)]
        + [(0, 2, 5), (1, 1, 5), (2, 2, 5), (2, 3, 4)]
    )
    user, item, stars = table.T
    ratings = Ratings.from_columns(user, item, stars.astype(np.float32), Scale(1, 5, 1), "ranked")
    split = Split(np.arange(6), np.array([], int), np.arange(6, 10))
    config = small_config(feedback="ranking", implicit_threshold=4.0, negatives=2)
    return prepare(config, ratings, split)


def test_an_item_that_nobody_chose_is_listed_last() -> None:
    """Whatever its row says: here it would come first."""
    simulation = ranking_with_cold()
    assert 2 in simulation.examples.item[simulation.examples.user == 0]  # as a negative
    scorer = scorer_of(simulation)
    loud = {**scorer.output, "item_bias": np.array([0.0, 9.0, 9.0, 1.0], np.float32)}
    scorer = dataclasses.replace(scorer, output=loud)
    nobody = np.array([], int), np.array([], int)
    lists = top_items(scorer, np.arange(2), *nobody, k=4)
    assert set(lists[0, :2]) == {0, 3} and lists[:, 2:].tolist() == [[1, 2], [1, 2]]


def test_who_chose_nothing_gets_the_list_of_popularity() -> None:
    """A low rating is no choice. Items 3 and 0 were chosen twice and once."""
    simulation = ranking_with_cold()
    nobody = np.array([], int), np.array([], int)
    lists = top_items(scorer_of(simulation), np.array([2]), *nobody, k=4)
    assert lists.tolist() == [[3, 0, 1, 2]]
    split = simulation.split
    popularity = simple_baselines(simulation, split.train)(split.test, split.train)["popularity"]
    found = evaluate(simulation, initial_state(simulation), best=0.0, last=True)
    assert found.test_by_user is not None
    assert found.test_by_user["ndcg_full"][2] == popularity.by_user["ndcg_full"][2]
    assert held_out_sentences(simulation)[:3] == [
        "Test: 2 of 4 ratings (50 %) are of 1 user without training choices; the list of these is "
        "that of popularity.",
        "Test: 3 of 4 ratings (75 %) are of 2 items without training choices; these are listed "
        "last.",
        "Test: 1 of 4 ratings (25 %) are of such a user and such an item alike; these are listed "
        "last by popularity, too.",
    ]
