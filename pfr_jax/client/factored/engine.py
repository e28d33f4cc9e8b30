"""The engine of exact low-rank local training: within a round no weight matrix is written.

For clients of one user, an optimizer that is linear (``coefficients``) and partial compression.
A layer's product W_k^T h is a sum of products with what the round began with and of K outer
products (``low_rank``); where the beginning is the same for the whole block, that is one matrix
product. A private first layer never has its matrix at all: its input x is constant, so that
W_k = alpha W_start + x (x) v for ever, and alpha and v are trained instead.

``train_client`` is written for one client and mapped once, in ``train_block``; what is summed
over clients is summed there. A client's round is in ``client``, a local step of it in ``step``.
Legend as in ``block``; K local steps.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from pfr_jax.client.block import (
    ClientSide,
    ClientState,
    Engine,
    Payload,
    Wanted,
    hand_over,
    put_slots,
    take_slots,
)
from pfr_jax.client.factored import storage
from pfr_jax.client.factored.client import train_client
from pfr_jax.client.factored.coefficients import after_round, trajectory
from pfr_jax.client.factored.densify import unpack
from pfr_jax.client.factored.kernel import Data, by_kernel
from pfr_jax.client.factored.members import OF_STATE, alone, over_members
from pfr_jax.client.factored.outer_products import block_sum
from pfr_jax.client.factored.state import INPUT, Flat, init, kinds, start_vectors
from pfr_jax.client.factored.step import Round, private_input
from pfr_jax.client.screening import judge
from pfr_jax.client.training import Parts
from pfr_jax.models.item_rows import Tree, flatten, nest, of_items, take_rows
from pfr_jax.models.members import member_axes
from pfr_jax.models.model import Model, features
from pfr_jax.population.population import Bucket

BLOCK_BYTES = 4 * 2**20  # of what a block of clients works on; docs/decisions/engines.md


def train_block(
    side: ClientSide,
    start: Tree,
    shared: Tree,
    states: ClientState,
    bucket: Bucket,
    slots: jax.Array,
    key: jax.Array,
    learning_rate: jax.Array,
    clip: jax.Array | None = None,
) -> tuple[ClientState, Payload, jax.Array]:
    """See ``Engine.train_block``."""
    public = Parts(kinds(start), kinds(shared))
    common = Round(
        public, _transposed(side, public), _trajectories(side, learning_rate), key, learning_rate
    )
    tables = bucket.items, bucket.values, bucket.observed, bucket.rated
    data = take_slots((*tables, bucket.profile, bucket.client), slots)
    num_items, items = side.training.model.num_items, data[0]
    stored = storage.take(states, slots)
    # Read once, here: fused into its uses, the reading would come after the writing below, and
    # the compiler would copy the whole stack for it.
    own = jax.lax.optimization_barrier(
        jax.vmap(partial(storage.read, dtype=bucket.values.dtype))(stored)
    )
    if by_kernel(side, bucket):
        held = _whole_chunks(side, Data(items, data[1][:, 0], data[2][:, 0], data[-1]))
        new, delta, memories, loss = side.kernel.train(side, common, own, held)
        items = held.items
    else:
        of_block = side.over_clients(partial(train_client, side, common))
        new, delta, memories, loss = of_block(own, *data)
    delta, within = _clipped(side, delta, items, clip)
    change = jax.tree.map(lambda leaf: leaf[0], after_round(common.paths.shared, private=False))
    # Matrices and rows are most of what there is to read; their products' norms tell, of the
    # kernel's rows its loss.
    vectors = {name: delta[name] for name in public.shared.vectors if not of_items(name)}
    bounds = {name: memory.bound(change.gradients) for name, memory in memories.items()}
    real = _without_padding(delta, items < num_items)
    present = slots < len(bucket)
    verdict = judge(present, (vectors, bounds), loss, real, side.max_update_norm)
    written = jax.vmap(storage.write)(new, stored, _keys(key, data[-1]))
    states, loss = put_slots(states, verdict.slots(slots), written), verdict.only(loss)
    if side.whole_changes:
        whole = hand_over(nest(delta), items, verdict, num_items, side.fixed_point, within)
        return states, whole, loss

    weight, memories = verdict.weight, verdict.only(memories)
    for name in public.shared.vectors:
        if not of_items(name):
            delta[name] = jnp.tensordot(weight, verdict.only(delta[name]), axes=1)
    for name, matrix in public.shared.dense.items():
        moments = own.shared_opt["dense"][name] if side.carry.shared else None
        of_block = over_members(side, block_sum, (0, 1, None, 1, None))
        delta[f"{name}/kernel"] = of_block(matrix, moments, change, memories[name], weight)
    items = jnp.where(verdict.accepted[:, None], items, num_items)
    return states, Payload(nest(delta), items, weight, verdict.rejected), loss


def _whole_chunks(side: ClientSide, held: Data) -> Data:
    """With padding to as many rows as the kernel looks at together."""
    more = [(0, 0), (0, -held.items.shape[1] % side.kernel.rows)]
    return held._replace(
        items=jnp.pad(held.items, more, constant_values=side.training.model.num_items),
        values=jnp.pad(held.values, more),
        observed=jnp.pad(held.observed, more),
    )


def _without_padding(delta: Flat, there: jax.Array) -> Flat:
    """A block's changes, 0 in rows that are padding (False in bool[B, L])."""

    def one(leaf: jax.Array) -> jax.Array:
        return jnp.where(there.reshape(*there.shape, *[1] * (leaf.ndim - 2)), leaf, 0)

    return {name: one(leaf) if of_items(name) else leaf for name, leaf in delta.items()}


def _clipped(
    side: ClientSide, delta: Flat, items: jax.Array, clip: jax.Array | None
) -> tuple[Flat, jax.Array | None]:
    """``ClientSide.clipped`` for this engine's flat trees."""
    if side.mechanism is None:
        return delta, None
    nested, within = side.clipped(nest(delta), items, clip)
    return flatten(nested), within


def _keys(key: jax.Array, clients: jax.Array) -> jax.Array:
    """A key per client for what is stored, apart from those of its local steps, 0..K-1."""
    last = jnp.uint32(2**32 - 1)
    return jax.vmap(lambda c: jax.random.fold_in(jax.random.fold_in(key, c), last))(clients)


def _transposed(side: ClientSide, public: Parts) -> Flat:
    """The hidden layers' common matrices the other way around, in memory."""
    dense = {**public.private.dense, **public.shared.dense}
    turned = over_members(side, jnp.transpose)
    return jax.lax.optimization_barrier({name: turned(matrix) for name, matrix in dense.items()})


def _trajectories(side: ClientSide, learning_rate: jax.Array) -> Parts:
    training, carry = side.training, side.carry
    optimizer, moves = training.optimizer, training.moves
    return Parts(
        trajectory(optimizer.private, moves.private, carry.private, learning_rate),
        trajectory(optimizer.shared, moves.shared, carry.shared, learning_rate, training.proximal),
    )


def features_of_user(
    side: ClientSide,
    start: Tree,
    shared: Tree,
    state: ClientState,
    items: jax.Array,
    inputs: jax.Array,
    profile: jax.Array,
) -> jax.Array:
    """See ``Engine.features``; f[1, H]."""
    own = storage.read(state, inputs.dtype)
    one = partial(_features_of_member, alone(side), inputs[0], profile[0])
    views = take_rows(start, items), take_rows(shared, items)
    axes = member_axes(views[0]), member_axes(views[1]), OF_STATE
    found: jax.Array = over_members(side, one, axes)(*views, own)
    return found.reshape(1, -1)


def _features_of_member(
    side: ClientSide,
    x: jax.Array,
    profile: jax.Array,
    start: Tree,
    received: Tree,
    own: ClientState,
) -> jax.Array:
    """What the output layer of one member sees, f[H]; the trees are a client's views."""
    public = Parts(kinds(start), kinds(received))
    vectors = jax.tree.map(jnp.add, start_vectors(public).private, own.private["vectors"])
    weights = {
        f"{name}/kernel": matrix + own.private["dense"][name][0]
        for name, matrix in public.private.dense.items()
    }
    params = {**nest({**vectors, **weights}), **received}
    layers = {}
    if INPUT in public.private.rows:
        first = private_input(own.constant, x, vectors, x) + vectors[f"{INPUT}/bias"]
        layers = {INPUT: lambda ratings: first}
    return features(side.training.model, params, x, profile, layers)


def obstacle(wanted: Wanted) -> str:
    """See ``Engine.obstacle``."""
    if wanted.centralized:
        return "centralised training has no clients"
    if not wanted.layered:
        return "the model is not made of layers that it knows"
    if not wanted.plain:
        return "a client does not minimise the loss of one model"
    if "decoder" not in wanted.shared:
        return "a private decoder is not what the factored engine computes"
    if wanted.optimizer != "sgd":
        return f"--client_optimizer={wanted.optimizer} is not linear in gradients"
    if not wanted.partial_compression:
        return "--nopartial_compression trains rows of items that a client has not rated"
    return "" if wanted.one_user else "some client has several users"


def cpu_block(model: Model, rows: int, carried: Parts) -> int:
    """The power of two of clients with so many rows that a CPU's caches serve well.

    Other numbers of clients are up to twice as slow: XLA's loops have remainders then. ``carried``
    is whether the private and the shared part's momenta are.
    """
    hidden, copies_of_rows = model.hidden_weights // 2, 3 + carried.shared
    floats = (1 + sum(carried)) * hidden + copies_of_rows * rows * model.input_width
    return 2 ** min(6, int(math.log2(max(2, BLOCK_BYTES // (4 * floats)))))


def copies_of_rows(side: ClientSide, bucket: Bucket, on_tpu: bool, uploaded: float) -> float:
    """See ``Engine.copies_of_rows``."""
    del uploaded
    model = side.training.model
    if by_kernel(side, bucket):
        return float(side.kernel.numbers_of_row(model)) / model.feature_size
    return 4.8 + 160 / model.feature_size if on_tpu else 2.4


FACTORED = Engine(
    name="factored",
    obstacle=obstacle,
    reason="exact for SGD with one user per client",
    # Reading one client is a slice, which XLA delays until after the writing, and then it copies
    # the whole stack for it, in every block.
    least_block=2,
    cpu_block=cpu_block,
    copies_of_rows=copies_of_rows,
    has_store=True,
    init=init,
    take=storage.take,
    train_block=train_block,
    features=features_of_user,
    unpack=unpack,
)
