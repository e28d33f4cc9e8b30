"""Positives and drawn negatives: how many, of what, and by whose chances."""

from typing import Any

import numpy as np
import pytest
from federations import ragged_ratings
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.data.examples import Examples, choices_of, draw_unrated
from pfr_jax.seeding import bit_generator

RATINGS = ragged_ratings()  # of 2 to 23 of 23 items
EVERYBODY = np.ones(13, bool)
TARGET = (RATINGS.rating >= 3.5).astype(np.float64)
ROWS = np.arange(len(RATINGS))


def chosen_and_not(*how: Any) -> Examples:
    """Of all users, for the arguments of ``choices_of``."""
    return choices_of(*how).with_drawn(np.arange(13))


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


def test_a_round_has_draws_of_its_own_whoever_is_in_it() -> None:
    choices = choices_of(RATINGS, ROWS, TARGET, 1, "uniform", 3, EVERYBODY)
    users = np.array([1, 4, 5])
    first, later, once = (choices.with_drawn(users, *round) for round in ([0], [7], []))
    assert not np.array_equal(first.item, later.item)
    assert not np.array_equal(first.item, once.item)
    for one in (later, once):
        np.testing.assert_array_equal(first.user, one.user)
        np.testing.assert_array_equal(first.target, one.target)
        positive = first.target > 0
        np.testing.assert_array_equal(first.item[positive], one.item[positive])
    alone = choices.with_drawn(users[1:2], 7)
    np.testing.assert_array_equal(alone.item, later.item[later.user == 4])
    assert len(choices.with_drawn(users[:0], 7)) == 0


def test_a_held_out_item_may_be_drawn() -> None:
    """A client does not know what is held out, and must not avoid it."""
    few = np.flatnonzero(RATINGS.user == 12)[:3]  # 20 of its 23 ratings are held out
    liked = int(TARGET[few].sum())
    found = chosen_and_not(RATINGS, few, TARGET, 20, "uniform", 0, EVERYBODY)
    assert liked > 0 and (found.target == 0).sum() == 20


def draw(weight: np.ndarray, rated: list[int], wanted: int, *words: int) -> list[int]:
    return draw_unrated(
        weight, np.cumsum(weight), np.array(rated, int), wanted, bit_generator(*words)
    ).tolist()


@given(
    weight=st.lists(st.sampled_from([0.0, 1.0, 5.0, 1000.0]), min_size=1, max_size=30),
    data=st.data(),
    wanted=st.integers(0, 40),
    seed=st.integers(0, 2**40),
)
def test_draws_are_different_and_of_what_can_be_drawn(weight, data, wanted, seed) -> None:
    """However few guesses hit: a thousand to one against most of what is wanted."""
    rated = data.draw(st.sets(st.integers(0, len(weight) - 1)))
    free = {item for item, one in enumerate(weight) if one} - rated
    drawn = draw(np.array(weight), sorted(rated), wanted, 1, seed)
    assert drawn == sorted(set(drawn)) and set(drawn) <= free
    assert len(drawn) == min(wanted, len(free))


def test_chances_by_popularity() -> None:
    weight = np.array([0.0, 1.0, 3.0, 6.0])
    first = [draw(weight, [], 1, 1, n)[0] for n in range(2000)]
    share = np.bincount(first, minlength=4) / 2000
    np.testing.assert_allclose(share, weight / 10, atol=5 * np.sqrt(0.25 / 2000))
    drawn = [draw(weight, [2], 3, 1, n) for n in range(50)]
    assert all(one == [1, 3] for one in drawn)  # nobody chose item 0
    assert draw(weight, [0, 1, 2, 3], 3, 1) == []


@pytest.mark.parametrize("rated", [[], [4]], ids=["all", "the likeliest rated"])
def test_chances_of_two_draws_in_turn(rated: list[int]) -> None:
    """The chance of a pair is that of one and then of the other among the rest, in both orders.

    With the likeliest item rated most guesses fail, and keys draw the rest.
    """
    weight = np.array([1.0, 2.0, 3.0, 4.0, 90.0])
    free = [item for item in range(5) if item not in rated]
    total = weight[free].sum()
    expected = {
        (one, other): weight[one]
        * weight[other]
        / total
        * (1 / (total - weight[one]) + 1 / (total - weight[other]))
        for one in free
        for other in free
        if one < other
    }
    drawn = [tuple(draw(weight, rated, 2, 1, n)) for n in range(4000)]
    for pair, chance in expected.items():
        share = drawn.count(pair) / len(drawn)
        assert share == pytest.approx(chance, abs=5 * np.sqrt(chance * (1 - chance) / 4000) + 1e-9)


def test_every_unrated_item_is_as_likely() -> None:
    """Over seeds, of one client of the table."""
    own = RATINGS.user == 3
    rated, liked = RATINGS.item[own], int((TARGET[own] > 0).sum())
    count = np.zeros(RATINGS.num_items)
    for seed in range(1500):
        found = chosen_and_not(RATINGS, np.flatnonzero(own), TARGET, 1, "uniform", seed, EVERYBODY)
        count[found.item[found.target == 0]] += 1
    share = liked / (RATINGS.num_items - len(rated))
    assert not count[rated].any()
    others = np.delete(count, rated) / 1500
    np.testing.assert_allclose(others, share, atol=5 * np.sqrt(share * (1 - share) / 1500))


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
