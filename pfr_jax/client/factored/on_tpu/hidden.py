"""The hidden layers of T clients, with the norms behind them. Legend as in ``records``."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.factored.kernel import Layer
from pfr_jax.client.factored.on_tpu import lanes
from pfr_jax.client.factored.on_tpu.lanes import lane_sum, wide
from pfr_jax.client.factored.on_tpu.records import Inputs, Outputs, Plan, Scratch
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


def _kept(given: Inputs, layer: Layer) -> int:
    """S of the layer: how many of its matrix's moments were carried into the round."""
    return given.stacks[layer.name].shape[1] - 1 if layer.private else 0


def _begun(
    layer: Layer, given: Inputs, scratch: Scratch, step: jax.Array, client: int
) -> jax.Array:
    """What of a step's matrix was there when the round began: W_0 and the carried moments."""
    path = _path(given, layer)
    matrix: jax.Array = (
        scratch.whole[layer.name][client] if layer.private else given.matrices[layer.name][...]
    )
    kept = _kept(given, layer)
    if not kept:
        return matrix  # ``_with_past`` weighs it; a product is smaller than a matrix
    moments = [path[step, 1 + s] * given.stacks[layer.name][client, 1 + s] for s in range(kept)]
    return sum(moments, (1 + path[step, 0]) * matrix)


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
    each = [
        lanes.times(inputs[c : c + 1], _begun(layer, given, scratch, step, c), plan.places)
        for c in range(inputs.shape[0])
    ]
    memory = out.inputs[layer.name], out.deltas[layer.name]
    return _with_past(plan, layer, given, step, jnp.concatenate(each, axis=0), inputs, *memory)


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
    each = [
        lanes.times_transposed(
            delta[c : c + 1], _begun(layer, given, scratch, step, c), plan.places
        )
        for c in range(delta.shape[0])
    ]
    memory = out.deltas[layer.name], out.inputs[layer.name]
    return _with_past(plan, layer, given, step, jnp.concatenate(each, axis=0), delta, *memory)


def _with_past(
    plan: Plan,
    layer: Layer,
    given: Inputs,
    step: jax.Array,
    begun: jax.Array,
    vector: jax.Array,
    alike_to: Any,
    adds: Any,
) -> jax.Array:
    """A product with W_k: ``begun`` is that with ``_begun``, and the outer products of the steps so
    far add ``adds`` as far as ``vector`` is like ``alike_to``, both f[K, 1, T, width]."""
    path, kept = _path(given, layer), _kept(given, layer)
    total = begun if kept else (1 + path[step, 0]) * begun
    for past in range(plan.steps):
        alike = path[step, 1 + kept + past] * lane_sum(alike_to[past, 0] * vector, plan.places)
        total += wide(alike, total.shape[1]) * adds[past, 0]
    return total


def end_matrices(plan: Plan, given: Inputs, out: Outputs, scratch: Scratch) -> None:
    """The new differences and moments of the private matrices."""
    for layer in plan.layers:
        if not layer.private:
            continue
        stack, whole = given.stacks[layer.name], scratch.whole[layer.name]
        inputs, deltas = out.inputs[layer.name], out.deltas[layer.name]
        kept = _kept(given, layer)
        for client in range(given.rows.shape[0]):
            one = slice(client, client + 1)
            basis = [whole[client], *(stack[client, 1 + s] for s in range(kept))]
            columns = [lanes.on_rows(inputs[k, 0][one], plan.places) for k in range(plan.steps)]
            columns = [wide(column, whole.shape[2]) for column in columns]
            for kind in range(1 + kept):
                path, at = (
                    (given.private_moments, kind - 1) if kind else (given.private_path, plan.steps)
                )
                change = sum(path[at, b] * matrix for b, matrix in enumerate(basis))
                for k, column in enumerate(columns):
                    change += column * (path[at, 1 + kept + k] * deltas[k, 0][one])
                new = change if kind else stack[client, 0] + change
                out.stacks[layer.name][client, kind] = new
