"""A block of clients through ``client_round.cc``: what it is handed, and what becomes of that.

It computes what ``client.train_client`` does for every client of a block, and renews the stacks of
matrices where they lie. Vectors are small: they are taken and put here. Legend as in the kernel: B
clients of the block, G members, L item rows, H and C the hidden sizes, K local steps, P and S the
moments carried of the private and the shared part.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pfr_jax.client.block import ClientSide, ClientState, put_slots, take_slots
from pfr_jax.client.factored import storage
from pfr_jax.client.factored.members import members_first
from pfr_jax.client.factored.outer_products import Memory
from pfr_jax.client.factored.state import ALPHA, INPUT, Flat, V
from pfr_jax.client.factored.step import Round, dropout_masks
from pfr_jax.client.screening import Verdict, judge
from pfr_jax.models.item_rows import of_items
from pfr_jax.models.losses import ByRating
from pfr_jax.population.population import Bucket

TARGET = "pfr_jax_client_round"
ENCODER, DECODER, OUTPUT = "encoder/linear_1", "decoder/linear_0", "decoder/output"
# The vectors of a part, in the kernel's order.
PRIVATE = (
    *(f"{INPUT}/bias", "encoder/norm_0/scale", "encoder/norm_0/bias"),
    *(f"{ENCODER}/bias", "encoder/norm_1/scale", "encoder/norm_1/bias"),
    *(V, ALPHA),
)
SHARED = (
    *(f"{DECODER}/bias", "decoder/norm_0/scale", "decoder/norm_0/bias"),
    f"{OUTPUT}/item_bias",
)


class Trained(NamedTuple):
    """What comes of a block."""

    states: ClientState  # the whole stacks, these clients' renewed
    delta: Flat  # changes of shared vectors and of item rows, f[B, ...]
    memory: Memory  # of the shared hidden matrix, f[B, (G,) K, .]
    moments: jax.Array  # f[S, C, H, (G)], its moments before the round, added up over the block
    verdict: Verdict
    loss: jax.Array  # f[B]


def train_clients(
    side: ClientSide, common: Round, states: ClientState, bucket: Bucket, slots: jax.Array
) -> Trained:
    """All local steps of the clients in these slots (i32[B])."""
    training, (private, shared), paths = side.training, common.public, common.paths
    items, values, observed, client = take_slots(
        (bucket.items, bucket.values[:, 0], bucket.observed[:, 0], bucket.client), slots
    )
    inputs = training.inputs(values, observed)
    own = storage.take(_vectors_of(states), slots)
    own = jax.vmap(lambda state: storage.read(state, values.dtype))(own)
    own = jax.lax.optimization_barrier(own)
    begin = _private_begin(side, private.vectors, own.private)
    own_basis = _basis(side, PRIVATE, jax.tree.map(jnp.add, begin, own.private), own.private_opt)
    seen = _seen(side, shared.vectors, items)
    shared_basis = _basis(side, SHARED, seen, own.shared_opt)
    stacks = _stacks(states)
    operands = (
        *(slots, states.rounds, items, values, jnp.square(inputs).sum(axis=1)),
        _masks(side, common, client, values.dtype),
        *(own.constant, own_basis, shared_basis),
        *(*paths.private, *paths.shared),
        *(_matrix(side, private.dense[ENCODER]), _matrix(side, shared.dense[DECODER])),
        *(shared.rows[OUTPUT], *stacks),
    )
    results = _results(side, common, items, own_basis, shared_basis, stacks)
    first = len(operands) - len(stacks)
    usual = training.loss.usual if isinstance(training.loss, ByRating) else 0.0
    call = jax.ffi.ffi_call(TARGET, results, input_output_aliases={first + i: i for i in range(3)})
    found = call(*operands, clip=np.float32(training.clip_norm), usual=np.float32(usual))
    own_after, shared_after, rows, sent, deltas, moments, losses = found[3:]

    loss = losses.mean(axis=1)
    verdict = judge(slots < len(bucket), {}, {}, loss, side.max_update_norm)
    change = _split(PRIVATE, own.private, own_after[:, :, 0])
    new = dataclasses.replace(
        own,
        private=jax.tree.map(jnp.add, own.private, change),
        private_opt=_moved(PRIVATE, own.private_opt, own_after),
        shared_opt=_moved(SHARED, own.shared_opt, shared_after),
        rounds=own.rounds + 1,
    )
    new = put_slots(_vectors_of(states), verdict.slots(slots), new)
    sums = {
        name: _members_last(side, leaf, 1)
        for name, leaf in _split(SHARED, seen, shared_after[:, :, 0]).items()
    }
    memory = Memory(sent, deltas)
    if training.model.members == 1:
        memory = jax.tree.map(lambda leaf: leaf[:, 0], memory)
    return Trained(
        *(_with_stacks(states, new, found[:3]), {**sums, f"{OUTPUT}/item_kernel": rows}, memory),
        *(_members_last(side, moments, 0), verdict, verdict.only(loss)),
    )


def _results(
    side: ClientSide,
    common: Round,
    items: jax.Array,
    own: jax.Array,
    shared: jax.Array,
    stacks: Any,
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The shapes of what the kernel hands back, its stacks first."""
    members, steps = side.training.model.members, side.training.local_epochs
    table, matrix = common.public.shared.rows[OUTPUT], common.public.shared.dense[DECODER]
    code, wide = matrix.shape[:2]
    shapes = (
        *(array.shape for array in (*stacks, own, shared)),
        (*items.shape, *table.shape[1:]),
        *((len(items), members, steps, code), (len(items), members, steps, wide)),
        (members, len(common.paths.shared.moments), code, wide),
        (len(items), members),
    )
    return tuple(jax.ShapeDtypeStruct(shape, table.dtype) for shape in shapes)


def _matrix(side: ClientSide, matrix: jax.Array) -> jax.Array:
    """f[G, n, m] from f[n, m, (G)]."""
    return members_first(side, matrix).reshape(side.training.model.members, *matrix.shape[:2])


def _members_last(side: ClientSide, leaf: jax.Array, axis: int) -> jax.Array:
    """A leaf with the members on this axis as the rest of the package has it."""
    if side.training.model.members == 1:
        return leaf.squeeze(axis)
    return jnp.moveaxis(leaf, axis, -1)


def _masks(side: ClientSide, common: Round, clients: jax.Array, dtype: Any) -> jax.Array:
    """Dropout's multipliers, f[B, K, (G,) C]; without dropout f[B, 0]."""
    if not side.training.dropout:
        return jnp.zeros((len(clients), 0), dtype)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(common.key, clients)

    def of_client(key: jax.Array) -> jax.Array:
        masks = dropout_masks(side.training, key, dtype)
        assert masks is not None
        return masks

    return jax.vmap(of_client)(keys)


def _vectors_of(states: ClientState) -> ClientState:
    """The states without their matrices."""
    shared_opt = None if states.shared_opt is None else states.shared_opt["vectors"]
    return dataclasses.replace(states, private=states.private["vectors"], shared_opt=shared_opt)


def _stacks(states: ClientState) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The matrices of states: the private stack, the moments of the shared matrix and of rows."""
    encoder = states.private["dense"][ENCODER]
    if states.shared_opt is None:
        return encoder, *[jnp.zeros((0,), encoder.dtype)] * 2
    return encoder, states.shared_opt["dense"][DECODER], states.shared_opt["rows"][OUTPUT]


def _with_stacks(states: ClientState, vectors: ClientState, stacks: Any) -> ClientState:
    """The states that fall into these vectors and stacks."""
    shared_opt = None
    if states.shared_opt is not None:
        dense, rows = {DECODER: stacks[1]}, {OUTPUT: stacks[2]}
        shared_opt = {"vectors": vectors.shared_opt, "dense": dense, "rows": rows}
    private = {"vectors": vectors.private, "dense": {ENCODER: stacks[0]}}
    return dataclasses.replace(vectors, private=private, shared_opt=shared_opt)


def _private_begin(side: ClientSide, public: Flat, own: Flat) -> Flat:
    """The common start of the private vectors, for each leaf of ``own`` f[B, (G,) n]."""
    begin = {name: members_first(side, leaf) for name, leaf in public.items()}
    begin |= {ALPHA: jnp.ones(()), V: jnp.zeros(())}
    return {name: jnp.broadcast_to(begin[name], leaf.shape) for name, leaf in own.items()}


def _seen(side: ClientSide, public: Flat, items: jax.Array) -> Flat:
    """The shared vectors as the clients see them, f[B, G, n]."""
    members = side.training.model.members

    def one(name: str) -> jax.Array:
        leaf = public[name]
        if of_items(name):
            leaf = leaf.at[items].get(mode="clip")
        else:
            leaf = jnp.broadcast_to(leaf, (len(items), *leaf.shape))
        if members > 1:
            leaf = jnp.moveaxis(leaf, -1, 1)
        return leaf.reshape(len(items), members, -1)

    return {name: one(name) for name in SHARED}


def _basis(side: ClientSide, names: tuple[str, ...], vectors: Flat, opt: Any) -> jax.Array:
    """What vectors are sums of, beside gradients: themselves and the moments carried, one after
    the other, f[B, G, 1 + moments, all]."""
    moment = optax.tree.get(opt, "trace") if opt is not None else None
    kinds = [vectors] if moment is None else [vectors, moment]

    def flat(kind: Flat) -> jax.Array:
        shape = len(kind[names[0]]), side.training.model.members, -1
        return jnp.concatenate([kind[name].reshape(shape) for name in names], axis=-1)

    return jnp.stack([flat(kind) for kind in kinds], axis=2)


def _split(names: tuple[str, ...], like: Flat, flat: jax.Array) -> Flat:
    """f[B, G, all] as the leaves that it was made of, each f[B, ...] as in ``like``."""
    split, begin = {}, 0
    for name in names:
        width = like[name].size // (flat.shape[0] * flat.shape[1])
        split[name] = flat[..., begin : begin + width].reshape(like[name].shape)
        begin += width
    return split


def _moved(names: tuple[str, ...], opt: Any, after: jax.Array) -> Any:
    """The optimizer state of vectors with the moments (if any) of f[B, G, 1 + moments, all]."""
    if opt is None or (before := optax.tree.get(opt, "trace")) is None:
        return opt
    return optax.tree.set(opt, trace=_split(names, before, after[:, :, 1]))
