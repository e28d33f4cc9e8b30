"""The output layer on the item rows of T clients, client by client. Legend as in ``records``.

Beside every row lie 128 numbers of its own: on the first P lanes the item's bias, on the next K
times P its errors in the local steps so far, and then its target. So one weighted sum over lanes
adds all that a prediction's error is made of.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from pfr_jax.client.factored.on_tpu import lanes
from pfr_jax.client.factored.on_tpu.lanes import LANES, lane_sum, wide
from pfr_jax.client.factored.on_tpu.records import Inputs, Outputs, Plan, Scratch

CHUNK = 128  # rows that are looked at together


def _beside(plan: Plan, of_bias: jax.Array, of_errors: list[jax.Array], of_value: float) -> Any:
    """Weights of what is beside the rows, f[T, 128], from those of its kinds, the same on all
    lanes of a member."""
    kind = lanes.features(of_errors[0].shape[0], plan.places)
    total = jnp.where(kind == 0, of_bias, 0)
    for past, weight in enumerate(of_errors):
        total = jnp.where(kind == 1 + past, weight, total)
    return jnp.where(kind == 1 + plan.steps, of_value, total)


def _sweep(length: int, one: Callable[[Any, Any], Any], carry: Any) -> Any:
    """``one`` over all of a client's rows, so many as registers hold at a time."""

    def chunk(index: jax.Array, carry: Any) -> Any:
        return one(pl.ds(pl.multiple_of(index * CHUNK, CHUNK), CHUNK), carry)

    whole = length // CHUNK
    if whole:
        carry = jax.lax.fori_loop(0, whole, chunk, carry)
    return one(pl.ds(whole * CHUNK, length % CHUNK), carry) if length % CHUNK else carry


def _by_eights(rows: jax.Array) -> jax.Array:
    """f[r, .] summed to f[8, .]: register by register."""
    return rows.reshape(rows.shape[0] // 8, 8, rows.shape[1]).sum(axis=0)


def output(
    plan: Plan, given: Inputs, out: Outputs, scratch: Scratch, step: jax.Array, hidden: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The sums of squared errors f[T, 128], and errors times rows f[T, width]; errors are kept."""
    path, places, width = given.shared_path, plan.places, hidden.shape[1]
    of_errors = [
        path[step, 1 + past]
        * scratch.scales[past]
        * (1 + lane_sum(scratch.features[past] * hidden, places))
        for past in range(plan.steps)
    ]
    start = jnp.full_like(of_errors[0], 1 + path[step, 0])
    weights = _beside(plan, start, of_errors, -1.0)
    factors = (1 + path[step, 0]) * hidden
    of_clients = []
    for client in range(hidden.shape[0]):

        def one(
            rows: Any,
            sums: tuple[jax.Array, ...],
            client: int = client,
            factor: jax.Array = factors[client : client + 1],
            weight: jax.Array = weights[client : client + 1],
        ) -> tuple[jax.Array, ...]:
            own, beside = given.rows[client, rows, :], out.beside[client, rows, :]
            errors = lane_sum(sum(lanes.registers(own * factor), beside * weight), places)
            now = lanes.features(len(beside), places) == 1 + step
            out.beside[client, rows, :] = jnp.where(now, errors, beside)
            terms = errors * errors, wide(errors, width) * own, errors * beside
            return tuple(total + _by_eights(term) for total, term in zip(sums, terms, strict=True))

        begin = tuple(jnp.zeros((8, size), jnp.float32) for size in (LANES, width, LANES))
        of_clients.append(_sweep(given.rows.shape[1], one, begin))
    squared, back, alike = (
        jnp.concatenate([jnp.sum(total, axis=0, keepdims=True) for total in totals], axis=0)
        for totals in zip(*of_clients, strict=True)
    )
    back = (1 + path[step, 0]) * back
    kind = lanes.features(hidden.shape[0], places)
    for past in range(plan.steps):
        with_past = lane_sum(jnp.where(kind == 1 + past, alike, 0), places)
        weight = path[step, 1 + past] * scratch.scales[past] * with_past
        back += wide(weight, width) * scratch.features[past]
    return squared, back


def end_rows(plan: Plan, given: Inputs, out: Outputs, scratch: Scratch) -> jax.Array:
    """The changes of the rows and of the bias. Returns 0, or NaN where one is not finite."""
    path, end = given.shared_path, plan.steps
    of_errors = [path[end, 1 + past] * scratch.scales[past] for past in range(end)]
    weights = _beside(plan, jnp.full_like(of_errors[0], path[end, 0]), of_errors, 0.0)
    checks = []
    for client in range(given.rows.shape[0]):
        outer_of = _outer_of_errors(plan, scratch, of_errors, client)

        def one(
            rows: Any,
            check: jax.Array,
            client: int = client,
            weight: jax.Array = weights[client : client + 1],
            table: jax.Array = outer_of,
        ) -> jax.Array:
            beside = out.beside[client, rows, :]
            outer = jnp.dot(beside, table, precision=jax.lax.Precision.HIGHEST)
            change = path[end, 0] * given.rows[client, rows, :] + outer
            of_bias = lane_sum(beside * weight, plan.places)
            out.rows[client, rows, :] = change
            out.beside[client, rows, :] = of_bias
            return check + _by_eights(0 * (sum(lanes.registers(change), of_bias)))

        check = _sweep(given.rows.shape[1], one, jnp.zeros((8, LANES), jnp.float32))
        checks.append(jnp.sum(check, axis=0, keepdims=True))
    return jnp.concatenate(checks, axis=0)


def _outer_of_errors(
    plan: Plan, scratch: Scratch, of_errors: list[jax.Array], client: int
) -> jax.Array:
    """What is beside a row, times this, is the row's weighted sum of outer products: f[128, width].

    The error of member m in step k, times its features in that step.
    """
    width = scratch.features.shape[2]
    used = -(-plan.value_lane // 8) * 8
    row = jax.lax.broadcasted_iota(jnp.int32, (used, width), 0)
    lane = jax.lax.broadcasted_iota(jnp.int32, (used, width), 1)
    same_member = (row ^ lane) & (plan.places - 1) == 0
    table = jnp.zeros((used, width), jnp.float32)
    for past, weight in enumerate(of_errors):
        one = slice(client, client + 1)
        features = wide(weight[one], width) * scratch.features[past][one]
        table = jnp.where(
            same_member & (row >> (plan.places.bit_length() - 1) == 1 + past), features, table
        )
    rest = jnp.zeros((LANES - used, width), jnp.float32)
    return jnp.concatenate([table, rest], axis=0) if used < LANES else table
