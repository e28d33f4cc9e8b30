"""The chosen bucket lengths against every other choice there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.population.buckets import ROW_EQUIVALENT, Sizes, bucket_lengths, common_layout

# Few distinct multiples of 8, so that all subsets of them can be tried.
LENGTHS = st.lists(st.integers(0, 70), min_size=1, max_size=40)


def work(lengths: list[int], choice: tuple[int, ...]) -> float:
    """Padded rows of all clients, each in the shortest bucket that holds it; inf if none does."""
    total = 0.0
    for length in lengths:
        fitting = [size for size in choice if size >= length]
        total += min(fitting, default=float("inf")) + ROW_EQUIVALENT
    return total


@given(lengths=LENGTHS, max_buckets=st.integers(1, 5), price=st.sampled_from([0, 30, 500]))
def test_no_choice_of_multiples_of_8_makes_less_work(lengths, max_buckets, price):
    """The price of every shape but the first included."""
    chosen = bucket_lengths(np.array(lengths), max_buckets, price)
    candidates = range(8, 8 * 9 + 1, 8)
    least = min(
        work(lengths, choice) + price * (size - 1)
        for size in range(1, max_buckets + 1)
        for choice in itertools.combinations(candidates, size)
    )
    assert work(lengths, tuple(chosen.tolist())) + price * (len(chosen) - 1) == least


@given(lengths=st.lists(st.integers(0, 5000), min_size=1, max_size=60), most=st.integers(1, 7))
def test_lengths_are_few_increasing_multiples_of_8_that_hold_every_client(lengths, most):
    chosen = bucket_lengths(np.array(lengths), most)
    assert 1 <= len(chosen) <= most
    assert (chosen % 8 == 0).all() and (chosen > 0).all()
    assert (np.diff(chosen) > 0).all()
    longest = max(8, -(-max(lengths) // 8) * 8)
    assert chosen[-1] == longest  # holds every client, and not one row longer


@given(lengths=LENGTHS)
def test_another_bucket_never_adds_work(lengths):
    costs = [work(lengths, tuple(bucket_lengths(np.array(lengths), n))) for n in range(1, 8)]
    assert costs == sorted(costs, reverse=True)


@given(lengths=LENGTHS, most=st.integers(1, 4), seed=st.integers(0, 9))
def test_the_order_of_the_clients_does_not_matter(lengths, most, seed):
    shuffled = np.random.default_rng(seed).permutation(lengths)
    expected = bucket_lengths(np.array(lengths), most)
    np.testing.assert_array_equal(bucket_lengths(shuffled, most), expected)


@pytest.mark.parametrize(
    ("lengths", "most", "expected"),
    [
        ([0], 4, [8]),  # a client without ratings has a row of padding
        ([8, 9], 1, [16]),
        ([8, 9], 4, [8, 16]),
        # Two of {8, 16, 80}: 80 must be there; cutting at 16 pads 10 clients by 8 rows, at 8 it
        # pads one client by 64.
        ([5] * 10 + [12] + [80], 2, [8, 80]),
        ([5] * 10 + [12] * 2 + [80], 2, [16, 80]),
        ([5] * 10 + [12] * 2 + [80], 3, [8, 16, 80]),
    ],
)
def test_by_hand(lengths, most, expected):
    assert bucket_lengths(np.array(lengths), most).tolist() == expected


@pytest.mark.parametrize(("users", "expected"), [(50, [800]), (2000, [40, 800])])
def test_no_more_buckets_than_save_what_they_take_to_compile(users, expected):
    """Nine users of ten have 40 rows: a second shape saves 684 rows each."""
    rows = np.where(np.arange(users) % 10, 40, 800)
    layout = common_layout([Sizes(rows, np.ones(users, np.int64))] * 2, 10, 0)
    assert [shape.rows for shape in layout] == expected
    assert [shape.rows for shape in common_layout([Sizes(rows, rows * 0 + 1)], 10, 4)] == [40, 800]
