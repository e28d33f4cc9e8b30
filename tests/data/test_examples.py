"""Positives and drawn negatives: how many, of what, and by whose chances."""

import numpy as np
import pytest
from federations import ragged_ratings
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.data.examples import _draw, chosen_and_not
from pfr_jax.seeding import bit_generator

RATINGS = ragged_ratings()  # of 2 to 23 of 23 items
EVERYBODY = np.ones(13, bool)
TARGET = (RATINGS.rating >= 3.5).astype(np.float64)
ROWS = np.arange(len(RATINGS))


@given(negatives=st.integers(1, 5), seed=st.integers(0, 2**40))
def test_who_has_which_negatives(negatives: int, seed: int) -> None:
    found = chosen_and_not(RATINGS, ROWS, TARGET, negatives, "uniform", seed, EVERYBODY)
    pairs = found.user.astype(np.int64) * RATINGS.num_items + found.item
    assert len(np.unique(pairs)) == len(pairs)
    for user in range(RATINGS.num_users):
        rated = RATINGS.item[RATINGS.user == user]
        liked = RATINGS.item[(RATINGS.user == user) & (TARGET > 0)]
        own = found.user == user
        positives = found.item[own & (found.target > 0)]
        drawn = found.item[own & (found.target == 0)]
        assert sorted(positives) == sorted(liked)  # low ratings are neither
        assert not set(drawn) & set(rated)
        assert len(drawn) == min(negatives * len(liked), RATINGS.num_items - len(rated))


def test_a_clients_draws_are_its_own_and_seeded() -> None:
    """They depend on its own training ratings and the seed, not on anybody else's."""
    one = chosen_and_not(RATINGS, ROWS, TARGET, 1, "uniform", 3, EVERYBODY)
    fewer = np.flatnonzero(RATINGS.user != 2)
    other = chosen_and_not(RATINGS, fewer, TARGET, 1, "uniform", 3, EVERYBODY)
    everybody_else = np.arange(RATINGS.num_users) != 2
    np.testing.assert_array_equal(one.of_users(everybody_else).item, other.item)
    again = chosen_and_not(RATINGS, ROWS, TARGET, 1, "uniform", 4, EVERYBODY)
    assert not np.array_equal(one.item, again.item)


def test_a_held_out_item_may_be_drawn() -> None:
    """A client does not know what is held out, and must not avoid it."""
    few = np.flatnonzero(RATINGS.user == 12)[:3]  # 20 of its 23 ratings are held out
    liked = int(TARGET[few].sum())
    found = chosen_and_not(RATINGS, few, TARGET, 20, "uniform", 0, EVERYBODY)
    assert liked > 0 and (found.target == 0).sum() == 20


def test_chances_by_popularity() -> None:
    weight = np.array([0.0, 1.0, 3.0, 6.0])
    first = [_draw(weight, np.array([], int), 1, bit_generator(1, n))[0] for n in range(2000)]
    share = np.bincount(first, minlength=4) / 2000
    np.testing.assert_allclose(share, weight / 10, atol=5 * np.sqrt(0.25 / 2000))
    drawn = [_draw(weight, np.array([2]), 3, bit_generator(1, n)) for n in range(50)]
    assert all(one.tolist() == [1, 3] for one in drawn)  # nobody chose item 0
    assert len(_draw(weight, np.arange(4), 3, bit_generator(1))) == 0


def test_new_users_choices_change_no_chances() -> None:
    """Of users held out of training; else their ratings would shape what the others train on."""
    counted = np.arange(13) != 12
    flipped = np.where(RATINGS.user == 12, 1 - TARGET, TARGET)
    one, other = (
        chosen_and_not(RATINGS, ROWS, target, 1, "popularity", 0, counted).of_users(counted)
        for target in (TARGET, flipped)
    )
    np.testing.assert_array_equal(one.item, other.item)


@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_nothing_is_drawn_for_who_chose_nothing(sampling) -> None:
    target = np.where(RATINGS.user == 5, 0.0, TARGET)
    found = chosen_and_not(RATINGS, ROWS, target, 4, sampling, 0, EVERYBODY)
    assert not (found.user == 5).any()
