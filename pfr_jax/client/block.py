"""A block of clients trained at once, and the boundary between client and server.

The only place where clients are mapped (``jax.vmap``), and the only place where a client's
state is read from and written back to the stacks. What leaves a client is a ``Payload``.
Legend: B clients in the block, Nb clients in the bucket, L rows of a client, I items.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.training import ClientData, LocalTraining, Parts, train_client
from pfr_jax.data.population import Bucket
from pfr_jax.rows import Tree, add_trees, subtract_trees, take_rows


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ClientState:
    """What a client keeps between its rounds and never hands over. Stacked: [Nb, ...].

    The private parameters are stored as their difference from the start that all clients
    share, so a client never trained is all zeros, and 16 bit would round only what was learned.
    """

    private: Tree  # difference from the common start; item leaves f[L, .]
    private_opt: Any  # optimizer state of the private part; None when restarted every round
    shared_opt: Any  # optimizer state of its copy of the shared part; None likewise
    rounds: jax.Array  # i32[], rounds the client took part in


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Payload:
    """What a block of clients hands to the server: all that the server ever sees of them."""

    delta: Tree  # change of the shared part; item leaves f[B, L, .], others f[B, ...]
    items: jax.Array | None  # i32[B, L], the items of those rows (I: padding); None: all rows
    present: jax.Array  # f[B], 1 for a client, 0 for an empty place of the block


@dataclass(frozen=True)
class ClientSide:
    """Everything static about the clients: how they train, what they keep and transmit."""

    training: LocalTraining
    partial_compression: bool
    carry: Parts  # of bools: which optimizer states are kept between rounds

    def shared_items(self, items: jax.Array) -> jax.Array | None:
        """Rows of the shared part on a client: its own, or all without partial compression."""
        return items if self.partial_compression else None


def take_slots(tree: Tree, slots: jax.Array) -> Tree:
    """The entries of a stacked tree at these slots; past the end: the last entry.

    An empty place of a block so repeats a client. Whatever it computes is dropped, and clipping
    an index is three times faster than filling with zeros (BUILD_NOTES).
    """
    return jax.tree.map(lambda leaf: leaf.at[slots].get(mode="clip"), tree)


def put_slots(tree: Tree, slots: jax.Array, values: Tree) -> Tree:
    """The stacked tree with these (distinct) slots replaced; past the end: dropped."""
    return jax.tree.map(
        lambda leaf, value: leaf.at[slots].set(value, mode="drop", unique_indices=True),
        tree,
        values,
    )


def init_client_states(side: ClientSide, bucket: Bucket, start: Parts) -> ClientState:
    """The stacked states of a bucket's clients before the first round."""

    def one(items: jax.Array) -> ClientState:
        private = take_rows(start.private, items)
        shared = take_rows(start.shared, side.shared_items(items))
        init = side.training.optimizer.init
        return ClientState(
            private=jax.tree.map(jnp.zeros_like, private),
            private_opt=init(private) if side.carry.private else None,
            shared_opt=init(shared) if side.carry.shared else None,
            rounds=jnp.int32(0),
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
) -> tuple[ClientState, Payload, jax.Array]:
    """One round of local training of the clients in ``slots`` (i32[B], from Nb: empty places).

    Returns the stacked states with theirs renewed, what they hand over, and f[B] losses.
    """
    num_items = side.training.model.num_items

    def one(
        state: ClientState,
        items: jax.Array,
        values: jax.Array,
        observed: jax.Array,
        profile: jax.Array,
        client: jax.Array,
    ) -> tuple[ClientState, Tree, jax.Array]:
        shared_items = side.shared_items(items)
        own_start = take_rows(start, items)
        before = Parts(add_trees(own_start, state.private), take_rows(shared, shared_items))
        init = side.training.optimizer.init
        opt_state = Parts(
            state.private_opt if side.carry.private else init(before.private),
            state.shared_opt if side.carry.shared else init(before.shared),
        )
        # A private encoder or decoder has no more rows than the client's own.
        input_items = items if "encoder" in start else shared_items
        output_items = items if "decoder" in start else shared_items
        data = ClientData(
            inputs=_spread(values, items, input_items, num_items),
            profile=profile,
            targets=_spread(values, items, output_items, num_items),
            observed=_spread(observed, items, output_items, num_items),
        )
        client_key = jax.random.fold_in(key, client)
        after, opt_state, loss = train_client(
            side.training, before, opt_state, data, bucket.steps, client_key, learning_rate
        )
        new_state = ClientState(
            private=subtract_trees(after.private, own_start),
            private_opt=opt_state.private if side.carry.private else None,
            shared_opt=opt_state.shared if side.carry.shared else None,
            rounds=state.rounds + 1,
        )
        return new_state, subtract_trees(after.shared, before.shared), loss

    present = slots < len(bucket)
    tables = bucket.items, bucket.values, bucket.observed, bucket.profile, bucket.client
    own_data = take_slots(tables, slots)
    block_states, delta, loss = jax.vmap(one)(take_slots(states, slots), *own_data)
    items = jnp.where(present[:, None], own_data[0], num_items)
    payload = Payload(
        delta, items if side.partial_compression else None, present.astype(loss.dtype)
    )
    return put_slots(states, slots, block_states), payload, loss


def _spread(
    values: jax.Array, items: jax.Array, rows: jax.Array | None, num_items: int
) -> jax.Array:
    """[V, L] values of a client's items, laid out on the rows of a view (None: all I items)."""
    if rows is not None:
        return values
    everywhere = jnp.zeros((values.shape[0], num_items), values.dtype)
    return everywhere.at[:, items].set(values, mode="drop")
