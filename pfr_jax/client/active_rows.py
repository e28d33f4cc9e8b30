"""The engine for any client optimizer: a client trains the rows of its own items.

The only place where ``local_training`` is mapped over clients. Legend as in ``block``.
"""

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
    own_part,
    put_slots,
    take_slots,
)
from pfr_jax.client.compressors import matrices
from pfr_jax.client.local_training import known, train_client
from pfr_jax.client.screening import judge
from pfr_jax.client.training import ClientData, Parts
from pfr_jax.models.item_rows import Tree, subtract_trees, take_rows
from pfr_jax.models.model import features
from pfr_jax.population.population import Bucket


def init(side: ClientSide, bucket: Bucket, start: Parts) -> ClientState:
    """The stacked states of a bucket's clients before the first round."""

    def one(items: jax.Array) -> ClientState:
        private = take_rows(start.private, items)
        shared = take_rows(start.shared, side.shared_items(items))
        optimizer = side.training.optimizer
        return ClientState(
            private=jax.tree.map(jnp.zeros_like, private),
            private_opt=optimizer.private.init(private) if side.carry.private else None,
            shared_opt=optimizer.shared.init(shared) if side.carry.shared else None,
            rounds=jnp.int32(0),
            residual=jax.tree.map(jnp.zeros_like, matrices(shared))
            if side.keeps_residual
            else None,
        )

    return jax.vmap(one)(bucket.items)


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
    """One round of local training of the clients in ``slots`` (i32[B], from Nb: empty places).

    ``clip`` is the norm of changes under a mechanism. Returns the stacked states with theirs
    renewed, what they hand over, and f[B] losses.
    """
    num_items = side.training.model.num_items

    def one(
        state: ClientState,
        items: jax.Array,
        values: jax.Array,
        observed: jax.Array,
        rated: jax.Array | None,
        profile: jax.Array,
        client: jax.Array,
    ) -> tuple[ClientState, Tree, jax.Array]:
        shared_items = side.shared_items(items)
        own_start = take_rows(start, items)
        received = take_rows(shared, shared_items)
        before = Parts(own_part(side, own_start, received, state), received)
        optimizer = side.training.optimizer
        opt_state = Parts(
            state.private_opt if side.carry.private else optimizer.private.init(before.private),
            state.shared_opt if side.carry.shared else optimizer.shared.init(before.shared),
        )
        # A private encoder or decoder has no more rows than the client's own.
        sides = side.training.model.sides
        reads_own = any(sides[part] == "user" for part in start)
        input_items = items if reads_own else shared_items
        output_items = items if "decoder" in start else shared_items
        uploaded = any(sides[part] == "user" for part in received)
        inputs = side.training.inputs(values, known(observed, rated, uploaded))
        data = ClientData(
            inputs=_spread(inputs, items, input_items, num_items),
            profile=profile,
            targets=_spread(values, items, output_items, num_items),
            observed=_spread(observed, items, output_items, num_items),
            rated=None if rated is None else _spread(rated, items, output_items, num_items),
        )
        client_key = jax.random.fold_in(key, client)
        after, opt_state, loss = train_client(
            side.training, before, opt_state, data, bucket.steps, client_key, learning_rate
        )
        change = subtract_trees(after.shared, before.shared)
        change, residual = side.upload(change, state.residual, items, client_key)
        new_state = ClientState(
            private=subtract_trees(after.private, own_start),
            private_opt=opt_state.private if side.carry.private else None,
            shared_opt=opt_state.shared if side.carry.shared else None,
            rounds=state.rounds + 1,
            residual=residual,
        )
        return new_state, change, loss

    present = slots < len(bucket)
    tables = bucket.items, bucket.values, bucket.observed, bucket.rated
    own_data = take_slots((*tables, bucket.profile, bucket.client), slots)
    block_states, delta, loss = side.over_clients(one)(take_slots(states, slots), *own_data)
    delta, within = side.clipped(delta, own_data[0], clip)
    verdict = judge(present, delta, loss, delta, side.max_update_norm)
    rows = own_data[0] if side.partial_compression else None
    payload = hand_over(delta, rows, verdict, num_items, side.fixed_point, within)
    return put_slots(states, verdict.slots(slots), block_states), payload, verdict.only(loss)


def features_of_users(
    side: ClientSide,
    start: Tree,
    shared: Tree,
    state: ClientState,
    items: jax.Array,
    inputs: jax.Array,
    profile: jax.Array,
) -> jax.Array:
    """What the output layer sees for each user of one client, without dropout: f[V, H]."""
    received = take_rows(shared, items)
    own = own_part(side, take_rows(start, items), received, state)
    params = side.training.model_of(Parts(own, received))
    return jax.vmap(partial(features, side.training.model, params))(inputs, profile)


def _spread(
    values: jax.Array, items: jax.Array, rows: jax.Array | None, num_items: int
) -> jax.Array:
    """[V, L] values of a client's items, laid out on the rows of a view (None: all I items)."""
    if rows is not None:
        return values
    everywhere = jnp.zeros((values.shape[0], num_items), values.dtype)
    return everywhere.at[:, items].set(values, mode="drop")


def unpack(
    side: ClientSide,
    start: Tree,
    shared: Tree,
    state: ClientState,
    items: jax.Array,
    inputs: jax.Array,
) -> ClientState:
    """See ``Engine.unpack``: here states are kept so."""
    del side, start, shared, items, inputs
    return state


def obstacle(wanted: Wanted) -> str:
    """See ``Engine.obstacle``."""
    if not wanted.plain and not wanted.partial_compression:
        return "--nopartial_compression goes with one model per client and its plain loss"
    if wanted.per_user and wanted.centralized:
        return "the model has parameters per user, and centralised training keeps none of a user"
    if wanted.per_user and not wanted.one_user:
        return "the model has parameters per user, and some client has several users"
    return ""


def copies_of_rows(side: ClientSide, bucket: Bucket, on_tpu: bool, uploaded: float) -> float:
    """See ``Engine.copies_of_rows``."""
    del bucket
    models = 2 if side.training.two_models else 1
    if on_tpu:
        return max(5.5 * models, 2.1 + 3.4 * uploaded)
    # A GPU's: of the output layer; of the first layer, if there is one, and where it is kept more.
    of_input = 0.0 if not side.training.model.input_width else 1.2 if side.stateless else 3.3
    return models * (1.2 + of_input)


ACTIVE_ROWS = Engine(
    name="active_rows",
    obstacle=obstacle,
    reason="computes anything",
    least_block=1,
    cpu_block=lambda model, rows, carried: 4,
    copies_of_rows=copies_of_rows,
    has_store=False,
    init=init,
    take=take_slots,
    train_block=train_block,
    features=features_of_users,
    unpack=unpack,
)
