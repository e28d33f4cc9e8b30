"""The ratings table: numbering of labels, samples of users, statistics."""

import dataclasses

import numpy as np
import pytest

from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError

STARS = Scale(1.0, 5.0, 1.0)


def small() -> Ratings:
    return Ratings.from_columns(
        np.array([30, 10, 30, 20, 10]),
        np.array(["d", "b", "b", "a", "d"]),
        np.array([5.0, 3.0, 4.0, 1.0, 2.0]),
        STARS,
        "small",
        expected=np.arange(5, dtype=np.float32),
    )


def random_ratings(seed: int) -> Ratings:
    random = np.random.default_rng(seed)
    pair = random.choice(40 * 30, 300, replace=False)
    user, item = np.divmod(pair, 30)
    stars = random.integers(1, 6, 300)
    return Ratings.from_columns(7 * user, item - 11, stars, STARS, "random")


def triples(ratings: Ratings) -> set:
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    return set(zip(users.tolist(), items.tolist(), ratings.rating.tolist(), strict=True))


def test_labels_are_numbered_in_ascending_order_without_gaps():
    ratings = small()
    assert ratings.user.tolist() == [2, 0, 2, 1, 0]
    assert ratings.item.tolist() == [2, 1, 1, 0, 2]
    assert ratings.user_ids.tolist() == [10, 20, 30]
    assert ratings.item_ids.tolist() == ["a", "b", "d"]
    assert (ratings.num_users, ratings.num_items, len(ratings)) == (3, 3, 5)
    dtypes = ratings.user.dtype, ratings.item.dtype, ratings.rating.dtype
    assert dtypes == (np.int32, np.int32, np.float32)


def test_numbering_agrees_with_numpy_unique():
    labels = np.random.default_rng(0).integers(-50, 50, 1000)
    ratings = Ratings.from_columns(labels, labels.astype(str), np.ones(1000), STARS, "many")
    ids, codes = np.unique(labels, return_inverse=True)
    np.testing.assert_array_equal(ratings.user_ids, ids)
    np.testing.assert_array_equal(ratings.user, codes)
    ids, codes = np.unique(labels.astype(str), return_inverse=True)
    np.testing.assert_array_equal(ratings.item_ids, ids)
    np.testing.assert_array_equal(ratings.item, codes)


@pytest.mark.parametrize("n", [1, 7, 40])
def test_a_sample_keeps_all_ratings_of_its_users_and_no_others(n):
    ratings = random_ratings(3)
    n = min(n, ratings.num_users)
    sample = ratings.take_users(n, seed=5)
    chosen = set(sample.user_ids.tolist())
    assert len(chosen) == sample.num_users == n
    assert triples(sample) == {triple for triple in triples(ratings) if triple[0] in chosen}
    assert set(sample.item.tolist()) == set(range(sample.num_items))


def test_a_smaller_sample_is_part_of_a_larger_one_and_seeds_differ():
    ratings = random_ratings(4)
    assert triples(ratings.take_users(5, 0)) < triples(ratings.take_users(9, 0))
    assert triples(ratings.take_users(9, 0)) != triples(ratings.take_users(9, 1))


def test_a_sample_keeps_the_planted_means_beside_their_ratings():
    sample = small().take_users(2, seed=0)
    kept = np.isin(np.array([30, 10, 30, 20, 10]), sample.user_ids)
    np.testing.assert_array_equal(sample.expected, np.arange(5)[kept])


def test_a_sample_keeps_the_profiles_of_its_users():
    whole = dataclasses.replace(small(), profile=np.eye(3, dtype=np.float32))
    sample = whole.take_users(2, seed=0)
    kept = np.isin(whole.user_ids, sample.user_ids)
    np.testing.assert_array_equal(sample.profile, np.eye(3)[kept])


@pytest.mark.parametrize("n", [0, -1, 4])
def test_a_sample_of_an_impossible_size_names_the_size_there_is(n):
    with pytest.raises(InputError, match=rf"--num_users={n}: .* of the 3 users of small"):
        small().take_users(n, seed=0)


def test_statistics_by_hand():
    ratings = Ratings.from_columns(
        np.array([1, 1, 1, 2]), np.array([1, 2, 3, 1]), np.array([1.0, 2, 3, 4]), STARS, "tiny"
    )
    statistics = ratings.statistics()
    assert statistics == pytest.approx(
        {
            "users": 2,
            "items": 3,
            "ratings": 4,
            "density": 4 / 6,
            "per_user_min": 1,
            "per_user_median": 2,
            "per_user_mean": 2,
            "per_user_max": 3,
            "per_item_min": 1,
            "per_item_median": 1,
            "per_item_mean": 4 / 3,
            "per_item_max": 2,
            "rating_mean": 2.5,
            "rating_std": 1.25**0.5,
        }
    )


def test_a_scale_allows_its_levels_only():
    ratings = np.array([0.0, 0.5, 0.75, 3.5, 5.0, 5.5, np.nan], np.float32)
    half_stars = Scale(0.5, 5.0, 0.5)
    assert half_stars.contains(ratings).tolist() == [False, True, False, True, True, False, False]
    assert Scale(0.5, 5.0).contains(ratings).tolist() == [False, *[True] * 4, False, False]
    assert half_stars.levels().tolist() == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]


def test_a_scale_with_a_decimal_step_allows_every_level_in_float32():
    tenths = Scale(0.1, 1.0, 0.1)
    assert tenths.contains(tenths.levels().astype(np.float32)).all()


@pytest.mark.parametrize("scale", [(5.0, 1.0, None), (1.0, 5.0, 0.0), (float("nan"), 5.0, 1.0)])
def test_no_scale_at_all(scale):
    with pytest.raises(InputError, match="--scale"):
        Scale(*scale)
