"""One local step of a factored client: the vectors move, the outer products are remembered.

Written for one member of one client; ``client`` scans it over the steps and maps it over members.
What the differentiation sees are the vectors alone: the gradient of a layer's bias is the gradient
at its output, which is all that its weight matrix needs.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfr_jax.client.factored.outer_products import Layer, Memory
from pfr_jax.client.factored.state import ALPHA, INPUT, Flat, V
from pfr_jax.client.local_training import Losses, dropout_mask, gradients, with_and_without_decoys
from pfr_jax.client.moves import clip_factor, move, of_moving_parts, with_proximal_term
from pfr_jax.client.training import ClientData, LocalTraining, Parts
from pfr_jax.models.item_rows import nest
from pfr_jax.models.model import predict

Memories = dict[str, Memory]  # by layer


class Round(NamedTuple):
    """What all clients of a round have in common."""

    public: Parts  # of Kinds: the private part's start, and the shared part as the server has it
    transposed: Flat  # of the hidden layers of both: layer -> f[m, n] (of members: f[G, m, n])
    paths: Parts  # of Trajectory
    key: jax.Array
    learning_rate: jax.Array


def local_step(
    training: LocalTraining,
    common: Round,
    layers: dict[str, Layer],
    projection: jax.Array | None,
    data: ClientData,
    begin: Flat,
    carry: tuple[Parts, Parts, Memories],
    at: tuple[jax.Array, Parts, jax.Array | None, Parts],
) -> tuple[tuple[Parts, Parts, Memories], jax.Array]:
    """One step of ``jax.lax.scan``: the vectors move, the layers' outer products are remembered.

    ``begin`` are the shared vectors as the round began.
    """
    vectors, opt, memories = carry
    step, weights, mask, moves = at
    products = {
        name: partial(
            layer.product,
            weights.private if name in common.public.private.dense else weights.shared,
            memories[name],
        )
        for name, layer in layers.items()
    }
    if projection is not None:
        products[INPUT] = partial(private_input, projection, data.inputs, vectors.private)
    loss, grads, inputs = _gradients(training, products, vectors, data, mask)
    grads = of_moving_parts(training, grads, moves)
    grads = _clip(training, grads, inputs, layers, data.inputs)
    deltas = {**grads.private, **grads.shared}
    memories = {
        name: memory.remember(step, inputs[name], deltas[_bias(name, deltas)])
        for name, memory in memories.items()
    }
    grads = with_proximal_term(training, grads, vectors.shared, begin)
    vectors, opt = move(training, vectors, grads, opt, common.learning_rate, moves)
    return (vectors, opt, memories), loss


def private_input(
    projection: jax.Array, x: jax.Array, vectors: Flat, inputs: jax.Array
) -> jax.Array:
    """(alpha W_start + x (x) v)^T x, f[H]. Its gradients are not those of alpha and v."""
    del inputs
    return jax.lax.stop_gradient(vectors[ALPHA] * projection + jnp.vdot(x, x) * vectors[V])


def _bias(layer: str, vectors: Flat) -> str:
    """The path of a layer's bias, whose gradient is that at the layer's output."""
    return f"{layer}/bias" if f"{layer}/bias" in vectors else f"{layer}/item_bias"


def _gradients(
    training: LocalTraining,
    products: dict[str, Any],
    vectors: Parts,
    data: ClientData,
    mask: jax.Array | None,
) -> tuple[jax.Array, Parts, Flat]:
    """Loss, gradients of the vectors, and the inputs of all layers; ``mask`` is dropout's.

    v of a private first layer gets the gradient at its output, without the factor |x|^2 of the
    chain rule: the gradient of W is x (x) that. alpha gets 0.
    """

    def losses_of(vectors: Parts) -> Losses:
        both = {**vectors.private, **vectors.shared}
        inputs = {}

        def layer(name: str, product: Any, value: jax.Array) -> jax.Array:
            inputs[name] = value
            return product(value) + both[_bias(name, both)]

        layers = {name: partial(layer, name, product) for name, product in products.items()}
        output = predict(training.model, nest(both), data.inputs, data.profile, mask, layers)

        def loss(observed: jax.Array) -> jax.Array:
            return training.loss(output[None], data.targets[None], observed[None])

        return with_and_without_decoys(loss, data), inputs

    loss, grads, inputs = gradients(losses_of, vectors)
    if V in grads.private:
        grads.private[V] = grads.private[f"{INPUT}/bias"]
    return loss, grads, inputs


def _clip(
    training: LocalTraining, grads: Parts, inputs: Flat, layers: dict[str, Layer], x: jax.Array
) -> Parts:
    """The gradients times the clip factor. |in (x) delta| = |in| |delta|, matrix by matrix."""
    if not training.clip_norm:
        return grads
    both = {**grads.private, **grads.shared}
    squared = {name: jnp.vdot(leaf, leaf) for name, leaf in both.items()}
    total = sum(value for name, value in squared.items() if name not in (ALPHA, V))
    for name, layer in layers.items():
        total += layer.squared_input(inputs[name]) * squared[_bias(name, both)]
    if V in both:
        total += jnp.vdot(x, x) * squared[V]
    factor = clip_factor(jnp.sqrt(total), training.clip_norm)
    return jax.tree.map(lambda leaf: leaf * factor, grads)


def dropout_masks(training: LocalTraining, key: jax.Array, dtype: Any) -> jax.Array | None:
    """Dropout's multipliers for all local steps, f[K, code] (of G members: f[K, G, code]): those
    of the other engine."""
    if not training.dropout:
        return None

    def one(step: jax.Array) -> jax.Array | None:
        masks = dropout_mask(training, jax.random.fold_in(key, step), jnp.arange(1), dtype)
        if masks is None:
            return None
        return masks.reshape(members, -1) if members > 1 else masks[0]

    members = training.model.members
    return jax.vmap(one)(jnp.arange(training.local_epochs))
