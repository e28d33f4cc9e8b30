"""What a recommender must not be able to do, and what centralised training must: gates on leaks.

A model that is too good where nothing can be learned has seen the held-out ratings.
"""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import pfr
from federations import simulation_of, small_config

from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.table import Ratings
from pfr_jax.evaluation.evaluate import AnyFigures, simple_baselines
from pfr_jax.simulation.loop import simulate


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return generate(PRESETS["synthetic"], seed=0)


def figures(ratings: Ratings, **settings: object) -> tuple[AnyFigures, dict[str, AnyFigures]]:
    """Test figures of the round selected on validation, and of the baselines."""
    config = small_config(
        validation_fraction=0.05,
        hidden_sizes=(32, 16),
        cohort_fraction=0.2,
        denominator="sqrt",
        eval_every=5,
        clip_predictions=True,
        **{"center": "user", "weight_decay": 1e-2, "rounds": 10, **settings},
    )
    simulation = simulation_of(config, ratings)
    selected = None
    for record in simulate(simulation):
        if record.evaluation and record.evaluation.improved:
            selected = record.evaluation.test
    assert selected is not None
    split = simulation.split
    seen = np.concatenate([split.train, split.validation])
    judged = simple_baselines(simulation, split.train)(split.test, seen)
    return selected, {name: one.figures for name, one in judged.items()}


def shuffled(ratings: Ratings) -> Ratings:
    """The same users, items and stars, but who gave which stars is chance."""
    stars = np.random.default_rng(0).permutation(ratings.rating)
    return dataclasses.replace(ratings, rating=stars, expected=None)


JOINT = {
    "algorithm": "joint",
    "client_optimizer": "adam",
    "client_learning_rate": 3e-3,
    "schedule": "constant",
    "weight_decay": 5e-4,
    "clip_norm": 0.0,
    "batch_size": 100,
    "rounds": 20,
}


@jax.numpy_dtype_promotion("standard")  # optax's Adam counts steps in integers
def test_joint_training_beats_bias_only(ratings: Ratings) -> None:
    model, baselines = figures(ratings, **JOINT)
    assert model.rmse < baselines["bias_only"].rmse - 0.01
    assert model.rmse > baselines["noise_floor"].rmse


def test_a_client_alone_is_far_from_the_federations_best(ratings: Ratings) -> None:
    """Nobody's ratings but one's own: no better than one's own mean, give or take."""
    model, baselines = figures(ratings, algorithm="local")
    assert model.rmse > baselines["bias_only"].rmse + 0.05
    assert model.rmse == pytest.approx(baselines["user_mean"].rmse, abs=0.03)


@pytest.mark.parametrize("algorithm", ["personalfr", "fedavg", "local", "joint"])
def test_nothing_is_learned_from_shuffled_ratings(ratings: Ratings, algorithm: str) -> None:
    model, baselines = figures(shuffled(ratings), algorithm=algorithm)
    # What bias-only fits is noise too: the best is the mean of all.
    assert model.rmse > baselines["global_mean"].rmse - 0.002


def test_shuffled_implicit_ratings_rank_at_chance(ratings: Ratings) -> None:
    model, baselines = figures(shuffled(ratings), feedback="implicit", center="none")
    chance = baselines["random"]
    assert model.ndcg_heldout == pytest.approx(chance.ndcg_heldout, abs=0.02)
    assert model.map_heldout == pytest.approx(chance.map_heldout, abs=0.02)


@jax.numpy_dtype_promotion("standard")
def test_joint_training_ranks_better_than_popularity(ratings: Ratings) -> None:
    model, baselines = figures(ratings, feedback="implicit", center="none", **JOINT)
    assert model.ndcg_heldout > baselines["popularity"].ndcg_heldout + 0.01


@pytest.mark.slow
def test_a_federation_ranks_better_than_popularity(ml100k_dir: Path, tmp_path: Path) -> None:
    """All unrated items of MovieLens-100K, after a tenth of the preset's rounds."""
    given = "--preset=ranking", "--dataset=ml100k", f"--data_dir={ml100k_dir}"
    short = "--rounds=30", "--eval_every=30", "--max_buckets=1", "--num_devices=1"
    done = pfr(
        tmp_path, "run", *given, *short, "--baselines=simple", f"--output_dir={tmp_path}/run"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert found["test"]["ndcg_full"] > 1.25 * found["baselines"]["popularity"]["ndcg_full"]
