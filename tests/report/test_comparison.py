"""Runs' users by hand, and what is said of them against other arithmetic."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfr_jax.errors import InputError
from pfr_jax.evaluation.explicit import EXPLICIT
from pfr_jax.evaluation.implicit import IMPLICIT
from pfr_jax.evaluation.ranked import RANKING
from pfr_jax.report.comparison import (
    RunTable,
    compare,
    decile_means,
    holm,
    mean_interval,
    names_of,
)


def run(name, values, column="test_rmse", task=EXPLICIT, **columns):
    count = len(values)
    table = pd.DataFrame(
        {
            "user": [f"u{n}" for n in range(count)],
            "train_ratings": np.arange(count),
            "test_ratings": 1,
            column: values,
            **columns,
        }
    )
    return RunTable(name, task, table)


def test_a_pair_by_hand():
    """Differences -1, -2, -3, +4; one user has no figure. W+ = 4, W- = 6, of 16 signs: p 0.875."""
    first = run("mine", [1.0, 2.0, 3.0, 1.0, np.nan])
    second = run("theirs", [0.0, 0.0, 0.0, 5.0, 1.0])
    (found,) = compare([first, second])
    assert (found.run, found.other, found.users) == ("theirs", "mine", 4)
    assert (found.better, found.worse) == (0.75, 0.25)
    assert found.mean_difference == -0.5
    assert -3 <= found.interval[0] < -0.5 < found.interval[1] <= 4
    assert found.p_value == found.p_holm == pytest.approx(0.875)
    assert found.by_decile == (-1.0, -2.0, -3.0, 4.0)
    assert found.deciles[4] == -1.5 and len(found.deciles) == 9


def test_every_pair_or_all_with_one():
    runs = [run("a", [1.0, 5.0]), run("b", [2.0, 5.0]), run("c", [4.0, 5.0])]

    def found(reference=None):
        return {(c.run, c.other): c.mean_difference for c in compare(runs, reference)}

    assert found() == {("b", "a"): 0.5, ("c", "a"): 1.5, ("c", "b"): 1.0}
    assert found("b") == {("a", "b"): -0.5, ("c", "b"): 1.0}
    with pytest.raises(InputError, match="--reference=d: want one of a, b, c"):
        compare(runs, "d")
    with pytest.raises(InputError, match="at least two"):
        compare(runs[:1])


def test_users_of_a_pair_do_not_depend_on_third_runs():
    runs = [run("a", [1.0, 1.0]), run("b", [2.0, 3.0]), run("c", [np.nan, 1.0])]
    assert [c.users for c in compare(runs)] == [2, 1, 1]
    one_user = compare(runs)[1]
    assert np.isnan(one_user.interval).all() and one_user.p_value == 1
    with pytest.raises(InputError, match=r"c and d have test figures of no user"):
        compare([runs[2], run("d", [1.0, np.nan])])


def test_equal_runs():
    (found,) = compare([run("a", [1.0, 2.0]), run("b", [1.0, 2.0])])
    assert (found.better, found.worse, found.p_value, found.interval) == (0, 0, 1, (0, 0))


def test_p_values_are_corrected_for_all_that_are_compared():
    """Six users that all gain have p = 2 / 2**6; three such comparisons, and none is below 0.05."""
    rising = [run(name, [float(n)] * 6) for n, name in enumerate("abc")]
    assert [c.p_value for c in compare(rising)] == pytest.approx([1 / 32] * 3)
    assert [c.p_holm for c in compare(rising)] == pytest.approx([3 / 32] * 3)
    assert [c.p_holm for c in compare(rising, "a")] == pytest.approx([2 / 32] * 2)


def test_holms_correction_by_hand():
    """Ordered 0.01, 0.03, 0.04: 3 x 0.01; 2 x 0.03; 0.04 is not less than the one before it."""
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.6])).tolist() == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holms_correction_rejects_as_his_procedure_does(p_values, level):
    """Step by step: the smallest p that is left is held against level / how many are left."""
    left, rejected = list(range(len(p_values))), set()
    while left:
        smallest = min(left, key=lambda i: p_values[i])
        if p_values[smallest] * len(left) > level:
            break
        left.remove(smallest)
        rejected.add(smallest)
    assert set(np.flatnonzero(holm(np.array(p_values)) <= level)) == rejected


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_the_interval_is_near_that_of_the_normal_distribution(seed):
    values = np.random.default_rng(seed).normal(3, 2, 1000)
    half = 1.96 * values.std() / np.sqrt(1000)
    low, high = mean_interval(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 5)
    assert (low, high) == mean_interval(values)
    assert mean_interval(values + 7) == pytest.approx((low + 7, high + 7))


def test_the_retrained_figure_counts_first_and_order_of_rows_does_not():
    first = run("a", [1.0, 2.0], "test_rmse_last")
    second = run("b", [9.0, 9.0], test_rmse_retrained=[0.5, 1.0])
    second = RunTable("b", EXPLICIT, second.users.iloc[::-1])
    assert compare([first, second])[0].mean_difference == -0.75


def test_each_task_is_compared_by_its_own_figure_and_higher_is_better_there():
    """Runs of ranking have the figures of implicit feedback, too."""

    def pair(task):
        better = {"test_ndcg_heldout": [0.4, 0.1], "test_ndcg_full": [0.3, 0.3]}
        worse = {"test_ndcg_heldout": [0.5, 0.5], "test_ndcg_full": [0.1, 0.2]}
        return [run(n, [1, 1], "rounds", task, **f) for n, f in (("a", worse), ("b", better))]

    (full,), (held_out,) = compare(pair(RANKING)), compare(pair(IMPLICIT))
    assert (full.better, full.mean_difference) == (1, pytest.approx(0.15))
    assert (held_out.worse, held_out.mean_difference) == (1, pytest.approx(-0.25))


def test_runs_of_different_splits_or_feedback_are_refused_by_name():
    first, third = run("quick", [1.0, 2.0]), run("third", [1.0, 2.0])
    for other in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(InputError, match=r"quick and fedper have .* one split"):
            compare([first, third, run("fedper", other)])
    with pytest.raises(InputError, match=r"quick and fedper have .* one split"):
        compare([first, run("fedper", [1.0, 2.0], test_ratings=2)])
    with pytest.raises(InputError, match="quick and fedper are of explicit and ranking feedback"):
        compare([first, run("fedper", [1.0, 2.0], "test_ndcg_full", RANKING)])
    with pytest.raises(InputError, match="fedper has no test figures"):
        compare([first, run("fedper", [1.0, 2.0], "rounds")])


def test_deciles_are_of_equal_size_and_in_order_of_activity():
    activity = np.arange(100)[::-1]
    assert decile_means(activity, activity // 10) == tuple(range(10))


def test_names_are_those_of_folders_with_as_much_before_them_as_they_need():
    folders = [Path(name) for name in ("/runs/a/seed0", "/runs/b/seed0", "/runs/a", "/x/../x/c/")]
    assert names_of(folders) == ["a/seed0", "b/seed0", "a", "c"]
    with pytest.raises(InputError, match="/runs/a is named twice"):
        names_of([Path("/runs/a"), Path("/runs/b/../a")])
