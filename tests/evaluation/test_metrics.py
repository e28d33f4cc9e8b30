"""Errors by hand, and what ties the figures to each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.evaluation.metrics import errors_by_user, rating_figures

# User 0: errors 3, -1, 1 and -1. User 2: error 2. Users 1 and 3 have nothing held out.
USER = np.array([0, 2, 0, 0, 0], np.int32)
RATING = np.array([1, 3, 4, 2, 5], np.float32)
PREDICTION = np.array([4, 5, 3, 3, 4], np.float32)


def test_by_hand():
    figures = rating_figures(USER, RATING, PREDICTION)
    assert figures.rmse == pytest.approx((16 / 5) ** 0.5)  # (9 + 1 + 1 + 1 + 4) / 5
    # sqrt(12 / 4) for the four ratings of user 0, 2 for the one of user 2.
    assert figures.rmse_per_user == pytest.approx((4 * 3**0.5 + 1 * 2) / 5)
    assert figures.mae == pytest.approx(8 / 5)


def test_errors_of_each_user_by_hand():
    errors = errors_by_user(USER, RATING, PREDICTION, 4)
    np.testing.assert_allclose(errors["rmse"], [3**0.5, np.nan, 2, np.nan])
    np.testing.assert_allclose(errors["mae"], [6 / 4, np.nan, 2, np.nan])


def test_one_user_has_one_rmse():
    figures = rating_figures(np.zeros(5, int), RATING, PREDICTION)
    assert figures.rmse_per_user == pytest.approx(figures.rmse)


def test_errors_are_not_rounded_to_single_precision():
    """f32 predictions and ratings, whose errors have squares that f32 cannot hold."""
    rating = np.ones(1000, np.float32)
    prediction = rating + np.float32(1 / 3)
    error = float(prediction[0]) - 1.0
    figures = rating_figures(np.zeros(1000, int), rating, prediction)
    by_user = errors_by_user(np.zeros(1000, int), rating, prediction, 1)
    for value in (figures.rmse, figures.rmse_per_user, figures.mae, by_user["rmse"][0]):
        assert value == pytest.approx(error, rel=1e-12)


ERRORS = st.lists(st.tuples(st.integers(0, 6), st.integers(-40, 40)), min_size=1, max_size=30)


@given(pairs=ERRORS)
def test_figures_follow_from_the_users_errors(pairs):
    user = np.array([u for u, _ in pairs])
    error = np.array([e / 10 for _, e in pairs])
    rating = np.full(len(pairs), 3.0)
    figures = rating_figures(user, rating, rating + error)
    by_user = errors_by_user(user, rating, rating + error, 9)
    held_out = np.isin(np.arange(9), user)
    np.testing.assert_array_equal(np.isnan(by_user["rmse"]), ~held_out)

    count = np.array([(user == u).sum() for u in range(9)])[held_out]
    rmse, mae = by_user["rmse"][held_out], by_user["mae"][held_out]
    close = {"rel": 1e-9, "abs": 1e-9}
    assert figures.rmse == pytest.approx(np.sqrt(count @ rmse**2 / count.sum()), **close)
    assert figures.rmse_per_user == pytest.approx(count @ rmse / count.sum(), **close)
    assert figures.mae == pytest.approx(count @ mae / count.sum(), **close)
    # Jensen: the paper's figure is never the larger one.
    assert figures.mae - 1e-9 <= figures.rmse_per_user <= figures.rmse + 1e-9
