"""The hidden layers of T clients, with the norms behind them. Legend as in ``records``."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.factored.on_chip import lanes
from pfr_jax.client.factored.on_chip.lanes import lane_sum, wide
from pfr_jax.client.factored.on_chip.records import Inputs, Layer, Outputs, Plan, Scratch
from pfr_jax.client.factored.state import Flat
from pfr_jax.models.layers import NORM_EPSILON


def norm_tanh(
    plan: Plan, name: str, features: int, inputs: jax.Array, vectors: Flat
) -> tuple[jax.Array, Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array]]]:
    """``NormTanh`` and its way back: gradients of the inputs, the scale and the bias."""
    places, width = plan.places, inputs.shape[1]
    scale = vectors[f"{name}/scale"]
    lane = jax.lax.broadcasted_iota(jnp.int32, inputs.shape, 1)

    def mean(vector: jax.Array) -> jax.Array:
        return wide(lane_sum(vector, places) / features, width)

    def there(vector: jax.Array) -> jax.Array:
        return (
            vector if width == features * places else jnp.where(lane < features * places, vector, 0)
        )

    centred = there(inputs - mean(inputs))
    inverse = jax.lax.rsqrt(mean(centred * centred) + NORM_EPSILON)
    normal = centred * inverse
    outputs = jnp.tanh(normal * scale + vectors[f"{name}/bias"])

    def back(gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        of_bias = gradient * (1 - outputs * outputs)
        of_normal = of_bias * scale
        across = mean(of_normal) + normal * mean(of_normal * normal)
        return there(inverse * (of_normal - across)), of_bias * normal, of_bias

    return outputs, back


def _path(given: Inputs, layer: Layer) -> Any:
    return given.private_path if layer.private else given.shared_path


def _matrix(layer: Layer, given: Inputs, scratch: Scratch, client: int) -> jax.Array:
    """What the client began the round with."""
    whole: jax.Array = (
        scratch.whole[layer.name][client] if layer.private else given.matrices[layer.name][...]
    )
    return whole


def product(
    plan: Plan,
    layer: Layer,
    given: Inputs,
    out: Outputs,
    scratch: Scratch,
    step: jax.Array,
    inputs: jax.Array,
) -> jax.Array:
    """W_k^T h of all clients, f[T, width_m]."""
    path, places = _path(given, layer), plan.places
    each = [
        lanes.times(inputs[c : c + 1], _matrix(layer, given, scratch, c), places)
        for c in range(inputs.shape[0])
    ]
    memory = out.inputs[layer.name], out.deltas[layer.name]
    return _with_past(plan, path, step, jnp.concatenate(each, axis=0), inputs, *memory)


def product_back(
    plan: Plan,
    layer: Layer,
    given: Inputs,
    out: Outputs,
    scratch: Scratch,
    step: jax.Array,
    delta: jax.Array,
) -> jax.Array:
    """W_k d of all clients, f[T, width_n]."""
    path, places = _path(given, layer), plan.places
    each = [
        lanes.times_transposed(delta[c : c + 1], _matrix(layer, given, scratch, c), places)
        for c in range(delta.shape[0])
    ]
    memory = out.deltas[layer.name], out.inputs[layer.name]
    return _with_past(plan, path, step, jnp.concatenate(each, axis=0), delta, *memory)


def _with_past(
    plan: Plan,
    path: Any,
    step: jax.Array,
    begun: jax.Array,
    vector: jax.Array,
    alike_to: Any,
    adds: Any,
) -> jax.Array:
    """A product with W_k: ``begun`` is that with W_0, and the outer products of the steps so far
    add ``adds`` as far as ``vector`` is like ``alike_to``, both f[K, 1, T, width]."""
    total = (1 + path[step, 0]) * begun
    for past in range(plan.steps):
        alike = path[step, 1 + past] * lane_sum(alike_to[past, 0] * vector, plan.places)
        total += wide(alike, total.shape[1]) * adds[past, 0]
    return total


def end_matrices(plan: Plan, given: Inputs, out: Outputs, scratch: Scratch) -> None:
    """The new differences of the private matrices."""
    for layer in plan.layers:
        if not layer.private:
            continue
        path, inputs, deltas = given.private_path, out.inputs[layer.name], out.deltas[layer.name]
        for client in range(given.rows.shape[0]):
            change = path[plan.steps, 0] * scratch.whole[layer.name][client]
            for past in range(plan.steps):
                column = lanes.on_rows(inputs[past, 0][client : client + 1], plan.places)
                row = path[plan.steps, 1 + past] * deltas[past, 0][client : client + 1]
                change += wide(column, change.shape[1]) * row
            out.differences[layer.name][client] = given.differences[layer.name][client] + change
