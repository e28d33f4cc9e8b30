"""The boundary between clients and server, and the stacks that clients' states are kept in.

What a client keeps is a ``ClientState``, what leaves it a ``Payload``. How a block of clients is
trained is an ``Engine``'s matter; there are two, which compute the same: ``active_rows`` (any
optimizer) and ``factored`` (exact low-rank training, for SGD). Legend: B clients in the block, Nb
clients in the bucket, L rows of a client, I items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfr_jax.client.compressors import Compressor, through
from pfr_jax.client.fixed_point import to_fixed
from pfr_jax.client.screening import Verdict
from pfr_jax.client.training import LocalTraining, Parts
from pfr_jax.models.item_rows import Tree, add_trees, map_rows
from pfr_jax.models.model import Model
from pfr_jax.population.population import Bucket
from pfr_jax.privacy.mechanism import Mechanism


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ClientState:
    """What a client keeps between its rounds and never hands over. Stacked: [Nb, ...].

    The private parameters are stored as their difference from the start that all clients
    share, so a client never trained has none, and 16 bit would round only what was learned.
    What the trees look like is the engine's choice.
    """

    private: Tree  # difference from the common start
    private_opt: Any  # optimizer state of the private part; None when restarted every round
    shared_opt: Any  # optimizer state of its copy of the shared part; None likewise
    rounds: jax.Array  # i32[], rounds the client took part in
    residual: Any = None  # what its last upload lost, by matrix; None where nothing is fed back
    constant: Any = None  # what the engine derived once from the start and the client's data


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Payload:
    """What a block of clients hands to the server: all that the server ever sees of them.

    The unit of a client's payload is the change of every shared leaf, item leaves on its rows.
    Leaves without rows are added up over the block's clients before the server sees them.
    """

    delta: Tree  # change of the shared part; item leaves f[B, L, .], others f[...]: summed
    # i32[B, L], the items of those rows; None: all, summed. I is padding, whose row may be anything
    items: jax.Array | None
    present: jax.Array  # f[B], 1 for a client, 0 for an empty place of the block or one not taken
    rejected: jax.Array  # i32[2], clients not taken: not finite, too large
    within: jax.Array | None = None  # f[B], 1 where a change was within the clipping norm


def hand_over(
    delta: Tree,
    items: jax.Array | None,
    verdict: Verdict,
    num_items: int,
    fixed_point: float | None = None,
    within: jax.Array | None = None,
) -> Payload:
    """The payload of a block from its clients' changes; all leaves of ``delta`` are f[B, ...].

    ``items`` (i32[B, L], I: padding) are those of the rows; None: all. ``fixed_point``: see
    ``pfr_jax.client.fixed_point``. ``within`` (f[B]): see ``Payload``.
    """

    def as_summed(leaf: jax.Array) -> jax.Array:
        return to_fixed(leaf, fixed_point) if fixed_point else leaf

    def add_up(leaf: jax.Array) -> jax.Array:
        taken = as_summed(verdict.only(leaf))
        return taken.sum(axis=0) if fixed_point else jnp.tensordot(verdict.weight, taken, axes=1)

    on_items = add_up if items is None else as_summed
    if items is not None:  # rows of a client that is not taken go nowhere
        items = jnp.where(verdict.accepted[:, None], items, num_items)
    counted = None if within is None else verdict.only(within)
    return Payload(
        map_rows(on_items, add_up, delta), items, verdict.weight, verdict.rejected, counted
    )


@dataclass(frozen=True)
class ClientSide:
    """Everything static about the clients: how they train, what they keep and transmit."""

    training: LocalTraining
    partial_compression: bool
    carry: Parts  # of bools: which optimizer states are kept between rounds
    stateless: bool = False  # a client keeps nothing: its private part is learned in every round
    max_update_norm: float = 0.0  # of a client's change, beyond which it is not taken; 0: any
    compressor: Compressor | None = None  # of changes of matrices; None: they are whole
    fixed_point: float | None = None  # changes are summed as multiples of its inverse; None: floats
    # Clients are computed one after the other, so that the last bits of a client do not depend on
    # who else is in the block.
    one_by_one: bool = False
    mechanism: Mechanism | None = None  # by which a client clips its change; None: it does not
    kernel: Any = None  # of the factored engine, where it can (factored/kernel.py); None: without
    store: Any = None  # type of the factored engine's matrices between rounds; None: as computed

    @property
    def whole_changes(self) -> bool:
        """Every client's change is looked at, encoded or rounded by itself, before any sum."""
        looked_at = self.max_update_norm or self.fixed_point or self.compressor
        return bool(looked_at or self.mechanism)

    @property
    def keeps_residual(self) -> bool:
        """A client keeps what its upload lost; one that keeps nothing cannot."""
        return bool(self.compressor and self.compressor.feeds_back and not self.stateless)

    def upload(
        self, delta: Tree, residual: Any, items: jax.Array, key: jax.Array
    ) -> tuple[Tree, Any]:
        """One client's change as the server decodes it, and its new residual.

        ``items`` are i32[L]; ``key`` is the client's, of this round.
        """
        if self.compressor is None:
            return delta, residual
        there = items < self.training.model.num_items if self.partial_compression else None
        return through(self.compressor, delta, residual, there, key)

    def clipped(
        self, delta: Tree, items: jax.Array, clip: jax.Array | None
    ) -> tuple[Tree, jax.Array | None]:
        """A block's changes (leaves f[B, ...]) as they are uploaded, and ``Payload.within``.

        ``items`` are i32[B, L]; ``clip`` (f[]) is the norm.
        """
        if self.mechanism is None or clip is None:
            return delta, None
        there = items < self.training.model.num_items if self.partial_compression else None
        axes = 0, None if there is None else 0, None
        found: tuple[Tree, jax.Array] = jax.vmap(self.mechanism.clipped, axes)(delta, there, clip)
        return found

    def over_clients(self, one: Callable[..., Any]) -> Callable[..., Any]:
        """``one`` client's computation over a block: at once, or one client after the other."""
        if not self.one_by_one:
            return jax.vmap(one)
        return lambda *stacked: jax.lax.map(lambda client: one(*client), stacked)

    def shared_items(self, items: jax.Array) -> jax.Array | None:
        """Rows of the shared part on a client: its own, or all without partial compression."""
        return items if self.partial_compression else None


@dataclass(frozen=True)
class Wanted:
    """What an algorithm and its settings ask of an engine."""

    shared: tuple[str, ...]  # parts of the model that the server averages
    plain: bool  # a client has one model, and minimises its loss
    centralized: bool  # there are no clients; an engine only evaluates
    optimizer: str  # of the clients' local steps
    partial_compression: bool
    per_user: bool  # the model's user side is that of one user
    layered: bool  # the model is made of the autoencoder's layers
    one_user: bool  # every client has one user


class Engine(NamedTuple):
    """How blocks of clients are computed. Not what: both engines give the same numbers."""

    name: str
    # Why it cannot compute what is wanted, a clause; "": it can
    obstacle: Callable[[Wanted], str]
    reason: str  # why it is taken where it can
    least_block: int  # clients of a block
    # (model, rows of a client, moments carried of the private and the shared part) -> the clients
    # of a block that suit a CPU
    cpu_block: Callable[[Model, int, Parts], int]
    # (side, bucket, whether on a TPU, numbers of an item that are uploaded by those of its output
    # row) -> what a block works with on an accelerator, as copies of its clients' output rows;
    # measured (simulation/device_memory.py)
    copies_of_rows: Callable[[ClientSide, Bucket, bool, float], float]
    # Whether --state_dtype and --state_memory have a choice, and a client that was never asked
    # costs no memory.
    has_store: bool
    # (side, bucket, start) -> the stacked states of its clients before the first round
    init: Callable[[ClientSide, Bucket, Parts], ClientState]
    # (states, slots i32[B]) -> the states of these slots, for ``features``
    take: Callable[[ClientState, jax.Array], ClientState]
    # (side, start, shared, states, bucket, slots i32[B], key, learning rate, clipping norm or None)
    # -> the stacked states with those of the slots renewed, what they hand over, and losses f[B]
    train_block: Callable[..., tuple[ClientState, Payload, jax.Array]]
    # (side, start, shared, state, items, inputs, profile) of one client -> what the output
    # layer sees for each of its users, f[V, H]
    features: Callable[..., jax.Array]
    # (side, start, shared, state, items, inputs) of one client -> its state as whole rows and
    # matrices: trees like the parts of the model, item leaves f[L, .]
    unpack: Callable[..., ClientState]


def own_part(side: ClientSide, start: Tree, shared: Tree, state: ClientState) -> Tree:
    """One client's private part; the trees are its views, ``start`` that of the private one.

    A whole model of its own is the shared one until the client has first been trained.
    """
    own: Tree = add_trees(start, state.private)
    if not side.training.two_models:
        return own
    trained = state.rounds > 0

    def of_part(name: str, part: Tree) -> Tree:
        if name not in shared:
            return part
        return jax.tree.map(lambda a, b: jnp.where(trained, a, b), part, shared[name])

    return {name: of_part(name, part) for name, part in own.items()}


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
