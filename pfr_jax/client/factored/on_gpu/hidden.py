"""The hidden layers of a member, with the norms behind them. Legend as in ``records``."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pfr_jax.client.factored.kernel import Layer
from pfr_jax.client.factored.on_gpu.records import Inputs, Memory, Outputs, Plan
from pfr_jax.models.layers import NORM_EPSILON


def norm_tanh(
    inputs: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array]]]:
    """``NormTanh`` and its way back: gradients of the inputs, the scale and the bias."""
    (features,) = inputs.shape

    def mean(vector: jax.Array) -> jax.Array:
        return jnp.sum(vector) / features

    centred = inputs - mean(inputs)
    inverse = jax.lax.rsqrt(mean(centred * centred) + NORM_EPSILON)
    normal = centred * inverse
    outputs = jnp.tanh(normal * scale + bias)

    def back(gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        of_bias = gradient * (1 - outputs * outputs)
        of_normal = of_bias * scale
        across = mean(of_normal) + normal * mean(of_normal * normal)
        return inverse * (of_normal - across), of_bias * normal, of_bias

    return outputs, back


def product(
    plan: Plan, layer: Layer, given: Inputs, memory: Memory, step: jax.Array, inputs: jax.Array
) -> jax.Array:
    """W_k^T h, f[m]."""
    begun = jnp.sum(_begun(layer, given, step) * inputs[:, None], axis=0)
    seen, deltas = memory.inputs[layer.name], memory.deltas[layer.name]
    return begun + of_past(_past(plan, layer, given, step), seen, inputs, deltas)


def product_back(
    plan: Plan, layer: Layer, given: Inputs, memory: Memory, step: jax.Array, delta: jax.Array
) -> jax.Array:
    """W_k d, f[n]."""
    begun = jnp.sum(_begun(layer, given, step) * delta[None, :], axis=1)
    seen, deltas = memory.inputs[layer.name], memory.deltas[layer.name]
    return begun + of_past(_past(plan, layer, given, step), deltas, delta, seen)


def of_past(
    weights: jax.Array, alike_to: jax.Array, vector: jax.Array, adds: jax.Array
) -> jax.Array:
    """What the steps so far add to a product with ``vector``: as far as it is like ``alike_to``,
    f[P, n], so much of ``adds``, f[P, m], each with its weight f[P]."""
    alike = weights * jnp.sum(alike_to * vector[None, :], axis=1)
    return jnp.sum(alike[:, None] * adds, axis=0)


def _kept(given: Inputs, layer: Layer) -> int:
    """S of the layer: how many of its matrix's moments were carried into the round."""
    return given.stacks[layer.name].shape[0] - 1 if layer.private else 0


def _past(plan: Plan, layer: Layer, given: Inputs, step: jax.Array) -> jax.Array:
    """Weights of the steps so far in this one's matrix, f[P]."""
    if not layer.private:
        return given.shared_path[step, 1 : 1 + plan.places]
    kept = _kept(given, layer)
    return given.private_path[step, 1 + kept : 1 + kept + plan.places]


def _begun(layer: Layer, given: Inputs, step: jax.Array) -> jax.Array:
    """What of a step's matrix was there when the round began: W_0 and the carried moments."""
    start = given.matrices[layer.name][...]
    if not layer.private:
        return (1 + given.shared_path[step, 0]) * start
    path, stack = given.private_path, given.stacks[layer.name]
    total = (1 + path[step, 0]) * (start + stack[0])
    for moment in range(1, 1 + _kept(given, layer)):
        total += path[step, moment] * stack[moment]
    return total


def end_matrices(plan: Plan, given: Inputs, out: Outputs, memory: Memory) -> None:
    """The new differences and moments of the private matrices."""
    for layer in plan.layers:
        if not layer.private:
            continue
        stack, kept = given.stacks[layer.name], _kept(given, layer)
        basis = [given.matrices[layer.name][...] + stack[0], *(stack[1 + s] for s in range(kept))]
        for kind in range(1 + kept):
            path, at = (
                (given.private_moments, kind - 1) if kind else (given.private_path, plan.steps)
            )
            new = jnp.zeros_like(basis[0]) if kind else stack[0]
            for place, matrix in enumerate(basis):
                new += path[at, place] * matrix
            for step in range(plan.steps):
                left = row_of(memory.inputs[layer.name], step) * path[at, 1 + kept + step]
                new += left[:, None] * row_of(memory.deltas[layer.name], step)[None, :]
            out.stacks[layer.name][kind] = new


def row_of(table: jax.Array, index: int) -> jax.Array:
    """A row of f[P, n], which registers have no name for."""
    there = jax.lax.broadcasted_iota(jnp.int32, table.shape, 0) == index
    return jnp.sum(jnp.where(there, table, 0), axis=0)
