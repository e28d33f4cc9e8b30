"""The synthetic generator: exact sizes, shapes of the tails, and what was planted."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pfr_jax.data.long_tail import _draw_few, _draw_many, draw_pairs, long_tail
from pfr_jax.data.synthetic import (
    HALF_STARS,
    PRESETS,
    expected_rating,
    generate,
    plant,
    planted_score,
)
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError


@pytest.fixture(scope="module", params=["synthetic", "synthetic-ml1m"])
def ratings(request) -> Ratings:
    return generate(PRESETS[request.param], seed=3)


def test_sizes_are_exact_and_nobody_rates_twice(ratings):
    spec = PRESETS[ratings.name]
    statistics = ratings.statistics()
    assert statistics["ratings"] == spec.num_ratings
    assert statistics["users"] == spec.num_users == len(np.unique(ratings.user))
    assert statistics["items"] == spec.num_items == len(np.unique(ratings.item))
    pair = ratings.user.astype(np.int64) * spec.num_items + ratings.item
    assert (np.diff(pair) > 0).all()
    assert spec.scale.contains(ratings.rating).all()
    assert set(ratings.rating.tolist()) == set(spec.scale.levels().tolist())


def test_tails_are_long(ratings):
    spec, statistics = PRESETS[ratings.name], ratings.statistics()
    assert spec.min_per_user <= statistics["per_user_min"] <= spec.min_per_user + 2
    assert 0.94 * spec.max_per_user < statistics["per_user_max"] <= spec.max_per_user
    assert statistics["per_user_median"] < 0.7 * statistics["per_user_mean"]
    assert statistics["per_item_median"] < 0.5 * statistics["per_item_mean"]
    assert statistics["per_item_max"] > 0.45 * statistics["users"]


@pytest.mark.parametrize("name", PRESETS)
def test_activity_of_every_preset(name):
    """ML-10M too, whose ratings take too long to draw here: median 69, longest 7,359."""
    spec = PRESETS[name]
    activity = long_tail(
        spec.num_users,
        spec.num_ratings,
        spec.min_per_user,
        spec.max_per_user,
        spec.activity_sd,
        np.random.default_rng(0),
    )
    assert activity.sum() == spec.num_ratings
    assert activity.min() >= spec.min_per_user and activity.max() <= spec.max_per_user
    if name == "synthetic-ml10m":
        assert 65 <= np.median(activity) <= 73
        assert 6_900 < activity.max()


def test_a_tail_that_cannot_have_its_sum_is_refused():
    with pytest.raises(InputError, match="cannot sum to 1000"):
        long_tail(10, 1000, 1, 100, 0.1, np.random.default_rng(0))


def test_pairs_follow_popularity_for_idle_and_busy_users():
    """Users of one rating draw by weight; a user of all items but one misses mostly the rarest."""
    weight = np.array([1.0, 2.0, 4.0, 8.0, 1.0, 2.0, 4.0, 10.0, 16.0, 16.0])
    num_idle, num_busy = 40_000, 4_000
    activity = np.repeat([1, 9], [num_idle, num_busy])
    user, item = draw_pairs(activity, weight, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(user), activity)
    idle = np.bincount(item[user < num_idle], minlength=10) / num_idle
    np.testing.assert_allclose(idle, weight / weight.sum(), atol=4 * (0.25 / num_idle) ** 0.5)
    missed = num_busy - np.bincount(item[user >= num_idle], minlength=10)
    assert missed.sum() == num_busy
    assert missed[weight <= 1].sum() > missed[weight >= 8].sum() * 3


@pytest.mark.parametrize("seed", range(20))
def test_every_item_is_reached_with_no_rating_to_spare(seed):
    """Four users of three items each must share out twelve items, one rating for each."""
    activity, weight = np.full(4, 3), 2.0 ** np.arange(12)
    user, item = draw_pairs(activity, weight, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.bincount(user), activity)
    assert sorted(item.tolist()) == list(range(12))


def test_users_draw_without_replacement_by_either_method():
    """Rejection and Gumbel keys share one law: chances that two users of two items of three
    own {0, 1}, {0, 2}, {1, 2} are, by hand, sums over both orders of w_i w_j / (1 - w_i)."""
    weight = np.array([0.5, 0.3, 0.2])
    chances = [
        weight[i] * weight[j] * (1 / (1 - weight[i]) + 1 / (1 - weight[j]))
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    users = 20_000
    random = np.random.default_rng(1)
    few = np.sort(_draw_few(np.full(users, 2), weight, random)) % 3
    many = np.concatenate([np.sort(_draw_many(0, 2, weight, random)) for _ in range(users)])
    for draws in (few, many):
        sets = draws.reshape(users, 2).sum(1) - 1  # {0,1} -> 0, {0,2} -> 1, {1,2} -> 2
        observed = np.bincount(sets, minlength=3) / users
        np.testing.assert_allclose(observed, chances, atol=4 * (0.25 / users) ** 0.5)


@pytest.mark.parametrize("score", [-3.0, 0.6, 2.75, 3.1, 4.99, 9.0])
def test_expected_rating_sums_levels_by_their_chances(score):
    """The oracle weighs each level with the normal probability between its two borders."""
    sd, levels = 0.8, HALF_STARS.levels().tolist()
    borders = [-math.inf, *[level + 0.25 for level in levels[:-1]], math.inf]
    below = [0.5 * (1 + math.erf((border - score) / (sd * 2**0.5))) for border in borders]
    oracle = sum(level * (below[k + 1] - below[k]) for k, level in enumerate(levels))
    assert expected_rating(np.array([score]), sd, HALF_STARS)[0] == pytest.approx(oracle, abs=1e-12)


def test_ratings_scatter_around_their_expected_values(ratings):
    """The error has mean 0 in every tenth of `expected`: within 4.5 standard errors."""
    error = ratings.rating.astype(np.float64) - ratings.expected
    for tenth in np.array_split(np.argsort(ratings.expected), 10):
        assert abs(error[tenth].mean()) < 4.5 * error[tenth].std() / len(tenth) ** 0.5


def test_expected_values_come_from_the_planted_truth(ratings):
    spec = PRESETS[ratings.name]
    planted = plant(spec, seed=3)
    taste = np.einsum(
        "kn,kn->n", planted.user_taste[:, ratings.user], planted.item_taste[:, ratings.item]
    )
    score = (
        spec.mean + planted.user_effect[ratings.user] + planted.item_effect[ratings.item] + taste
    )
    np.testing.assert_allclose(score, planted_score(spec, planted, ratings.user, ratings.item))
    np.testing.assert_allclose(
        ratings.expected, expected_rating(score, spec.noise_sd, spec.scale), rtol=1e-6
    )
    assert taste.std() == pytest.approx(spec.taste_sd, rel=0.15)
    strength = planted.user_taste.std(axis=1)
    np.testing.assert_allclose(strength[1:] / strength[:-1], spec.taste_decay, rtol=0.1)


def test_another_taste_leaves_who_rated_what():
    spec = PRESETS["synthetic"]
    plain, other = generate(spec), generate(replace(spec, taste_rank=2, taste_sd=0.8))
    np.testing.assert_array_equal(plain.item, other.item)
    assert not np.array_equal(plain.rating, other.rating)


@pytest.mark.parametrize(
    "change",
    [
        {"num_ratings": 1_000},
        {"num_ratings": 10_000_000},
        {"max_per_user": 20},
        {"max_per_user": 2_000},
    ],
)
def test_impossible_sizes_are_refused(change):
    with pytest.raises(InputError, match="want"):
        replace(PRESETS["synthetic"], **change)
