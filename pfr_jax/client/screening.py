"""Which clients' updates are taken: finite ones, of a norm that is not absurd.

One client whose numbers overflow would end the training of all. A client that is not taken is as
if it had never been asked: nothing of it is summed, and its state stays what it was. Legend as in
``block``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pfr_jax.models.item_rows import Tree

_NOBODY = 2**30  # slots past any bucket's end


class Verdict(NamedTuple):
    """On a block of clients."""

    accepted: jax.Array  # bool[B]; False for an empty place
    weight: jax.Array  # f[B], the same as 1 and 0
    rejected: jax.Array  # i32[2], how many were not finite, and too large

    def slots(self, slots: jax.Array) -> jax.Array:
        """Where the new states go, i32[B]: (distinct) places past the end for all others."""
        return jnp.where(self.accepted, slots, _NOBODY + jnp.arange(len(slots), dtype=slots.dtype))

    def only(self, tree: Tree) -> Tree:
        """The accepted clients' part of f[B, ...] leaves, 0 for the others (0 times NaN is NaN)."""

        def one(leaf: jax.Array) -> jax.Array:
            taken = self.accepted.reshape((-1,) + (1,) * (leaf.ndim - 1))
            return jnp.where(taken, leaf, 0)

        return jax.tree.map(one, tree)


def judge(
    present: jax.Array, finite_in: Tree, losses: jax.Array, delta: Tree, max_norm: float
) -> Verdict:
    """On the clients whose place is ``present`` (bool[B]).

    Args:
      finite_in: what has to be finite beside the losses f[B], f[B, ...] leaves.
      delta: the changes, of which only the norms are looked at.
      max_norm: for the global norm of a client's change; 0: any.
    """

    def of_clients(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(len(losses), -1)

    finite = jnp.isfinite(losses)
    for leaf in jax.tree.leaves(finite_in):
        finite &= jnp.isfinite(of_clients(leaf)).all(axis=1)
    small = jnp.ones_like(finite)
    if max_norm:
        squares = jnp.zeros_like(losses)
        for leaf in jax.tree.leaves(delta):
            squares += jnp.square(of_clients(leaf)).sum(axis=1)
        small = squares <= max_norm**2  # not so if a square overflows
    accepted = present & finite & small
    rejected = jnp.stack([(present & ~finite).sum(), (present & finite & ~small).sum()])
    return Verdict(accepted, accepted.astype(losses.dtype), rejected.astype(jnp.int32))
