"""The output layer on a client's item rows, some at a time. Legend as in ``records``.

A row is fetched from the table whenever it is needed: the table of all items stays in the cache.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from pfr_jax.client.factored.on_gpu.hidden import row_of
from pfr_jax.client.factored.on_gpu.records import Inputs, Memory, Outputs, Plan


def _sweep(plan: Plan, given: Inputs, one: Callable[[Any, Any, Any, Any], Any], carry: Any) -> Any:
    """``one``(where the rows are, rows f[c, H], biases f[c], carry) over all of a client's rows."""

    def chunk(index: jax.Array, carry: Any) -> Any:
        where = pl.ds(pl.multiple_of(index * plan.chunk, plan.chunk), plan.chunk)
        items = given.items[where]
        there = items < given.biases.shape[0]
        items = jnp.where(there, items, 0)
        rows = jnp.where(there[:, None], given.table[items, :], 0)
        return one(where, rows, jnp.where(there, given.biases[items], 0), carry)

    return jax.lax.fori_loop(0, given.chunks[0], chunk, carry)


def _errors(out: Outputs, where: Any, steps: jax.Array | int) -> jax.Array:
    """Those of the first ``steps``, f[P, c]; of others there is nothing yet: 0."""
    kept: jax.Array = out.errors[:, where]
    of_step = jax.lax.broadcasted_iota(jnp.int32, kept.shape, 0)
    return jnp.where(of_step < steps, kept, 0)


def output(
    plan: Plan, given: Inputs, out: Outputs, memory: Memory, step: jax.Array, hidden: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The sum of squared errors f[], and errors times rows f[H]; errors are kept."""
    start = 1 + given.shared_path[step, 0]
    weights = given.shared_path[step, 1 : 1 + plan.places] * memory.scales
    of_errors = weights * (1 + jnp.sum(memory.features * hidden[None, :], axis=1))

    def one(where: Any, rows: jax.Array, biases: jax.Array, sums: Any) -> Any:
        squared, back, alike = sums
        before = _errors(out, where, step)
        errors = start * (jnp.sum(rows * hidden[None, :], axis=1) + biases)
        errors += jnp.sum(of_errors[:, None] * before, axis=0) - given.values[where]
        errors = jnp.where(given.items[where] < given.biases.shape[0], errors, 0)
        out.errors[step, where] = errors
        return (
            squared + jnp.sum(errors * errors),
            back + jnp.sum(errors[:, None] * rows, axis=0),
            alike + jnp.sum(before * errors[None, :], axis=1),
        )

    begin = jnp.float32(0), jnp.zeros_like(hidden), jnp.zeros_like(weights)
    squared, back, alike = _sweep(plan, given, one, begin)
    if plan.waits:
        triton.debug_barrier()
    return squared, start * back + jnp.sum((weights * alike)[:, None] * memory.features, axis=0)


def end_rows(plan: Plan, given: Inputs, out: Outputs, memory: Memory) -> jax.Array:
    """The changes of the rows and of the biases. Returns 0, or NaN where one is not finite."""
    path, end = given.shared_path, plan.steps
    start, weights = path[end, 0], path[end, 1 : 1 + plan.places] * memory.scales
    features = [row_of(memory.features, step) for step in range(end)]

    def one(where: Any, rows: jax.Array, biases: jax.Array, check: jax.Array) -> jax.Array:
        errors = _errors(out, where, end)
        weighed = weights[:, None] * errors
        change = start * rows
        for step, of_step in enumerate(features):
            change += row_of(weighed, step)[:, None] * of_step[None, :]
        of_bias = start * biases + jnp.sum(weighed, axis=0)
        out.rows[where, :] = change
        out.row_biases[where] = of_bias
        return check + 0 * (jnp.sum(change) + jnp.sum(of_bias))

    found: jax.Array = _sweep(plan, given, one, jnp.float32(0))
    return found
