"""What encodes a client's upload, and weighs it. Not to be confused with partial compression.

Partial compression decides which rows a client trains and sends at all; a compressor makes what is
sent smaller. It acts on the change of every shared weight matrix by itself: a hidden layer's, or
the rows of a client's items. Biases and norms travel as they are. What an encoding loses a client
may keep and add to its next upload (error feedback). Legend: n rows of a matrix, m its width;
``rows`` of the n are there (the first ones), the others are padding and zero.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.client.dither import random_bits
from pfr_jax.models.item_rows import Tree, flatten, nest, of_items

Encoded = dict[str, jax.Array]
FLOAT_BYTES, INDEX_BYTES = 4, 4
_OF_UPLOADS = 2**31  # what is folded into a client's key; local steps take 0, 1, ...


@dataclass(frozen=True)
class Compressor:
    """How the change of one weight matrix travels to the server.

    Attributes:
      name: what the flag and the files call it.
      encode: (matrix f[n, m], rows i32[], key) -> the arrays that travel. Entries for padding rows
        may be among them and are not sent.
      decode: (what ``encode`` returned, m) -> f[n, m], what the server takes the change to be.
      num_bytes: (rows i64[...], m) -> i64[...], the bytes of what travels.
      feeds_back: the client keeps what was lost and adds it to its next upload.

    Example:
      >>> matrix = jnp.array([[1.0, -5.0, 2.0, 0.0]])
      >>> sent = top_k(0.5).encode(matrix, jnp.int32(1), jax.random.key(0))
      >>> top_k(0.5).decode(sent, 4).tolist(), int(top_k(0.5).num_bytes(np.array(1), 4))
      ([[0.0, -5.0, 2.0, 0.0]], 16)
    """

    name: str
    encode: Callable[[jax.Array, jax.Array, jax.Array], Encoded]
    decode: Callable[[Encoded, int], jax.Array]
    num_bytes: Callable[[np.ndarray, int], np.ndarray]
    feeds_back: bool


def top_k(share: float) -> Compressor:
    """The largest entries in size, and where they are: ``share`` of all (Stich et al. 2018)."""

    def per_row(width: int) -> int:
        return max(1, int(np.ceil(share * width - 1e-9)))

    def encode(matrix: jax.Array, rows: jax.Array, key: jax.Array) -> Encoded:
        del key
        n, width = matrix.shape
        flat = matrix.reshape(-1)
        _, index = jax.lax.top_k(jnp.abs(flat), n * per_row(width))
        sent = jnp.arange(len(index), dtype=rows.dtype) < rows * per_row(width)
        # What is not sent lies past the end.
        return {
            "value": jnp.where(sent, flat[index], 0),
            "index": jnp.where(sent, index, n * width).astype(jnp.int32),
        }

    def decode(encoded: Encoded, width: int) -> jax.Array:
        value, index = encoded["value"], encoded["index"]
        n = len(value) // per_row(width)
        flat = jnp.zeros((n * width,), value.dtype).at[index].set(value, mode="drop")
        return flat.reshape(n, width)

    def num_bytes(rows: np.ndarray, width: int) -> np.ndarray:
        return rows * per_row(width) * (FLOAT_BYTES + INDEX_BYTES)

    return Compressor("topk", encode, decode, num_bytes, feeds_back=True)


def int8() -> Compressor:
    """A byte per entry and a scale per row, rounded at random so that the mean is right.

    Unbiased (QSGD: Alistarh et al. 2017), so that nothing has to be fed back.
    """
    most = 127

    def encode(matrix: jax.Array, rows: jax.Array, key: jax.Array) -> Encoded:
        del rows
        scale = jnp.abs(matrix).max(axis=1) / most
        bits = random_bits(matrix.shape, jax.random.bits(key, dtype=jnp.uint32))
        chance = (bits >> 8).astype(matrix.dtype) / 2**24  # in [0, 1)
        steps = matrix / jnp.where(scale > 0, scale, 1)[:, None]
        rounded = jnp.clip(jnp.floor(steps + chance), -most, most)
        return {"value": rounded.astype(jnp.int8), "scale": scale}

    def decode(encoded: Encoded, width: int) -> jax.Array:
        del width
        scale = encoded["scale"]
        return encoded["value"].astype(scale.dtype) * scale[:, None]

    def num_bytes(rows: np.ndarray, width: int) -> np.ndarray:
        return rows * (width + FLOAT_BYTES)

    return Compressor("int8", encode, decode, num_bytes, feeds_back=False)


def low_rank(rank: int) -> Compressor:
    """The matrix as a product of two of this rank (PowerSGD: Vogels et al. 2019).

    By two steps of subspace iteration from random vectors, which the server need not be told.
    """

    def encode(matrix: jax.Array, rows: jax.Array, key: jax.Array) -> Encoded:
        del rows
        right = jax.random.normal(key, (matrix.shape[1], rank), matrix.dtype)
        for _ in range(2):
            left = orthonormal(matrix @ right)
            right = matrix.T @ left
        return {"left": left, "right": right}

    def decode(encoded: Encoded, width: int) -> jax.Array:
        del width
        return encoded["left"] @ encoded["right"].T

    def num_bytes(rows: np.ndarray, width: int) -> np.ndarray:
        return rank * (rows + width) * FLOAT_BYTES

    return Compressor("lowrank", encode, decode, num_bytes, feeds_back=True)


def orthonormal(columns: jax.Array) -> jax.Array:
    """The few columns of f[n, r] made orthonormal one after the other; 0 where one adds nothing.

    Rows of zeros stay so.
    """
    done: list[jax.Array] = []
    for place in range(columns.shape[1]):
        column = before = columns[:, place]
        for _ in range(2):  # once more, for what rounding leaves
            for other in done:
                column = column - other * jnp.vdot(other, column)
        length = jnp.linalg.norm(column)
        enough = length > 1e-4 * jnp.linalg.norm(before)
        done.append(jnp.where(enough, column / jnp.where(enough, length, 1), 0))
    return jnp.stack(done, axis=1)


# --compressor -> (--topk_share, --lowrank_rank) -> the compressor; None: changes travel whole.
COMPRESSORS: dict[str, Callable[[float, int], Compressor | None]] = {
    "none": lambda share, rank: None,
    "topk": lambda share, rank: top_k(share),
    "int8": lambda share, rank: int8(),
    "lowrank": lambda share, rank: low_rank(rank),
}


def matrices(tree: Tree) -> dict[str, Any]:
    """What a compressor acts on: the weight matrices (arrays or shapes) of a tree, by path.

    Those of several members are one matrix, side by side.
    """
    return {name: leaf for name, leaf in flatten(tree).items() if name.endswith("kernel")}


def shape(name: str, leaf: Any) -> tuple[int, int]:
    """Rows and columns of the matrix that this leaf (an array or its shape) is, of all members."""
    rows = leaf.shape[0 if of_items(name) else -2]
    return rows, math.prod(leaf.shape) // rows


def _as_matrix(name: str, leaf: jax.Array) -> jax.Array:
    """f[rows, columns]; members lie side by side."""
    by_rows = leaf if of_items(name) else jnp.moveaxis(leaf, -2, 0)
    return by_rows.reshape(shape(name, leaf))


def _as_leaf(name: str, matrix: jax.Array, like: jax.Array) -> jax.Array:
    """The inverse of ``_as_matrix``."""
    if of_items(name):
        return matrix.reshape(like.shape)
    *members, rows, columns = like.shape
    return jnp.moveaxis(matrix.reshape(rows, *members, columns), 0, -2)


def through(
    compressor: Compressor,
    delta: Tree,
    residual: dict[str, jax.Array] | None,
    there: jax.Array | None,
    key: jax.Array,
) -> tuple[Tree, dict[str, jax.Array] | None]:
    """One client's changes as the server decodes them, and what is left for its next upload.

    Args:
      compressor: what every matrix goes through.
      delta: the changes of the shared part; item leaves f[L, .].
      residual: what was lost before, for the ``matrices`` of ``delta``; None: nothing is kept.
      there: bool[L], the rows that are no padding; None: all.
      key: the client's, of this round.

    Returns:
      Trees like ``delta`` and ``residual``.
    """
    flat, kept = flatten(delta), {}
    key = jax.random.fold_in(key, _OF_UPLOADS)
    for number, name in enumerate(matrices(delta)):
        whole = flat[name] if residual is None else flat[name] + residual[name]
        matrix = _as_matrix(name, whole)
        rows = jnp.int32(len(matrix))
        if of_items(name) and there is not None:
            matrix, rows = jnp.where(there[:, None], matrix, 0), there.sum(dtype=jnp.int32)
        encoded = compressor.encode(matrix, rows, jax.random.fold_in(key, number))
        decoded = compressor.decode(encoded, matrix.shape[1])
        chex.assert_equal_shape([decoded, matrix])
        flat[name] = _as_leaf(name, decoded, whole)
        kept[name] = _as_leaf(name, matrix - decoded, whole)
    return nest(flat), None if residual is None else kept
