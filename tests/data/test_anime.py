"""The Anime data set: -1, the filters and their order, by hand."""

import numpy as np
import pytest

from pfr_jax.data import ReadOptions, Scale, anime, load
from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.writers import write_ratings
from pfr_jax.errors import InputError


@pytest.fixture
def write(tmp_path):
    """Writes anime/rating.csv and returns the data directory."""

    def write(rows, header="user_id,anime_id,rating"):
        path = tmp_path / "anime" / "rating.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            "".join(f"{line}\n" for line in [header, *(f"{r[0]},{r[1]},{r[2]}" for r in rows)])
        )
        return tmp_path

    return write


@pytest.fixture
def small(monkeypatch):
    """Two ratings instead of 20, three users instead of 6,000; the cache takes it as another."""
    monkeypatch.setattr(anime, "MIN_RATINGS", 2)
    monkeypatch.setattr(anime, "NUM_USERS", 3)
    monkeypatch.setattr(anime, "FILTERS", {"of": "these tests"})


def rows(ratings):
    users, items = ratings.user_ids[ratings.user], ratings.item_ids[ratings.item]
    return list(zip(users.tolist(), items.tolist(), ratings.rating.tolist(), strict=True))


def test_filters_by_hand(write, small):
    """Users 3, 5, 20, 100 and items 1, 2, 7 count two ratings or more.

    User 4 rated one item, and watched two more. Item 6 was rated once, and watched once. User 7
    rated two items, but both only once rated (8, 9): nothing of his is left, so he is none of
    the first three. User 20 rated three, of which one (6) goes: counted once, he stays. Of the
    four users left, in numerical order 3, 5, 20, 100, the last goes.
    """
    data_dir = write(
        [
            (100, 1, 10),
            (100, 2, 9),
            (20, 6, 5),
            (20, 2, 1),
            (3, 1, 8),
            (3, 7, 7),
            (3, 6, -1),
            (4, 1, 6),
            (4, 2, -1),
            (4, 7, -1),
            (7, 8, 4),
            (7, 9, 3),
            (5, 7, 2),
            (5, 2, 10),
            (5, 1, -1),
        ]
    )
    ratings = load("anime", data_dir)
    kept = [(20, 2, 1.0), (3, 1, 8.0), (3, 7, 7.0), (5, 7, 2.0), (5, 2, 10.0)]
    assert rows(ratings) == kept
    assert ratings.user_ids.tolist() == [3, 5, 20]
    assert ratings.item_ids.tolist() == [1, 2, 7]
    assert (ratings.scale, ratings.threshold) == (Scale(1.0, 10.0, 1.0), 8.0)
    assert ratings.notes == (
        "4 rows were marked -1, not rated, and dropped.",
        "anime: 11 ratings; 7 by users and of items with at least 2 ratings (counted once, "
        "together); 5 by the first 3 such users are used.",
    )
    assert ratings.removed == {"not_rated": 4, "of_rare_users_or_items": 4, "of_further_users": 2}
    assert rows(load("anime", data_dir)) == kept  # from the cache


def test_items_are_counted_before_users_go(write, small):
    """Item 9 has two ratings, one of a user who goes: counted on the same table, it stays."""
    data_dir = write([(1, 9, 5), (1, 8, 6), (2, 8, 7), (2, 9, -1), (3, 9, 4)])
    assert rows(load("anime", data_dir)) == [(1, 9, 5.0), (1, 8, 6.0)]


@pytest.mark.parametrize("which", ["first", "last", "mean"])
def test_the_mark_is_no_rating_that_could_be_one_of_two(write, small, which):
    data_dir = write([(1, 8, -1), (1, 8, 9), (1, 9, 5), (2, 8, 7), (2, 9, 3), (2, 9, -1)])
    kept = [(1, 8, 9.0), (1, 9, 5.0), (2, 8, 7.0), (2, 9, 3.0)]
    assert rows(load("anime", data_dir)) == kept
    assert rows(load("anime", data_dir, ReadOptions(duplicates=which))) == kept


def test_the_real_limits_are_20_and_6000():
    assert (anime.MIN_RATINGS, anime.NUM_USERS) == (20, 6_000)
    assert anime.FILTERS == {"version": 1, "min_ratings": 20, "num_users": 6_000}


def test_nothing_left_is_refused(write):
    with pytest.raises(InputError, match="no rating remains of users and items with 20"):
        load("anime", write([(1, 1, 5), (2, 1, -1)]))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ((1, 3, 0), "the rating 0 is not on the scale 1 to 10 in steps of 1, nor -1 .not rated."),
        ((1, 3, -2), "the rating -2 is not on the scale"),
        ((1, 3, 11), "the rating 11 is not on the scale"),
        ((1, 3, 7.5), "the rating 7.5 is not on the scale"),
        ((1, 1, 5), "user 1 rated item 1 at .*rating.csv:2 already"),
        ((1, "3,4", 5), "4 field"),
        ((1, 10_000_001, 5), "the item '10000001' is not a plain integer from 0 to 10,000,000"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write, row, problem):
    with pytest.raises(InputError, match=f"rating.csv:4: .*{problem}"):
        load("anime", write([(1, 1, 5), (1, 2, -1), row]))


def test_another_header_is_refused(write):
    with pytest.raises(InputError, match="rating.csv:1: the header should name .*'user_id'"):
        load("anime", write([(1, 1, 5)], "user,anime_id,rating"))


@pytest.mark.parametrize("download", [True, False])
def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(tmp_path, download):
    with pytest.raises(InputError) as error:
        load("anime", tmp_path, download=download)
    assert "kaggle.com/datasets/CooperUnion/anime-recommendations-database" in str(error.value)
    assert f"put its rating.csv at {tmp_path / 'anime' / 'rating.csv'}" in str(error.value)


def test_generated_ratings_run_by_name(tmp_path):
    """The generated -1 are dropped, and the items with fewer than 20 ratings."""
    ratings = generate(PRESETS["synthetic-anime"])
    write_ratings(ratings, tmp_path, "anime")
    back = load("anime", tmp_path)
    known = np.bincount(ratings.item)[ratings.item] >= 20
    assert back.num_users == 6_000
    assert len(back) == known.sum()
    np.testing.assert_array_equal(back.rating, ratings.rating[known])
    assert 0.2 < (back.rating >= back.threshold).mean() < 0.8
