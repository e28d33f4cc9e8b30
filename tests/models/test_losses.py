"""The masked loss by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfr_jax.models.losses import ByRating, masked_squared_error

TARGETS = jnp.array([[1.0, 2.0, 0.0], [0.0, 4.0, 0.0]])
PREDICTIONS = jnp.array([[3.0, 1.0, 9.0], [7.0, 4.5, 8.0]])
OBSERVED = jnp.array([[True, True, False], [False, True, False]])


def test_mean_over_observed_entries_by_hand():
    # ((3 - 1)^2 + (1 - 2)^2 + (4.5 - 4)^2) / 3, all users' entries alike
    loss = masked_squared_error(PREDICTIONS, TARGETS, OBSERVED)
    assert float(loss) == pytest.approx((4 + 1 + 0.25) / 3)


def test_gradient_is_zero_where_nothing_was_observed():
    gradient = jax.grad(masked_squared_error)(PREDICTIONS, TARGETS, OBSERVED)
    # 2 (prediction - target) / 3
    np.testing.assert_allclose(gradient, [[4 / 3, -2 / 3, 0], [0, 1 / 3, 0]], rtol=1e-6)


def test_an_observed_zero_counts():
    observed = OBSERVED.at[0, 2].set(True)
    assert float(masked_squared_error(PREDICTIONS, TARGETS, observed)) == pytest.approx(86.25 / 4)


def test_what_is_not_observed_may_be_anything():
    wild = jnp.where(OBSERVED, PREDICTIONS, jnp.inf)
    loss, gradient = jax.value_and_grad(masked_squared_error)(wild, TARGETS, OBSERVED)
    assert float(loss) == pytest.approx(5.25 / 3)
    assert np.isfinite(gradient[OBSERVED]).all()


def test_a_batch_without_ratings_has_loss_and_gradient_zero():
    nothing = jnp.zeros_like(OBSERVED)
    loss, gradient = jax.value_and_grad(masked_squared_error)(PREDICTIONS, TARGETS, nothing)
    assert float(loss) == 0
    assert not gradient.any()


def test_every_rating_weighs_alike_by_hand():
    # 1.5 ratings per user where 4 are usual; a user without any is not counted
    loss = ByRating(masked_squared_error, 4.0)
    assert float(loss(PREDICTIONS, TARGETS, OBSERVED)) == pytest.approx(5.25 / 3 * 1.5 / 4)
    more = [jnp.concatenate([x, jnp.zeros_like(x[:1])]) for x in (PREDICTIONS, TARGETS, OBSERVED)]
    assert float(loss(*more)) == pytest.approx(5.25 / 3 * 1.5 / 4)
    assert float(loss(PREDICTIONS, TARGETS, jnp.zeros_like(OBSERVED))) == 0
