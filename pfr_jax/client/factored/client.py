"""A client's round in this engine, member by member."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.client.factored.coefficients import Weights, after_round, during_round
from pfr_jax.client.factored.members import NO_AXIS, OF_STATE, alone, as_parameters, over_members
from pfr_jax.client.factored.outer_products import Layer, combine, empty_memory
from pfr_jax.client.factored.state import INPUT, Flat, layers_of, seen_by, start_vectors
from pfr_jax.client.factored.step import Memories, Round, dropout_masks, local_step
from pfr_jax.client.local_training import known
from pfr_jax.client.mapped import mapped_like
from pfr_jax.client.moves import moves_of_steps
from pfr_jax.client.training import ClientData, Parts
from pfr_jax.models.item_rows import flatten, nest

_OF_ROUND: Any = Round._make([0, 0, NO_AXIS, NO_AXIS, NO_AXIS])  # axes, for ``over_members``


def train_client(
    side: ClientSide,
    common: Round,
    own: ClientState,
    items: jax.Array,
    values: jax.Array,
    observed: jax.Array,
    rated: jax.Array | None,
    profile: jax.Array,
    client: jax.Array,
) -> tuple[ClientState, Flat, Memories, jax.Array]:
    """All local steps of one client (arrays as in ``Bucket``, for one client).

    Returns its new state, the change of its shared vectors and rows, the outer products of all
    steps, and the mean loss.
    """
    training = side.training
    told = known(observed, rated, uploaded=INPUT in common.public.shared.rows)
    data = ClientData(
        *(training.inputs(values, told)[0], profile[0], values[0], observed[0]),
        rated=None if rated is None else rated[0],
    )
    key = jax.random.fold_in(common.key, client)
    masks = dropout_masks(training, key, values.dtype)
    seen = common._replace(public=Parts(*(seen_by(side, p, items) for p in common.public)))
    train = over_members(
        side,
        partial(_train_member, alone(side), data),
        in_axes=(_OF_ROUND, OF_STATE, 1),
        out_axes=(OF_STATE, 0, 0, 0),
    )
    new, delta, memories, loss = train(seen, own, masks)
    delta = as_parameters(side, delta)
    if side.compressor:
        whole, residual = side.upload(nest(delta), own.residual, items, key)
        new, delta = dataclasses.replace(new, residual=residual), flatten(whole)
    return new, delta, memories, loss.mean()


def _train_member(
    side: ClientSide, data: ClientData, common: Round, own: ClientState, masks: jax.Array | None
) -> tuple[ClientState, Flat, Memories, jax.Array]:
    """``train_client`` for one member of it, before anything is encoded.

    ``common`` holds the client's view of what is public; ``masks`` are dropout's, f[K, code].
    """
    training, public, paths = side.training, common.public, common.paths
    optimizer = training.optimizer
    start = start_vectors(public)
    vectors = Parts(jax.tree.map(jnp.add, start.private, own.private["vectors"]), start.shared)
    opt = Parts(
        own.private_opt if side.carry.private else optimizer.private.init(vectors.private),
        own.shared_opt["vectors"] if side.carry.shared else optimizer.shared.init(vectors.shared),
    )
    layers = layers_of(side, public, common.transposed, own, data.inputs)
    memories = {name: empty_memory(layer, training.local_epochs) for name, layer in layers.items()}
    weights = Parts(during_round(paths.private, True), during_round(paths.shared, False))
    at = jnp.arange(training.local_epochs), weights, masks, moves_of_steps(training)
    step = partial(local_step, training, common, layers, own.constant, data, vectors.shared)
    begin = mapped_like((data.inputs, vectors), (vectors, opt, memories))
    (after, opt, memories), losses = jax.lax.scan(step, begin, at)
    delta = jax.tree.map(jnp.subtract, after.shared, vectors.shared)
    private = jax.tree.map(jnp.subtract, after.private, start.private)
    new, rows = _after_round(side, common, own, Parts(private, opt), layers, memories)
    return new, {**delta, **rows}, memories, losses.mean()


def _after_round(
    side: ClientSide,
    common: Round,
    own: ClientState,
    vectors: Parts,
    layers: dict[str, Layer],
    memories: Memories,
) -> tuple[ClientState, Flat]:
    """The client's new state, and the change of its rows of the shared part; of the hidden
    matrices too, where changes are needed as a whole.

    ``vectors`` are the private ones, as they are kept, and the optimizer states of all.
    """
    public, paths = common.public, common.paths
    private, shared = after_round(paths.private, True), after_round(paths.shared, False)
    change = jax.tree.map(lambda leaf: leaf[:1], shared)
    moments = jax.tree.map(lambda leaf: leaf[1:], shared)

    def combined(names: Flat, weights: Weights) -> Flat:
        return {name: combine(layers[name], weights, memories[name]) for name in names}

    rows = {f"{n}/item_kernel": r[0] for n, r in combined(public.shared.rows, change).items()}
    if side.whole_changes:
        rows |= {f"{n}/kernel": m[0] for n, m in combined(public.shared.dense, change).items()}
    opt = vectors.shared
    shared_opt = {
        "vectors": opt.shared,
        "dense": combined(public.shared.dense, moments),
        "rows": combined(public.shared.rows, moments),
    }
    new = dataclasses.replace(
        own,
        private={
            "vectors": vectors.private,
            "dense": combined(public.private.dense, private),
        },
        private_opt=opt.private if side.carry.private else None,
        shared_opt=shared_opt if side.carry.shared else None,
        rounds=own.rounds + 1,
    )
    return new, rows
