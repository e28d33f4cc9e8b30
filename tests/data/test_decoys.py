"""Decoys: how many, of what, by whose chances, and with which ratings."""

import numpy as np
import pytest
from federations import ragged_ratings
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.data.decoys import draw_decoys, rows_wanted
from pfr_jax.data.examples import Examples, observed
from pfr_jax.data.standard import Standard

RATINGS = ragged_ratings()  # of 2 to 23 of 23 items
HELD = observed(RATINGS, np.arange(len(RATINGS)), RATINGS.rating.astype(np.float64))
EVERYBODY = np.ones(13, bool)
FLAT = Standard(np.zeros(13), np.zeros(23), 1.0)


def known(item_effects: int) -> Standard:
    return Standard(np.linspace(3, 4, 13), np.random.default_rng(item_effects).normal(size=23), 1.0)


@given(
    shares=st.lists(st.floats(0, 1), min_size=len(HELD), max_size=len(HELD)),
    per_rating=st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0]),
    seed=st.integers(0, 2**40),
)
def test_who_has_which_decoys(shares, per_rating, seed) -> None:
    """Of any part of the ratings."""
    kept = np.array(shares) < 0.5
    held = Examples(HELD.user[kept], HELD.item[kept], HELD.target[kept])
    found = draw_decoys(held, known(seed % 7), per_rating, seed, EVERYBODY)
    anybodys = set(held.item.tolist())
    for user in range(13):
        rated = held.item[held.user == user].tolist()
        decoys = found.item[found.user == user].tolist()
        assert decoys == sorted(set(decoys)) and not set(decoys) & set(rated)
        assert set(decoys) <= anybodys  # nobody's item would be no decoy to anyone
        rows = len(rated) + len(decoys)
        if not rated:
            assert not decoys
        elif rows < len(anybodys):
            assert rows & (rows - 1) == 0  # a power of two
            assert len(decoys) >= per_rating * len(rated)
            assert rows // 2 < np.ceil((1 + per_rating) * len(rated))  # and the next one
        else:
            assert set(decoys) | set(rated) == anybodys
        own = held.target[held.user == user]
        assert set(found.target[found.user == user]) <= set(own)


def test_numbers_of_rows_by_hand() -> None:
    rated = np.array([0, 1, 3, 4, 5, 30, 2**20])
    assert rows_wanted(rated, 1).tolist() == [0, 2, 8, 8, 16, 64, 2**21]
    assert rows_wanted(rated, 0.1).tolist() == [0, 2, 4, 8, 8, 64, 2**21]
    assert rows_wanted(np.array([10]), 0.6).tolist() == [16]  # not a rounding error more


def test_a_users_decoys_are_its_own_and_seeded() -> None:
    """They depend on its ratings, the seed and popularity alone."""
    one = draw_decoys(HELD, FLAT, 1.0, 3, EVERYBODY)
    # Items are as popular as before, but two others have each other's, and all others' stars are 1.
    mine, user = HELD.user == 5, HELD.user
    swapped = np.where(user == 4, 2, np.where(user == 2, 4, user))
    held = Examples(swapped, HELD.item, np.where(mine, HELD.target, 1.0))
    other = draw_decoys(held, FLAT, 1.0, 3, EVERYBODY)
    for found in ("item", "target"):
        np.testing.assert_array_equal(
            *(getattr(some, found)[some.user == 5] for some in (one, other))
        )
    again = draw_decoys(HELD, FLAT, 1.0, 4, EVERYBODY)
    assert not np.array_equal(one.item, again.item)


def test_new_users_have_none_and_count_in_no_popularity() -> None:
    drawing = np.arange(13) != 12
    flipped = Examples(HELD.user, np.where(HELD.user == 12, 22 - HELD.item, HELD.item), HELD.target)
    few = HELD.user != 12
    one = draw_decoys(HELD, FLAT, 1.0, 0, drawing)
    for held in (flipped, Examples(HELD.user[few], HELD.item[few], HELD.target[few])):
        np.testing.assert_array_equal(one.item, draw_decoys(held, FLAT, 1.0, 0, drawing).item)
    assert not (one.user == 12).any()


def test_decoys_are_as_likely_as_they_are_popular() -> None:
    """One decoy of a user with one rating, over seeds, of items that others rated 1 to 4 times."""
    times = [0, 1, 2, 3, 4]
    item = np.concatenate([[0], np.repeat(range(5), times)])
    held = Examples(np.arange(len(item)), item, np.ones(len(item)))
    standard = Standard(np.zeros(len(item)), np.zeros(5), 1.0)
    count, seeds = np.zeros(5), 1500
    for seed in range(seeds):
        found = draw_decoys(held, standard, 1.0, seed, np.ones(len(item), bool))
        count[found.item[found.user == 0]] += 1
    expected = seeds * np.array(times[1:]) / 10
    assert count[0] == 0 and count.sum() == seeds
    assert ((count[1:] - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees: 0.1 %


def test_a_made_up_rating_is_the_likely_one_of_the_users_own() -> None:
    """What is expected of user and item, and what the user's own rating of another item was off."""
    user, item = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 1, 2, 3, 4, 5, 6, 7])
    held = Examples(user, item, np.array([2.0, 3, 4, 5, 1, 1, 1, 1]))
    effects = np.array([-1.5, -0.5, 0.5, 1.5, -1.5, -0.4, 0.4, 9])
    standard = Standard(np.array([3.5, 1.0]), effects, 1.0)  # nothing is off for user 0
    found = draw_decoys(held, standard, 1.0, 0, np.ones(2, bool))
    mine = dict(zip(found.item[found.user == 0], found.target[found.user == 0], strict=True))
    assert mine == {4: 2.0, 5: 3.0, 6: 4.0, 7: 5.0}
    assert set(found.target[found.user == 1]) == {1.0}


@pytest.mark.parametrize("per_rating", [1.0, 100.0])
def test_who_has_rated_everything_has_no_decoys(per_rating: float) -> None:
    found = draw_decoys(HELD, FLAT, per_rating, 0, EVERYBODY)
    assert (HELD.user == 12).sum() == 23 and not (found.user == 12).any()
    assert (found.user == 11).any()
