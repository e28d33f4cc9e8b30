"""What lists are made up of: by hand, by other formulas, and at the extremes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.evaluation.listed import Popularity, gini_index, information, make_up

# Item 0 was seen by users 0, 1, 2 and 3, item 1 by user 0, item 2 by nobody, item 3 by two.
SEEN = np.array([0, 1, 2, 3, 0, 0, 2, 3]), np.array([0, 0, 0, 0, 1, 1, 3, 3])
POPULARITY = Popularity(np.array([4, 1, 0, 2]), users=4)


def test_a_pair_that_is_there_twice_counts_once() -> None:
    found = Popularity.of(SEEN, num_items=4)
    assert (found.counts.tolist(), found.users) == ([4, 1, 0, 2], 4)
    assert found.shares.tolist() == [1, 0.25, 0, 0.5]


def test_an_item_that_nobody_has_seen_is_a_bit_above_one_that_one_user_has() -> None:
    assert information(POPULARITY).tolist() == [0, 2, 3, 1]
    nobody = Popularity.of((np.array([], int), np.array([], int)), num_items=2)
    assert nobody.shares.tolist() == [0, 0] and information(nobody).tolist() == [1, 1]


def test_lists_by_hand() -> None:
    """Items 0, 1, 2 are listed 2, 1, 1 times, item 3 never; one list is short, one is empty."""
    found = make_up(np.array([[0, 1, 2], [0, -1, -1], [-1, -1, -1]]), POPULARITY)
    assert found["coverage"] == 3 / 4
    assert found["gini"] == pytest.approx((-3 * 0 - 1 * 1 + 1 * 1 + 3 * 2) / (4 * 4))
    assert found["novelty"] == pytest.approx((0 + 2 + 3 + 0) / 4)
    # The first user's list has a mean of (1 + 1/4 + 0) / 3, the second's of 1, the third none.
    assert found["popularity"] == pytest.approx((5 / 12 + 1) / 2)


def test_where_nothing_is_listed_nothing_is_covered_and_the_rest_is_unknown() -> None:
    found = make_up(np.full((2, 3), -1), POPULARITY)
    assert found.pop("coverage") == 0
    assert set(found) == {"gini", "novelty", "popularity"} and np.isnan(list(found.values())).all()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_the_gini_index_is_half_the_mean_difference_over_the_mean(times: list[int]) -> None:
    """The definition by all pairs of items; the order of the items does not matter."""
    x = np.array(times)
    differences = np.abs(x[:, None] - x[None]).mean()
    assert gini_index(x) == pytest.approx(differences / (2 * x.mean()))
    assert gini_index(x[::-1]) == gini_index(x)


def test_the_gini_index_of_even_and_of_one_sided_lists() -> None:
    assert gini_index(np.full(7, 3)) == 0
    assert gini_index(np.array([0, 0, 9, 0, 0])) == pytest.approx(1 - 1 / 5)
