"""Numbers of a client on the lanes of a TPU's vector unit, and what is multiplied there.

Features and members share the lanes: feature n of member m is lane n P + m, with P, the places of
members, a power of two (empty places hold 0). So all members' vectors are one, and a sum over one
member's features is a sum over the lanes that lie P apart: adding a vector to itself, rolled by
P, 2P, 4P, ... lanes, leaves that sum on every one of these lanes, which is where the next product
wants it. Everything is computed in float32, as nothing here is a matrix product.
"""

import jax
import jax.numpy as jnp
from jax.experimental.pallas import tpu as pltpu

LANES = 128
MOST_PLACES = 16  # from there on fewer than 8 features are in a register


def places_of(members: int) -> int:
    """P: a power of two, so that a register holds whole features."""
    return 1 << (members - 1).bit_length()


def width_of(features: int, places: int) -> int:
    """Lanes of a vector with so many features: whole registers."""
    return -(-features * places // LANES) * LANES


def on_lanes(leaf: jax.Array, places: int) -> jax.Array:
    """f[..., n, G] as f[..., width]; what is empty is 0."""
    *others, features, members = leaf.shape
    padding = [(0, 0)] * len(others) + [(0, 0), (0, places - members)]
    flat = jnp.pad(leaf, padding).reshape(*others, features * places)
    rest = width_of(features, places) - features * places
    return jnp.pad(flat, [(0, 0)] * len(others) + [(0, rest)])


def off_lanes(lanes: jax.Array, features: int, members: int, places: int) -> jax.Array:
    """The inverse of ``on_lanes``: f[..., width] as f[..., n, G]."""
    *others, _ = lanes.shape
    own = lanes[..., : features * places].reshape(*others, features, places)
    return own[..., :members]


def wide(periodic: jax.Array, width: int) -> jax.Array:
    """f[r, 128], the same every P lanes, on so many lanes."""
    return jnp.concatenate([periodic] * (width // LANES), axis=1)


def registers(vector: jax.Array) -> list[jax.Array]:
    """f[r, width] as pieces f[r, 128]."""
    return [vector[:, at : at + LANES] for at in range(0, vector.shape[1], LANES)]


def lane_sum(vector: jax.Array, places: int) -> jax.Array:
    """Of every member its sum over features, on all of its lanes: f[r, width] -> f[r, 128]."""
    total = sum(registers(vector)[1:], registers(vector)[0])
    shift = places
    while shift < LANES:
        total = total + pltpu.roll(total, shift, 1)
        shift *= 2
    return total


def features(rows: int, places: int) -> jax.Array:
    """i32[rows, 128], which feature each lane is of."""
    lane = jax.lax.broadcasted_iota(jnp.int32, (rows, LANES), 1)
    return lane >> (places.bit_length() - 1)


def of_feature(places: int) -> jax.Array:
    """bool[128 / P, 128]: whether the lane is of the feature that the row is."""
    rows = LANES // places
    return features(rows, places) == jax.lax.broadcasted_iota(jnp.int32, (rows, LANES), 0)


def on_rows(vector: jax.Array, places: int) -> jax.Array:
    """A row per feature, its members on all of their lanes: f[1, width] -> f[width / P, 128]."""
    here = of_feature(places)
    pieces = [lane_sum(jnp.where(here, piece, 0), places) for piece in registers(vector)]
    return jnp.concatenate(pieces, axis=0)


def off_rows(rows: jax.Array, places: int) -> jax.Array:
    """The inverse of ``on_rows``."""
    here, each = of_feature(places), LANES // places
    pieces = [
        jnp.sum(jnp.where(here, rows[at : at + each], 0), axis=0, keepdims=True)
        for at in range(0, rows.shape[0], each)
    ]
    return jnp.concatenate(pieces, axis=1)


def times(vector: jax.Array, matrix: jax.Array, places: int) -> jax.Array:
    """Of every member x^T W: f[1, width_n] and f[width_n / P, width_m] -> f[1, width_m]."""
    factors = wide(on_rows(vector, places), matrix.shape[1])
    return jnp.sum(factors * matrix, axis=0, keepdims=True)


def times_transposed(vector: jax.Array, matrix: jax.Array, places: int) -> jax.Array:
    """Of every member W x: f[1, width_m] and f[width_n / P, width_m] -> f[1, width_n]."""
    return off_rows(lane_sum(matrix * vector, places), places)
