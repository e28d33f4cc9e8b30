"""The engine of exact low-rank local training: within a round no weight matrix is written.

For clients of one user, an optimizer that is linear (``coefficients``) and partial compression.
A layer's product W_k^T h is a sum of products with what the round began with and of K outer
products (``low_rank``); where the beginning is the same for the whole block, that is one matrix
product. A private first layer never has its matrix at all: its input x is constant, so that
W_k = alpha W_start + x (x) v for ever, and alpha and v are trained instead.

``train_client`` is written for one client and mapped once, in ``train_block``; what is summed
over clients is summed there. Legend as in ``block``; K local steps.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfr_jax.client import storage
from pfr_jax.client.block import ClientSide, ClientState, Engine, Payload, put_slots, take_slots
from pfr_jax.client.coefficients import (
    after_round,
    at_rest,
    during_round,
    trajectory,
)
from pfr_jax.client.factored_state import (
    ALPHA,
    INPUT,
    Flat,
    V,
    init,
    kinds,
    layers_of,
    of_items,
    start_vectors,
)
from pfr_jax.client.low_rank import Layer, Memory, block_sum, combine, empty_memory
from pfr_jax.client.training import (
    LocalTraining,
    Parts,
    clip_factor,
    dropout_mask,
    optimizer_step,
)
from pfr_jax.client.unpack import unpack
from pfr_jax.data.population import Bucket
from pfr_jax.model import features, predict
from pfr_jax.rows import Tree, nest, take_rows

Memories = dict[str, Memory]  # by layer


class Round(NamedTuple):
    """What all clients of a round have in common."""

    public: Parts  # of Kinds: the private part's start, and the shared part as the server has it
    paths: Parts  # of Trajectory
    key: jax.Array
    learning_rate: jax.Array


def train_block(
    side: ClientSide,
    start: Tree,
    shared: Tree,
    states: ClientState,
    bucket: Bucket,
    slots: jax.Array,
    key: jax.Array,
    learning_rate: jax.Array,
) -> tuple[ClientState, Payload, jax.Array]:
    """See ``Engine.train_block``."""
    public = Parts(kinds(start), kinds(shared))
    common = Round(public, _trajectories(side, learning_rate), key, learning_rate)
    tables = bucket.items, bucket.values, bucket.observed, bucket.profile, bucket.client
    data = take_slots(tables, slots)
    # Read once, here: fused into its uses, the reading would come after the writing below, and
    # the compiler would copy the whole stack for it.
    stored = jax.lax.optimization_barrier(take_slots(states, slots))
    own = jax.vmap(partial(storage.read, dtype=bucket.values.dtype))(stored)
    new, delta, memories, loss = jax.vmap(partial(train_client, side, common))(own, *data)
    states = put_slots(states, slots, jax.vmap(storage.write)(new, stored, _keys(key, data[-1])))

    present = slots < len(bucket)
    weight = present.astype(loss.dtype)
    for name in public.shared.vectors:
        if not of_items(name):
            delta[name] = jnp.tensordot(weight, delta[name], axes=1)
    change = jax.tree.map(lambda leaf: leaf[0], after_round(common.paths.shared, private=False))
    for name, matrix in public.shared.dense.items():
        moments = own.shared_opt["dense"][name] if side.carry.shared else None
        summed = block_sum(matrix, moments, change, memories[name], weight)
        delta[f"{name}/kernel"] = summed
    items = jnp.where(present[:, None], data[0], side.training.model.num_items)
    return states, Payload(nest(delta), items, weight), loss


def _keys(key: jax.Array, clients: jax.Array) -> jax.Array:
    """A key per client for what is stored, apart from those of its local steps, 0..K-1."""
    last = jnp.uint32(2**32 - 1)
    return jax.vmap(lambda c: jax.random.fold_in(jax.random.fold_in(key, c), last))(clients)


def _trajectories(side: ClientSide, learning_rate: jax.Array) -> Parts:
    training, carry = side.training, side.carry
    optimizer, steps = training.optimizer, training.local_epochs
    private = trajectory(optimizer, steps, carry.private, learning_rate)
    if training.train_shared:
        return Parts(private, trajectory(optimizer, steps, carry.shared, learning_rate))
    return Parts(private, at_rest(optimizer, steps, carry.shared, learning_rate.dtype))


def train_client(
    side: ClientSide,
    common: Round,
    own: ClientState,
    items: jax.Array,
    values: jax.Array,
    observed: jax.Array,
    profile: jax.Array,
    client: jax.Array,
) -> tuple[ClientState, Flat, Memories, jax.Array]:
    """All local steps of one client (arrays as in ``Bucket``, for one client).

    Returns its new state, the change of its shared vectors and rows, the outer products of all
    steps, and the mean loss.
    """
    training, public = side.training, common.public
    x, seen = values[0], observed[0]
    start = start_vectors(public, items)
    vectors = Parts(jax.tree.map(jnp.add, start.private, own.private["vectors"]), start.shared)
    opt = Parts(
        own.private_opt if side.carry.private else training.optimizer.init(vectors.private),
        own.shared_opt["vectors"] if side.carry.shared else training.optimizer.init(vectors.shared),
    )
    layers = layers_of(side, public, own, items, x)

    def local_step(carry: Any, at: tuple[jax.Array, Parts, Any]) -> Any:
        vectors, opt, memories = carry
        step, weights, mask = at

        def product(name: str) -> Any:
            of_part = weights.private if name in public.private.dense else weights.shared
            return partial(layers[name].product, of_part, memories[name])

        products = {name: product(name) for name in layers}
        if INPUT not in layers:
            products[INPUT] = partial(_private_input, own.constant, x, vectors.private)
        batch = x, seen, profile[0], mask
        loss, grads, inputs = _gradients(training, products, vectors, batch)
        grads = _clip(training, grads, inputs, layers, x)
        deltas = {**grads.private, **grads.shared}
        memories = {
            name: memory.remember(step, inputs[name], deltas[_bias(name, deltas)])
            for name, memory in memories.items()
        }
        vectors, opt = _step(training, vectors, grads, opt, common.learning_rate)
        return (vectors, opt, memories), loss

    steps = training.local_epochs
    memories = {name: empty_memory(layer, steps) for name, layer in layers.items()}
    masks = _masks(training, jax.random.fold_in(common.key, client), x.dtype)
    paths = common.paths
    weights = Parts(during_round(paths.private, True), during_round(paths.shared, False))
    at = jnp.arange(steps), weights, masks
    (after, opt, memories), losses = jax.lax.scan(local_step, (vectors, opt, memories), at)

    delta = jax.tree.map(jnp.subtract, after.shared, vectors.shared)
    ended = Parts(after_round(paths.private, True), after_round(paths.shared, False))
    kept = jax.tree.map(lambda leaf: leaf[1:], ended.shared)  # the moments
    for name in public.shared.rows:
        change = jax.tree.map(lambda leaf: leaf[:1], ended.shared)
        delta[f"{name}/item_kernel"] = combine(layers[name], change, memories[name])[0]
    new = ClientState(
        private={
            "vectors": jax.tree.map(jnp.subtract, after.private, start.private),
            "dense": {
                name: combine(layers[name], ended.private, memories[name])
                for name in public.private.dense
            },
        },
        private_opt=opt.private if side.carry.private else None,
        shared_opt={
            "vectors": opt.shared,
            "dense": {n: combine(layers[n], kept, memories[n]) for n in public.shared.dense},
            "rows": {n: combine(layers[n], kept, memories[n]) for n in public.shared.rows},
        }
        if side.carry.shared
        else None,
        rounds=own.rounds + 1,
        constant=own.constant,
    )
    return new, delta, memories, losses.mean()


def _private_input(
    projection: jax.Array, x: jax.Array, vectors: Flat, inputs: jax.Array
) -> jax.Array:
    """(alpha W_start + x (x) v)^T x, f[H]. Its gradients are not those of alpha and v."""
    del inputs
    return jax.lax.stop_gradient(vectors[ALPHA] * projection + jnp.vdot(x, x) * vectors[V])


def _bias(layer: str, vectors: Flat) -> str:
    """The path of a layer's bias, whose gradient is that at the layer's output."""
    return f"{layer}/bias" if f"{layer}/bias" in vectors else f"{layer}/item_bias"


def _gradients(
    training: LocalTraining, products: dict[str, Any], vectors: Parts, batch: Any
) -> tuple[jax.Array, Parts, Flat]:
    """Loss, gradients of the vectors, and the inputs of all layers, for ``batch``.

    v of a private first layer gets the gradient at its output, without the factor |x|^2 of the
    chain rule: the gradient of W is x (x) that. alpha gets 0.
    """
    x, seen, profile, mask = batch

    def loss_of(vectors: Parts) -> tuple[jax.Array, Flat]:
        both = {**vectors.private, **vectors.shared}
        inputs = {}

        def layer(name: str, product: Any, value: jax.Array) -> jax.Array:
            inputs[name] = value
            return product(value) + both[_bias(name, both)]

        layers = {name: partial(layer, name, product) for name, product in products.items()}
        output = predict(training.model, nest(both), x, profile, mask, layers)
        return training.loss(output[None], x[None], seen[None]), inputs

    (loss, inputs), grads = jax.value_and_grad(loss_of, has_aux=True)(vectors)
    if V in grads.private:
        grads.private[V] = grads.private[f"{INPUT}/bias"]
    if not training.train_shared:
        grads = grads._replace(shared=jax.tree.map(jnp.zeros_like, grads.shared))
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


def _step(
    training: LocalTraining, vectors: Parts, grads: Parts, opt: Parts, learning_rate: jax.Array
) -> tuple[Parts, Parts]:
    new = [
        optimizer_step(training.optimizer, *part, learning_rate)
        for part in zip(vectors, grads, opt, strict=True)
    ]
    if not training.train_shared:
        new[1] = vectors.shared, opt.shared
    return Parts(*(v for v, _ in new)), Parts(*(o for _, o in new))


def _masks(training: LocalTraining, key: jax.Array, dtype: Any) -> jax.Array | None:
    """Dropout's multipliers for all local steps, f[K, code]: those of the other engine."""
    if not training.dropout:
        return None

    def one(step: jax.Array) -> jax.Array | None:
        masks = dropout_mask(training, jax.random.fold_in(key, step), jnp.arange(1), dtype)
        return None if masks is None else masks[0]

    return jax.vmap(one)(jnp.arange(training.local_epochs))


def features_of_user(
    side: ClientSide,
    start: Tree,
    shared: Tree,
    state: ClientState,
    items: jax.Array,
    values: jax.Array,
    profile: jax.Array,
) -> jax.Array:
    """See ``Engine.features``; f[1, H]."""
    own = storage.read(state, values.dtype)
    public = Parts(kinds(start), kinds(shared))
    vectors = jax.tree.map(jnp.add, start_vectors(public, items).private, own.private["vectors"])
    weights = {
        f"{name}/kernel": matrix + own.private["dense"][name][0]
        for name, matrix in public.private.dense.items()
    }
    params = {**nest({**vectors, **weights}), **take_rows(shared, items)}
    x, layers = values[0], {}
    if INPUT in public.private.rows:
        first = _private_input(own.constant, x, vectors, x) + vectors[f"{INPUT}/bias"]
        layers = {INPUT: lambda ratings: first}
    return features(side.training.model, params, x, profile[0], layers)[None]


FACTORED = Engine("factored", init, train_block, features_of_user, unpack)
