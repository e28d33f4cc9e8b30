"""Two runs' users by hand."""

import numpy as np
import pandas as pd
import pytest

from pfr_jax.errors import InputError
from pfr_jax.report.comparison import compare, decile_means


def table(rmse, suffix="", **columns):
    count = len(rmse)
    return pd.DataFrame(
        {
            "user": [f"u{n}" for n in range(count)],
            "train_ratings": np.arange(count),
            "test_ratings": 1,
            f"test_rmse{suffix}": rmse,
            **columns,
        }
    )


def test_shares_and_test_by_hand():
    """Differences -1, -2, -3, +4; one user has no figure. W+ = 4, W- = 6, of 16 signs: p 0.875."""
    first = table([1.0, 2.0, 3.0, 1.0, np.nan])
    second = table([0.0, 0.0, 0.0, 5.0, 1.0])
    found = compare(first, second)
    assert (found.figure, found.users) == ("rmse", 4)
    assert (found.better, found.worse) == (0.75, 0.25)
    assert (found.mean_difference, found.median_difference) == (-0.5, -1.5)
    assert found.p_value == pytest.approx(0.875)
    assert found.by_decile == (-1.0, -2.0, -3.0, 4.0)


def test_equal_runs():
    found = compare(table([1.0, 2.0]), table([1.0, 2.0]))
    assert (found.better, found.worse, found.p_value) == (0, 0, 1)


def test_the_retrained_figure_counts_first_and_order_of_rows_does_not():
    first = table([1.0, 2.0], "_last")
    second = table([9.0, 9.0], test_rmse_retrained=[0.5, 1.0]).iloc[::-1]
    assert compare(first, second).mean_difference == -0.75


def test_runs_of_different_splits_or_feedback_are_refused():
    with pytest.raises(InputError, match="one split"):
        compare(table([1.0, 2.0]), table([1.0]))
    with pytest.raises(InputError, match="one split"):
        compare(table([1.0]), table([1.0]).assign(test_ratings=2))
    with pytest.raises(InputError, match="explicit"):
        compare(table([1.0]), table([1.0]).rename(columns={"test_rmse": "test_ndcg_full"}))


def test_deciles_are_of_equal_size_and_in_order_of_activity():
    activity = np.arange(100)[::-1]
    assert decile_means(activity, activity // 10) == tuple(range(10))
