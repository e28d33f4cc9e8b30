"""The engine of exact low-rank local training: within a round no weight matrix is written.

For clients of one user, an optimizer that is linear (``coefficients``) and partial compression.
A layer's product W_k^T h is a sum of products with what the round began with and of K outer
products (``low_rank``); where the beginning is the same for the whole block, that is one matrix
product. A private first layer never has its matrix at all: its input x is constant, so that
W_k = alpha W_start + x (x) v for ever, and alpha and v are trained instead.

``train_client`` is written for one client and mapped once, in ``train_block``; what is summed
over clients is summed there. A local step is in ``factored_step``. Legend as in ``block``; K
local steps.
"""

import dataclasses
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
from pfr_jax.client.factored.coefficients import Weights, after_round, during_round, trajectory
from pfr_jax.client.factored.densify import unpack
from pfr_jax.client.factored.outer_products import Layer, block_sum, combine, empty_memory
from pfr_jax.client.factored.state import (
    INPUT,
    Flat,
    init,
    kinds,
    layers_of,
    start_vectors,
)
from pfr_jax.client.factored.step import (
    Memories,
    Round,
    dropout_masks,
    local_step,
    private_input,
)
from pfr_jax.client.local_training import ClientData, Parts, moves_of_steps
from pfr_jax.client.screening import judge
from pfr_jax.models.item_rows import Tree, flatten, nest, of_items, take_rows
from pfr_jax.models.model import features
from pfr_jax.population.population import Bucket

BLOCK_BYTES = 8 * 2**20  # of what a block of clients works on; measured (BUILD_NOTES)


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
    common = Round(
        public, _transposed(public), _trajectories(side, learning_rate), key, learning_rate
    )
    tables = bucket.items, bucket.values, bucket.observed, bucket.profile, bucket.client
    data = take_slots(tables, slots)
    stored = storage.take(states, slots)
    # Read once, here: fused into its uses, the reading would come after the writing below, and
    # the compiler would copy the whole stack for it.
    own = jax.lax.optimization_barrier(
        jax.vmap(partial(storage.read, dtype=bucket.values.dtype))(stored)
    )
    new, delta, memories, loss = side.over_clients(partial(train_client, side, common))(own, *data)
    num_items = side.training.model.num_items
    verdict = judge(slots < len(bucket), delta, memories, loss, side.max_update_norm)
    written = jax.vmap(storage.write)(new, stored, _keys(key, data[-1]))
    states, loss = put_slots(states, verdict.slots(slots), written), verdict.only(loss)
    if side.whole_changes:
        whole = hand_over(nest(delta), data[0], verdict, num_items, side.fixed_point)
        return states, whole, loss

    weight, memories = verdict.weight, verdict.only(memories)
    for name in public.shared.vectors:
        if not of_items(name):
            delta[name] = jnp.tensordot(weight, verdict.only(delta[name]), axes=1)
    change = jax.tree.map(lambda leaf: leaf[0], after_round(common.paths.shared, private=False))
    for name, matrix in public.shared.dense.items():
        moments = own.shared_opt["dense"][name] if side.carry.shared else None
        summed = block_sum(matrix, moments, change, memories[name], weight)
        delta[f"{name}/kernel"] = summed
    items = jnp.where(verdict.accepted[:, None], data[0], num_items)
    return states, Payload(nest(delta), items, weight, verdict.rejected), loss


def _keys(key: jax.Array, clients: jax.Array) -> jax.Array:
    """A key per client for what is stored, apart from those of its local steps, 0..K-1."""
    last = jnp.uint32(2**32 - 1)
    return jax.vmap(lambda c: jax.random.fold_in(jax.random.fold_in(key, c), last))(clients)


def _transposed(public: Parts) -> Flat:
    """The hidden layers' common matrices the other way around, in memory."""
    dense = {**public.private.dense, **public.shared.dense}
    return jax.lax.optimization_barrier({name: matrix.T for name, matrix in dense.items()})


def _trajectories(side: ClientSide, learning_rate: jax.Array) -> Parts:
    training, carry = side.training, side.carry
    optimizer, moves = training.optimizer, training.moves
    return Parts(
        trajectory(optimizer.private, moves.private, carry.private, learning_rate),
        trajectory(optimizer.shared, moves.shared, carry.shared, learning_rate, training.proximal),
    )


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
    optimizer = training.optimizer
    inputs = training.inputs(values[0], observed[0])
    data = ClientData(inputs, profile[0], values[0], observed[0])
    start = start_vectors(public, items)
    vectors = Parts(jax.tree.map(jnp.add, start.private, own.private["vectors"]), start.shared)
    opt = Parts(
        own.private_opt if side.carry.private else optimizer.private.init(vectors.private),
        own.shared_opt["vectors"] if side.carry.shared else optimizer.shared.init(vectors.shared),
    )
    layers = layers_of(side, public, common.transposed, own, items, data.inputs)
    memories = {name: empty_memory(layer, training.local_epochs) for name, layer in layers.items()}
    masks = dropout_masks(training, jax.random.fold_in(common.key, client), values.dtype)
    paths = common.paths
    weights = Parts(during_round(paths.private, True), during_round(paths.shared, False))
    at = jnp.arange(training.local_epochs), weights, masks, moves_of_steps(training)
    step = partial(local_step, training, common, layers, own.constant, data, vectors.shared)
    (after, opt, memories), losses = jax.lax.scan(step, (vectors, opt, memories), at)
    delta = jax.tree.map(jnp.subtract, after.shared, vectors.shared)
    private = jax.tree.map(jnp.subtract, after.private, start.private)
    new, rows = _after_round(side, common, own, Parts(private, opt), layers, memories)
    delta, residual = {**delta, **rows}, own.residual
    if side.compressor:
        client_key = jax.random.fold_in(common.key, client)
        whole, residual = side.upload(nest(delta), residual, items, client_key)
        delta = flatten(whole)
    return dataclasses.replace(new, residual=residual), delta, memories, losses.mean()


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
    new = ClientState(
        private={
            "vectors": vectors.private,
            "dense": combined(public.private.dense, private),
        },
        private_opt=opt.private if side.carry.private else None,
        shared_opt=shared_opt if side.carry.shared else None,
        rounds=own.rounds + 1,
        constant=own.constant,
    )
    return new, rows


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
    public = Parts(kinds(start), kinds(shared))
    vectors = jax.tree.map(jnp.add, start_vectors(public, items).private, own.private["vectors"])
    weights = {
        f"{name}/kernel": matrix + own.private["dense"][name][0]
        for name, matrix in public.private.dense.items()
    }
    params = {**nest({**vectors, **weights}), **take_rows(shared, items)}
    x, layers = inputs[0], {}
    if INPUT in public.private.rows:
        first = private_input(own.constant, x, vectors, x) + vectors[f"{INPUT}/bias"]
        layers = {INPUT: lambda ratings: first}
    return features(side.training.model, params, x, profile[0], layers)[None]


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


def cpu_block(hidden_sizes: tuple[int, ...], rows: int, carried: Parts) -> int:
    """The power of two of clients with so many rows that a CPU's caches serve well.

    Other numbers of clients are up to twice as slow: XLA's loops have remainders then. ``carried``
    is whether the private and the shared part's momenta are.
    """
    hidden = sum(n * m for n, m in zip(hidden_sizes, hidden_sizes[1:], strict=False))
    copies_of_rows = 3 + carried.shared
    floats = (1 + sum(carried)) * hidden + copies_of_rows * rows * hidden_sizes[0]
    return 2 ** min(6, int(math.log2(max(2, BLOCK_BYTES // (4 * floats)))))


FACTORED = Engine(
    name="factored",
    obstacle=obstacle,
    reason="exact for SGD with one user per client",
    # Reading one client is a slice, which XLA delays until after the writing, and then it copies
    # the whole stack for it, in every block.
    least_block=2,
    cpu_block=cpu_block,
    has_store=True,
    init=init,
    take=storage.take,
    train_block=train_block,
    features=features_of_user,
    unpack=unpack,
)
