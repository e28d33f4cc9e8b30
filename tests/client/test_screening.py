"""Whose updates are taken: what is not finite is found without reading rows and matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.client.factored.outer_products import Memory
from pfr_jax.client.screening import judge

STEPS, INPUTS, OUTPUTS = 3, 4, 2
entries = st.floats(-(2.0**10), 2.0**10, width=32)


def arrays(*shape: int) -> st.SearchStrategy[np.ndarray]:
    size = int(np.prod(shape))
    numbers = st.lists(entries, min_size=size, max_size=size)
    return numbers.map(lambda found: np.array(found, np.float32).reshape(shape))


@given(arrays(STEPS), arrays(STEPS, INPUTS), arrays(STEPS, OUTPUTS))
def test_no_entry_of_a_sum_of_outer_products_exceeds_the_bound(
    weights: np.ndarray, inputs: np.ndarray, deltas: np.ndarray
) -> None:
    total = np.einsum("k,kn,km->nm", *(x.astype(np.float64) for x in (weights, inputs, deltas)))
    bound = Memory(jnp.asarray(inputs), jnp.asarray(deltas)).bound(jnp.asarray(weights))
    # Squares of numbers below 1e-19 are 0.
    assert np.abs(total).max() <= float(bound) * (1 + 1e-5) + 1e-12


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_bad_number_of_any_step_is_found(bad: float, step: int) -> None:
    """Of the second of three clients, whose loss is finite."""
    inputs = np.ones((3, STEPS, INPUTS), np.float32)
    deltas = np.zeros((3, STEPS, OUTPUTS), np.float32)
    deltas[1, step, 0] = bad
    bounds = Memory(jnp.asarray(inputs), jnp.asarray(deltas)).bound(jnp.ones(STEPS))
    present, losses = jnp.array([True, True, False]), jnp.ones(3)
    verdict = judge(present, {"layer": bounds}, losses, {}, max_norm=0.0)
    assert verdict.accepted.tolist() == [True, False, False]
    assert verdict.rejected.tolist() == [1, 0]


def test_norms_are_of_changes_alone() -> None:
    """3-4-5 triangles; what has to be finite does not count."""
    delta = {"a": jnp.array([[3.0, 0.0], [0.0, 30.0]]), "b": jnp.array([4.0, 40.0])}
    finite_in = {"bound": jnp.array([1e9, 1e9])}
    taken = jax.jit(judge, static_argnames="max_norm")
    verdict = taken(jnp.array([True, True]), finite_in, jnp.zeros(2), delta, max_norm=5.1)
    assert verdict.accepted.tolist() == [True, False]
    assert verdict.rejected.tolist() == [0, 1]
