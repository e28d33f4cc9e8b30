"""The federation's fixed-point sums as vectors that can be masked, and back.

A client's payload is the sum over a cohort of one: whole changes in fixed point
(``pfr_jax.client.fixed_point``), how many are in it and were not taken, and, where the server's
denominator counts them, how many hold each row. Every row of every item is there, zeros included:
which are a client's own is what masks are to hide.
"""

import dataclasses

import jax
import numpy as np

from pfr_jax.aggregation import PayloadSum
from pfr_jax.privacy.secure_sum.messages import WORD


def summed(total: PayloadSum, counts: bool) -> PayloadSum:
    """What of it is in the secure sum; ``counts``: how many hold a row, too."""
    return total if counts else dataclasses.replace(total, holders=None)


def to_words(total: PayloadSum, counts: bool) -> np.ndarray:
    """The numbers of a fixed-point sum, one after the other, u32[d]; ``counts``: see ``summed``.

    Signed numbers are their remainders modulo 2^32, which add up alike; counts are whole.
    """
    leaves = [np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(summed(total, counts))]
    for leaf in leaves:
        if not np.array_equal(leaf, leaf.astype(np.int32)):
            raise TypeError("changes are no fixed-point numbers; see --deterministic_sum")
    return np.concatenate([leaf.astype(np.int32) for leaf in leaves]).view(WORD)


def from_words(words: np.ndarray, like: PayloadSum) -> PayloadSum:
    """The sum that these words (u32[d]) are of, in the shapes and types of ``like``."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = np.split(words.view(np.int32), ends[:-1])
    return jax.tree.unflatten(
        tree,
        [
            part.astype(leaf.dtype).reshape(leaf.shape)
            for part, leaf in zip(parts, leaves, strict=True)
        ],
    )
