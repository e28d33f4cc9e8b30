"""Splits, and the seeded permutation beneath them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax import seeding
from pfr_jax.data.splits import (
    Split,
    leave_one_out_split,
    random_split,
    temporal_split,
    user_split,
)
from pfr_jax.errors import InputError
from pfr_jax.seeding import Stream, permutation

MASK = 2**64 - 1


def philox_block(counter: list[int], key: list[int]) -> list[int]:
    """Four words of Philox4x64-10 (Salmon et al., SC 2011) by Python integers."""
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [
            (right >> 64) ^ counter[1] ^ key[0],
            right & MASK,
            (left >> 64) ^ counter[3] ^ key[1],
            left & MASK,
        ]
        key = [(key[0] + 0x9E3779B97F4A7C15) & MASK, (key[1] + 0xBB67AE8584CAA73B) & MASK]
    return counter


def test_permutation_sorts_raw_philox_words():
    entropy = [3, int(Stream.COHORT), 0, 7, 0, 5, 2]  # count; then low and high half of each word
    key = np.random.SeedSequence(entropy).generate_state(2, np.uint64).tolist()
    words = [word for block in range(1, 6) for word in philox_block([block, 0, 0, 0], key)]
    by_hand = sorted(range(18), key=words.__getitem__)
    assert permutation(18, Stream.COHORT, 7, 5 + 2 * 2**32).tolist() == by_hand


def test_permutation_is_pinned():
    """Recorded with numpy 2.4.6, and checked against `philox_block`, to pin it across versions.

    A change here silently changes every split, cohort and deal of published runs.
    """
    assert permutation(100, Stream.SPLIT, 0)[:8].tolist() == [69, 5, 51, 37, 9, 31, 40, 26]
    assert permutation(100, Stream.COHORT, 1, 2)[:8].tolist() == [4, 88, 71, 25, 48, 39, 67, 60]


def test_different_words_give_different_orders():
    words = [(1,), (1, 0), (0, 1), (2**32, 1), (1, 2**32), (1, 0, 1), (1, 0, 0, 0), (2,)]
    orders = {tuple(permutation(50, *some).tolist()) for some in words}
    assert len(orders) == len(words)


def test_every_place_is_equally_likely():
    """Over 4,000 seeds the first of 5 is uniform: chi-square, 4 degrees, below its 99.9 % point."""
    firsts = [permutation(5, Stream.SUBSET, seed)[0] for seed in range(4000)]
    counts = np.bincount(firsts, minlength=5)
    assert np.sum((counts - 800) ** 2 / 800) < 18.47


@given(
    n=st.integers(1, 400),
    validation=st.floats(0, 0.99),
    test=st.floats(0, 0.99),
    seed=st.integers(0, 2**40),
)
def test_a_split_holds_every_rating_once(n, validation, test, seed):
    sizes = n - round(n * validation) - round(n * test), round(n * validation), round(n * test)
    if sizes[0] <= 0:
        with pytest.raises(InputError, match="--validation_fraction.*--test_fraction"):
            random_split(n, validation, test, seed)
        return
    split = random_split(n, validation, test, seed)
    parts = split.train, split.validation, split.test
    assert tuple(len(part) for part in parts) == sizes
    assert all((np.diff(part) > 0).all() for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))


@given(keys=st.lists(st.integers(0, 6), min_size=9, max_size=60), seed=st.integers(0, 9))
def test_the_parts_are_runs_of_the_seeds_permutation_also_of_equal_words(keys, seed):
    class Words:
        def random_raw(self, n):
            return np.resize(np.array(keys, np.uint64), n)

    n = len(keys)
    with pytest.MonkeyPatch.context() as patch:
        if seed:  # 0: real words
            patch.setattr(seeding, "bit_generator", lambda *_: Words())
        split, order = random_split(n, 0.2, 0.3, 0), permutation(n, Stream.SPLIT, 0)
    num_test, num_held = round(n * 0.3), round(n * 0.3) + round(n * 0.2)
    assert split.test.tolist() == sorted(order[:num_test])
    assert split.validation.tolist() == sorted(order[num_test:num_held])


def test_the_test_part_depends_on_the_seed_but_not_on_the_validation_fraction():
    split = random_split(1000, 0.05, 0.1, seed=3)
    np.testing.assert_array_equal(split.test, random_split(1000, 0.3, 0.1, seed=3).test)
    assert not np.array_equal(split.test, random_split(1000, 0.05, 0.1, seed=4).test)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_fractions_outside_the_range_are_refused_by_their_flag(fraction):
    with pytest.raises(InputError, match="--validation_fraction"):
        random_split(100, fraction, 0.1, seed=0)
    with pytest.raises(InputError, match="--test_fraction"):
        random_split(100, 0.1, fraction, seed=0)


USERS = np.array([0, 1, 0, 0, 1, 0, 2, 2, 2])
TIMES = np.array([5, 9, 1, 7, 8, 7, 2, 6, 3])


def parts_of(split: Split) -> list[list[int]]:
    return [part.tolist() for part in (split.train, split.validation, split.test)]


def test_the_newest_of_all_by_hand():
    split = temporal_split(TIMES, validation_fraction=0.34, test_fraction=0.23)
    assert parts_of(split) == [[0, 2, 6, 8], [3, 5, 7], [1, 4]]


def test_each_users_newest_by_hand():
    """User 0 rated rows 3 and 5 at once; user 1 has too few."""
    assert parts_of(leave_one_out_split(USERS, TIMES)) == [[0, 1, 2, 4, 6], [3, 8], [5, 7]]
    only_test = leave_one_out_split(USERS, TIMES, validation=False)
    assert parts_of(only_test) == [[0, 1, 2, 3, 4, 6, 8], [], [5, 7]]
    only_validation = leave_one_out_split(USERS, TIMES, test=False)
    assert parts_of(only_validation) == [[0, 1, 2, 3, 4, 6, 8], [5, 7], []]


TABLES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=8, max_size=60)


@given(TABLES, st.floats(0, 0.4), st.floats(0, 0.4), st.integers(0, 2**40))
def test_every_split_holds_every_rating_once(table, validation, test, seed):
    user, time = np.array(table).T
    for split in (
        temporal_split(time, validation, test),
        leave_one_out_split(user, time),
        user_split(user, validation, test, seed),
    ):
        whole = np.concatenate([split.train, split.validation, split.test])
        assert np.sort(whole).tolist() == list(range(len(user)))
    newest = temporal_split(time, validation, test)
    assert max(time[newest.train]) <= min([*time[newest.validation], *time[newest.test]], default=9)
    assert max(time[newest.validation], default=0) <= min(time[newest.test], default=9)


@given(TABLES, st.floats(0, 0.45), st.floats(0, 0.45), st.integers(0, 2**40))
def test_every_user_has_its_share(table, validation, test, seed):
    user = np.array(table)[:, 0]
    split = user_split(user, validation, test, seed)
    count = np.bincount(user)
    held = np.bincount(user[split.test], minlength=len(count))
    most = np.maximum(count - 1, 0)
    assert held.tolist() == np.minimum(np.rint(count * test), most).tolist()
    left = np.bincount(user[split.train], minlength=len(count))
    assert (left[count > 0] >= 1).all()
    again = user_split(user, validation, test, seed)
    assert parts_of(again) == parts_of(split)
