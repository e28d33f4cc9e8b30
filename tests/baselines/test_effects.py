"""Baselines against hand-derived values, a slow twin, and known figures."""

import numpy as np
import pytest

from pfr_jax.baselines.effects import fit_baselines
from pfr_jax.data.sources import load
from pfr_jax.data.splits import Split, random_split
from pfr_jax.data.table import Ratings, Scale

STARS = Scale(1.0, 5.0, 1.0)


def slow_bias_only(ratings: Ratings, train: np.ndarray) -> tuple[list[float], list[float]]:
    """User and item effects by loops over lists: 10 sweeps, items (10) before users (15)."""
    rows = [(ratings.user[n], ratings.item[n], float(ratings.rating[n])) for n in train]
    mean = sum(stars for _, _, stars in rows) / len(rows)
    of_user, of_item = [0.0] * ratings.num_users, [0.0] * ratings.num_items
    for _ in range(10):
        for i in range(ratings.num_items):
            rest = [stars - mean - of_user[u] for u, item, stars in rows if item == i]
            of_item[i] = sum(rest) / (10 + len(rest))
        for u in range(ratings.num_users):
            rest = [stars - mean - of_item[i] for user, i, stars in rows if user == u]
            of_user[u] = sum(rest) / (15 + len(rest))
    return of_user, of_item


def rmse_of(predictor, ratings: Ratings, split: Split) -> float:
    user, item = ratings.user[split.test], ratings.item[split.test]
    return float(np.sqrt(np.mean((predictor(user, item) - ratings.rating[split.test]) ** 2)))


def test_means_by_hand():
    """User 3 and item 3 have one rating, which is held out: they fall back to the global mean."""
    ratings = Ratings.from_columns(
        np.array([1, 1, 2, 3]), np.array([1, 2, 1, 3]), np.array([5.0, 3.0, 1.0, 2.0]), STARS, "x"
    )
    split = Split(np.array([0, 1, 2]), np.array([], int), np.array([3]))
    baselines = fit_baselines(ratings, split.train)
    user, item = np.array([0, 1, 2]), np.array([1, 0, 2])
    assert baselines["global_mean"](user, item) == pytest.approx([3, 3, 3])
    assert baselines["user_mean"](user, item) == pytest.approx([4, 1, 3])
    assert baselines["item_mean"](user, item) == pytest.approx([3, 3, 3])
    assert baselines["item_mean"](user, np.array([0, 1, 2])) == pytest.approx([3, 3, 3])
    assert baselines["bias_only"](np.array([2]), np.array([2])) == pytest.approx([3])


def test_bias_only_agrees_with_loops():
    random = np.random.default_rng(0)
    user, item = np.divmod(random.choice(12 * 9, 60, replace=False), 9)
    ratings = Ratings.from_columns(user, item, random.integers(1, 6, 60), STARS, "random")
    split = random_split(60, 0.1, 0.2, seed=0)
    predictor = fit_baselines(ratings, split.train)["bias_only"]
    of_user, of_item = slow_bias_only(ratings, split.train)
    np.testing.assert_allclose(predictor.user, of_user, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(predictor.item, of_item, rtol=1e-12, atol=1e-15)


def test_held_out_ratings_do_not_matter():
    ratings = load("synthetic")
    split = random_split(len(ratings), 0.05, 0.1, seed=0)
    before = fit_baselines(ratings, split.train)["bias_only"]
    ratings.rating[np.concatenate([split.validation, split.test])] = 1.0
    after = fit_baselines(ratings, split.train)["bias_only"]
    np.testing.assert_array_equal(before.user, after.user)
    np.testing.assert_array_equal(before.item, after.item)


def test_synthetic_leaves_taste_to_learn_between_bias_only_and_the_floor():
    ratings = load("synthetic")
    split = random_split(len(ratings), 0.05, 0.1, seed=0)
    baselines = fit_baselines(ratings, split.train)
    rmse = {name: rmse_of(predictor, ratings, split) for name, predictor in baselines.items()}
    floor = np.sqrt(np.mean((ratings.rating - ratings.expected)[split.test] ** 2))
    assert 0.85 < floor < 0.88 < 0.925 < rmse["bias_only"] < 0.955
    assert rmse["bias_only"] < rmse["item_mean"] < rmse["user_mean"] < rmse["global_mean"]


def test_bias_only_on_movielens_100k(ml100k_dir):
    """Known from an independent program: over 40 random 90/10 splits, mean 0.940 and sd 0.007."""
    ratings = load("ml100k", ml100k_dir)
    assert (ratings.num_users, ratings.num_items, len(ratings)) == (943, 1682, 100_000)
    rmse = []
    for seed in range(10):
        split = random_split(len(ratings), 0.0, 0.1, seed)
        rmse.append(rmse_of(fit_baselines(ratings, split.train)["bias_only"], ratings, split))
    assert np.mean(rmse) == pytest.approx(0.940, abs=3 * 0.007 / 10**0.5)
