"""A federation as an (init, round) pair of pure functions.

Which parts of the model are shared and which are private is all that it is told of the algorithm's
record; client training and the server are the same for all. It does not own the loop:
``pfr_jax.simulation.loop`` does. Centralised training, which has no clients, is in ``centralized``.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from pfr_jax.aggregation import PayloadSum, add_payload, cohort_sum, empty_sum, noised_sum
from pfr_jax.client.block import ClientSide, ClientState, Engine, Payload, take_slots
from pfr_jax.client.fixed_point import LOSS_SHARE, to_fixed, to_float
from pfr_jax.client.training import Parts
from pfr_jax.models.item_rows import Tree
from pfr_jax.models.model import Params
from pfr_jax.population.devices import BY_CLIENT, EVERYWHERE, on_every_device, sum_over_devices
from pfr_jax.population.population import Bucket, Cohort
from pfr_jax.server import Denominator, ServerState, server_step

Buckets = tuple[Bucket, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FederationState:
    """Everything carried from round to round."""

    round: jax.Array  # i32[], rounds done
    server: ServerState
    start: Tree  # private part every client began with, over all items; public and constant
    clients: tuple[ClientState, ...]  # per bucket, stacked on the clients' slots


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RoundReport:
    """What is told of a round and not carried."""

    loss: jax.Array  # f[], mean over clients of the mean loss of their local steps; NaN if none
    learning_rate: jax.Array  # f[]
    clients: jax.Array  # f[], whose updates were taken
    rejected: jax.Array  # i32[2], whose updates were not: not finite, too large


class Algorithm(NamedTuple):
    """``init(params, buckets)`` and ``round(state, data, cohort, key)``.

    ``data`` are the buckets, or ``pfr_jax.population.interactions.Interactions`` if centralised.
    """

    init: Callable[[Params, Buckets], FederationState]
    round: Callable[[FederationState, Any, Cohort, jax.Array], tuple[FederationState, RoundReport]]
    shared: tuple[str, ...]  # names of the model's parts that the server averages


@dataclass(frozen=True)
class Federation:
    """The static description that every federation is made from."""

    engine: Engine
    side: ClientSide
    server_optimizer: optax.GradientTransformation
    denominator: Denominator
    learning_rate: Callable[[Any], Any]  # round index -> the clients' learning rate
    block_sizes: tuple[int, ...]  # clients of a block, per bucket
    mesh: Mesh  # the devices that the clients are divided among
    on_host: bool  # clients' states are kept in the host's memory (client/host_memory.py)
    expected: float | None = None  # clients of a cohort in the mean, where the server counts these


def train_block(
    federation: Federation,
    public: Parts,
    states: ClientState,
    bucket: Bucket,
    slots: jax.Array,
    key: jax.Array,
    learning_rate: jax.Array,
    clip: jax.Array | None = None,
) -> tuple[ClientState, Payload, jax.Array]:
    """``Engine.train_block``; ``public`` are the start of the private part and the shared part."""
    engine, side = federation.engine, federation.side
    return engine.train_block(side, *public, states, bucket, slots, key, learning_rate, clip)


def train_stateless(
    federation: Federation,
    public: Parts,
    states: ClientState,
    bucket: Bucket,
    slots: jax.Array,
    key: jax.Array,
    learning_rate: jax.Array,
    clip: jax.Array | None = None,
) -> tuple[ClientState, Payload, jax.Array]:
    """The same for clients that begin as in their first round, and keep nothing."""
    block, size = take_slots(bucket, slots), len(slots)
    fresh = federation.engine.init(federation.side, block, public)
    places = jnp.where(slots < len(bucket), 0, size) + jnp.arange(size, dtype=slots.dtype)
    _, payload, losses = train_block(
        federation, public, fresh, block, places, key, learning_rate, clip
    )
    return states, payload, losses


def _serve(
    federation: Federation, server: ServerState, total: PayloadSum, key: jax.Array
) -> ServerState:
    """The server's part of a round, from what it is told of the cohort's sum."""
    mechanism, fixed_point = federation.side.mechanism, federation.side.fixed_point
    if mechanism is None:
        counts = federation.denominator.counts
        told = cohort_sum(total, fixed_point, federation.expected, counts)
    else:
        assert federation.expected is not None and server.clip is not None
        told = noised_sum(total, fixed_point, federation.expected, mechanism, server.clip, key)
    stepped = server_step(server, told, federation.denominator, federation.server_optimizer)
    if told.within is None:
        return stepped
    assert mechanism is not None and server.clip is not None
    return dataclasses.replace(stepped, clip=mechanism.next_clip(server.clip, told.within))


def federated(
    federation: Federation, shared: tuple[str, ...], private: tuple[str, ...]
) -> Algorithm:
    """The algorithm whose server averages the model's parts named in ``shared``, and whose clients
    keep those in ``private``; a part named in both is there twice.

    ``init`` and ``round`` are written for one device and its own clients.
    """

    mechanism = federation.side.mechanism

    def states_of(start: Parts, bucket: Bucket) -> ClientState:
        if federation.side.stateless:
            return ClientState({}, None, None, jnp.zeros((len(bucket),), jnp.int32))
        return federation.engine.init(federation.side, bucket, start)

    def init(params: Params, buckets: Buckets) -> FederationState:
        start = Parts(
            private={name: part for name, part in params.items() if name in private},
            shared={name: part for name, part in params.items() if name in shared},
        )
        return FederationState(
            round=jnp.int32(0),
            server=ServerState(
                start.shared,
                federation.server_optimizer.init(start.shared),
                jnp.asarray(mechanism.clip, jnp.float32) if mechanism else None,
            ),
            start=start.private,
            clients=tuple(map(partial(states_of, start), buckets)),
        )

    def round(
        state: FederationState, buckets: Buckets, cohort: Cohort, key: jax.Array
    ) -> tuple[FederationState, RoundReport]:
        dtype, fixed_point = cohort.clients.dtype, federation.side.fixed_point
        num_items = federation.side.training.model.num_items
        clip = state.server.clip
        total = empty_sum(state.server.shared, num_items, dtype, fixed_point, bool(mechanism))
        loss = jnp.zeros((), jnp.int32 if fixed_point else dtype)
        learning_rate = jnp.asarray(federation.learning_rate(state.round.astype(dtype)), dtype)
        clients = []
        for bucket, states, slots, blocks, size in zip(
            buckets,
            state.clients,
            cohort.slots,
            cohort.blocks,
            federation.block_sizes,
            strict=True,
        ):

            def one_block(
                index: jax.Array,
                carry: Any,
                bucket: Bucket = bucket,
                slots: jax.Array = slots,
                size: int = size,
            ) -> Any:
                states, total, loss = carry
                own = jax.lax.dynamic_slice(slots, (index * size,), (size,))
                public = Parts(state.start, state.server.shared)
                train = train_stateless if federation.side.stateless else train_block
                states, payload, losses = train(
                    federation, public, states, bucket, own, key, learning_rate, clip
                )
                if fixed_point:
                    losses = to_fixed(losses / LOSS_SHARE, fixed_point)
                return states, add_payload(total, payload), loss + losses.sum()

            states, total, loss = jax.lax.fori_loop(0, blocks[0], one_block, (states, total, loss))
            clients.append(states)
        total, loss = sum_over_devices((total, loss))
        server = _serve(federation, state.server, total, key)
        if fixed_point:
            loss = to_float(loss, fixed_point / LOSS_SHARE, dtype)
        new_state = FederationState(state.round + 1, server, state.start, tuple(clients))
        report = RoundReport(loss / total.clients, learning_rate, total.clients, total.rejected)
        return new_state, report

    everywhere: Any = EVERYWHERE
    own: Any = BY_CLIENT
    places = FederationState(everywhere, everywhere, everywhere, own)
    cohort_places = Cohort(own, own, everywhere)
    return Algorithm(
        init=on_every_device(init, federation.mesh, (EVERYWHERE, BY_CLIENT), places),
        round=on_every_device(
            round,
            federation.mesh,
            (places, BY_CLIENT, cohort_places, EVERYWHERE),
            (places, EVERYWHERE),
        ),
        shared=shared,
    )
