"""Bytes between clients and server, counted from the arrays that cross the boundary.

Down, a client receives the shared part on its rows; up, it hands over the change of the same
arrays. With partial compression it also names its rows once, in its request, as int32 indices;
rows then travel in that order, so nothing is indexed on the way down. Padding is not sent. Where
nothing is shared nothing travels.
"""

from dataclasses import dataclass

import jax
import numpy as np

from pfr_jax.rows import Tree, map_rows

INDEX_BYTES = 4  # an item index, int32


@dataclass(frozen=True)
class Traffic:
    """Bytes of a round, or of several added up."""

    payload_up: int = 0
    index_up: int = 0
    payload_down: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            self.payload_up + other.payload_up,
            self.index_up + other.index_up,
            self.payload_down + other.payload_down,
        )

    @property
    def up(self) -> int:
        return self.payload_up + self.index_up

    @property
    def down(self) -> int:
        return self.payload_down


@dataclass(frozen=True)
class Ledger:
    """What one client and one of its rows weigh."""

    dense_bytes: int  # all shared leaves that are not per item
    row_bytes: int  # the item leaves, per item
    num_items: int
    partial_compression: bool

    def round_traffic(self, rows: np.ndarray) -> Traffic:
        """The traffic of a cohort whose clients hold ``rows`` (i64[C]) items each."""
        sent = int(rows.sum()) if self.partial_compression else len(rows) * self.num_items
        payload = len(rows) * self.dense_bytes + sent * self.row_bytes
        names_rows = self.partial_compression and self.row_bytes > 0
        indices = INDEX_BYTES * sent if names_rows else 0
        return Traffic(payload_up=payload, index_up=indices, payload_down=payload)


def shared_ledger(shared: Tree, num_items: int, partial_compression: bool) -> Ledger:
    """The ledger for this shared part (arrays or their shapes)."""

    def nbytes(leaf: jax.ShapeDtypeStruct) -> int:
        return leaf.size * leaf.dtype.itemsize

    def total(tree: Tree) -> int:
        return sum(jax.tree.leaves(tree))

    dense = total(map_rows(lambda leaf: 0, nbytes, shared))
    rows = total(map_rows(lambda leaf: nbytes(leaf) // num_items, lambda leaf: 0, shared))
    return Ledger(dense, rows, num_items, partial_compression)
