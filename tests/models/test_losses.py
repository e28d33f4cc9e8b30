"""The masked losses by hand, and those of rankings against loops."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfr_jax.models.losses import (
    ByRating,
    choice_among_drawn,
    choice_before_drawn,
    masked_cross_entropy,
    masked_squared_error,
)

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


# Two users. The first has two choices and three negatives, the second a choice and a negative.
VALUES = jnp.array([[0.8, -0.2, -0.2, 0.8, -0.2, 0.0], [-0.2, 0.0, 0.0, 0.0, 0.8, 0.0]])
HELD = VALUES != 0
SCORES = jnp.array([[1.0, 0.5, -1.0, 2.0, 0.0, 99.0], [3.0, 99.0, 99.0, 99.0, 1.0, 99.0]])


def test_a_choice_among_what_was_drawn_by_hand():
    held = [1.0, 0.5, -1.0, 2.0, 0.0]
    first = math.log(sum(math.exp(score) for score in held))
    second = math.log(math.exp(3) + math.exp(1))
    expected = ((first - 1) + (first - 2) + (second - 1)) / 3
    assert float(choice_among_drawn(SCORES, VALUES, HELD)) == pytest.approx(expected)


def test_a_choice_before_what_was_drawn_by_hand():
    """The first user's negatives, 1, 2 and 4, meet choices 0, 3 and 0; the other's 0 meets 4."""
    differences = [1 - 0.5, 2 + 1, 1 - 0, 1 - 3]
    expected = sum(math.log1p(math.exp(-one)) for one in differences) / 4
    assert float(choice_before_drawn(SCORES, VALUES, HELD)) == pytest.approx(expected)


def among_in_a_loop(scores: jax.Array) -> jax.Array:
    total, count = jnp.zeros(()), 0
    for user in range(2):
        held = [item for item in range(6) if HELD[user, item]]
        for item in held:
            if VALUES[user, item] > 0:
                share = jnp.exp(scores[user, item]) / sum(jnp.exp(scores[user, o]) for o in held)
                total, count = total - jnp.log(share), count + 1
    return total / count


def before_in_a_loop(scores: jax.Array) -> jax.Array:
    total, count = jnp.zeros(()), 0
    for user in range(2):
        chosen = [item for item in range(6) if VALUES[user, item] > 0]
        drawn = [item for item in range(6) if VALUES[user, item] < 0]
        for place, item in enumerate(drawn):
            difference = scores[user, chosen[place % len(chosen)]] - scores[user, item]
            total, count = total - jnp.log(1 / (1 + jnp.exp(-difference))), count + 1
    return total / count


@pytest.mark.parametrize(
    ("loss", "in_a_loop"),
    [(choice_among_drawn, among_in_a_loop), (choice_before_drawn, before_in_a_loop)],
    ids=["multinomial", "bpr"],
)
def test_value_and_gradient_are_those_of_a_loop(loss: Callable, in_a_loop: Callable):
    with jax.enable_x64(True):
        scores = jnp.asarray(np.asarray(SCORES), jnp.float64)
        ours, gradient = jax.value_and_grad(loss)(scores, VALUES, HELD)
        theirs, expected = jax.value_and_grad(in_a_loop)(scores)
        assert float(ours) == pytest.approx(float(theirs), rel=1e-12)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)
        assert not np.asarray(gradient)[~np.asarray(HELD)].any()


@pytest.mark.parametrize("loss", [masked_cross_entropy, choice_among_drawn, choice_before_drawn])
def test_users_without_anything_add_nothing(loss: Callable):
    """Padding, and users with choices or with negatives alone; whatever stands there."""
    wild = jnp.where(HELD, SCORES, jnp.inf)
    more = [jnp.concatenate([one, jnp.zeros_like(one[:1])]) for one in (wild, VALUES, HELD)]
    value, gradient = jax.value_and_grad(loss)(*more)
    assert float(value) == pytest.approx(float(loss(SCORES, VALUES, HELD)))
    assert np.isfinite(gradient).all() and not gradient[2].any()
    for observed in (jnp.zeros_like(HELD), HELD & (VALUES > 0), HELD & (VALUES < 0)):
        value, gradient = jax.value_and_grad(loss)(SCORES, VALUES, observed)
        assert np.isfinite(value) and np.isfinite(gradient).all()
