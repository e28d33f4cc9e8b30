"""One client's state between memory and computation: matrices in 16 bit or 32, zeros at first.

A client never sampled costs nothing: its part of the stacks is ``untouched``. So what is read of
such a client is not data, and ``read`` puts zeros in its place.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.client.block import ClientState, take_slots
from pfr_jax.client.dither import random_bits

# bfloat16 by its bits: XLA's CPU backend would turn a whole stack of the real type into float32
# to store a block in it.
BITS = np.dtype(np.uint16)


def take(states: ClientState, slots: jax.Array) -> ClientState:
    """As ``take_slots``, for ``read``; of clients never trained nothing but zeros is looked at.

    A look at untouched memory makes the system map a page of zeros there, and replace it, on all
    cores at once, when something is stored: four times as slow as storing without having looked.
    """
    rounds = take_slots(states.rounds, slots)
    somebody = jnp.where(rounds > 0, slots, 0)
    return ClientState(
        private=take_slots(states.private, somebody),
        private_opt=take_slots(states.private_opt, somebody),
        shared_opt=take_slots(states.shared_opt, somebody),
        rounds=rounds,
        residual=take_slots(states.residual, somebody),
        constant=take_slots(states.constant, slots),
    )


def read(state: ClientState, dtype: Any) -> ClientState:
    """One client's state in the type it is computed in; zeros if it was never trained."""
    trained = state.rounds > 0

    def of_leaf(leaf: jax.Array) -> jax.Array:
        values = from_bits(leaf) if leaf.dtype == BITS else leaf
        return jnp.where(trained, values.astype(dtype), 0)

    return ClientState(
        private=jax.tree.map(of_leaf, state.private),
        private_opt=jax.tree.map(of_leaf, state.private_opt),
        shared_opt=jax.tree.map(of_leaf, state.shared_opt),
        rounds=state.rounds,
        residual=jax.tree.map(of_leaf, state.residual),
        constant=state.constant,
    )


def write(state: ClientState, stored: ClientState, key: jax.Array) -> ClientState:
    """One client's ``state`` in the types of ``stored``; what loses bits is rounded at random.

    Rounded to the nearest, changes smaller than half a unit of the 16-bit value would be lost
    again and again.
    """
    leaves, shape = jax.tree.flatten(state)
    types = [leaf.dtype for leaf in jax.tree.leaves(stored)]
    seeds = jax.random.bits(key, (len(leaves),), jnp.uint32)
    rounded = [
        round_at_random(leaf, seed) if kind == BITS else leaf
        for leaf, kind, seed in zip(leaves, types, seeds, strict=True)
    ]
    return jax.tree.unflatten(shape, rounded)


def round_at_random(values: jax.Array, seed: jax.Array) -> jax.Array:
    """f32 to the bits of bf16, up with the probability that makes the mean right; seed u32[]."""
    bits = random_bits(values.shape, seed)
    raised = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32) + (bits >> 16)
    return (raised >> 16).astype(BITS)


def from_bits(bits: jax.Array) -> jax.Array:
    """The f32 values of bf16 numbers given by their bits."""
    return jax.lax.bitcast_convert_type(bits.astype(jnp.uint32) << 16, jnp.float32)
