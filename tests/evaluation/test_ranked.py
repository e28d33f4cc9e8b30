"""The ranking task: sanity of what is trained on and of what is told."""

from typing import Any

import numpy as np
import pytest
from federations import ragged_ratings, simulation_of, small_config, small_simulation

from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import judge, simple_baselines
from pfr_jax.evaluation.scoring import same_for_all
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.setup import Simulation

RANKING = {"feedback": "ranking", "implicit_threshold": 3.5}


def test_clients_hold_positives_and_negatives() -> None:
    simulation = small_simulation(**RANKING, negatives=2)
    examples, train = simulation.examples, simulation.split.train
    assert examples.target.sum() == simulation.target[train].sum()
    rows = [len(np.unique(examples.item[examples.user == u])) for u in range(13)]
    np.testing.assert_array_equal(simulation.population.rows, rows)
    for bucket in simulation.population.buckets:  # what is trained on are the labels
        values = np.asarray(bucket.values)[np.asarray(bucket.observed)]
        assert set(values.tolist()) == {0.0, 1.0}


def test_an_encoder_is_told_of_choices_alone() -> None:
    """A drawn negative is no input: it trains the decoder's row, and says nothing of the user."""
    for center in ("none", "global", "user"):
        simulation = small_simulation(**RANKING, center=center, input_offset=0.5)
        training = simulation.federation.side.training
        for bucket in simulation.population.buckets:
            inputs = np.asarray(training.inputs(bucket.values, bucket.observed))
            positive = np.asarray(bucket.observed) & (np.asarray(bucket.values) > 0)
            np.testing.assert_array_equal(inputs > 0, positive)
            np.testing.assert_allclose(inputs[positive], np.asarray(bucket.values)[positive] + 0.5)
            assert not inputs[~positive].any()


@pytest.mark.parametrize(
    "changes",
    [
        {"negatives": 3},
        {"ranking_loss": "bpr"},
        {"negative_sampling": "popularity"},
        {"negatives_drawn": "each_round"},
    ],
    ids=str,
)
def test_what_only_ranking_takes_is_refused_elsewhere(changes: dict[str, Any]) -> None:
    name, value = next(iter(changes.items()))
    for feedback in ("explicit", "implicit"):
        with pytest.raises(InputError, match=f"--{name}={value}: only with --feedback=ranking"):
            small_config(feedback=feedback, **changes)


def test_more_negatives_are_more_rows_and_bytes() -> None:
    traffic = [
        list(simulate(small_simulation(**RANKING, negatives=n, rounds=1)))[0].traffic
        for n in (1, 3)
    ]
    assert traffic[1].up > traffic[0].up and traffic[1].down > traffic[0].down


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algorithm": "joint"},
        {"algorithm": "fedavg", "num_clients": 4},
        {"model": "mf", "members": 2, "negative_sampling": "popularity"},
        {"holdout_users": 0.25, "output_bias": "item", "center": "user"},
    ],
    ids=str,
)
def test_it_goes_with_everything_else(changes: dict[str, Any]) -> None:
    record = list(simulate(small_simulation(**RANKING, **changes)))[-1]
    assert np.isfinite(record.loss)
    assert record.evaluation is not None and record.evaluation.test is not None
    assert 0 <= record.evaluation.test.ndcg_full <= 1


def test_ratings_that_are_all_alike_are_choices() -> None:
    """Plays or clicks: whatever is in the file was chosen."""
    plain = ragged_ratings()
    labels = plain.user_ids[plain.user], plain.item_ids[plain.item]
    plays = Ratings.from_columns(*labels, np.ones(len(plain)), Scale(1, 1), "plays")
    simulation = simulation_of(small_config(feedback="ranking"), plays)
    assert simulation.target.all()
    record = list(simulate(simulation))[-1]
    assert record.evaluation is not None and record.evaluation.test is not None


@pytest.fixture(scope="module")
def trained() -> tuple[Simulation, Any]:
    ratings = generate(PRESETS["synthetic"], seed=0).take_users(300, 0)
    config = small_config(
        **RANKING, hidden_sizes=(32, 16), rounds=40, weight_decay=2e-3, dropout=0.2, center="none",
        denominator="contributors", server_learning_rate=1.4, server_momentum=0.8, momentum=0.0,
        private_rate_factor=0.5, input_offset=2.0, cohort_fraction=0.3, local_epochs=5,
    )  # fmt: skip
    simulation = simulation_of(config, ratings)
    return simulation, list(simulate(simulation))[-1]


@pytest.mark.slow
def test_chance_popularity_and_the_model(trained) -> None:
    """Shuffled scores are at chance; popularity is above, and so is what was learned.

    (The planted ratings are given by popularity, whatever the taste, so nothing can beat it here.)
    """
    simulation, record = trained
    split = simulation.split
    judged = simple_baselines(simulation, split.train)(split.test, split.train)
    popularity = judged["popularity"].figures.ndcg_full
    shuffled = np.random.default_rng(0).permutation(simulation.ratings.num_items).astype(float)
    scorer = same_for_all(shuffled, simulation.ratings.num_users)
    found = judge(simulation, scorer, split.test, split.train).figures.ndcg_full
    assert found < 0.3 * popularity
    assert record.evaluation.test.ndcg_full > 0.7 * popularity


@pytest.mark.slow
def test_alone_a_client_cannot_rank(trained) -> None:
    """If drawing negatives leaked what is held out, training alone would find it."""
    simulation, record = trained
    config = small_config(
        **RANKING, hidden_sizes=(32, 16), rounds=10, algorithm="local", center="none",
        cohort_fraction=1.0, local_epochs=5, max_buckets=1,
    )  # fmt: skip
    alone = list(simulate(simulation_of(config, simulation.ratings)))[-1]
    assert alone.evaluation.test.ndcg_full < 0.5 * record.evaluation.test.ndcg_full


def test_nothing_chosen_is_one_clear_line() -> None:
    with pytest.raises(InputError, match="--implicit_threshold=6: no rating"):
        small_simulation(feedback="ranking", implicit_threshold=6.0)
    with pytest.raises(InputError, match="--negatives=0"):
        small_config(feedback="ranking", negatives=0)
