"""Bytes between clients and server, counted from the arrays that cross the boundary.

Down, a client receives the shared part on its rows; up, it hands over the change of the same
arrays, weight matrices as heavy as their compressor says. With partial compression it also names
its rows once, in its request, as int32 indices; rows then travel in that order, so nothing is
indexed on the way down. Padding is not sent. Where nothing is shared nothing travels.
"""

from dataclasses import dataclass

import jax
import numpy as np

from pfr_jax.client import compressors
from pfr_jax.client.compressors import FLOAT_BYTES, Compressor
from pfr_jax.models.item_rows import Tree, map_rows, of_items
from pfr_jax.privacy.secure_sum.costs import client_costs

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
    compressor: Compressor | None = None
    # Of the weight matrices that go through it: (rows, width); rows None: one per item.
    matrices: tuple[tuple[int | None, int], ...] = ()

    def start_traffic(
        self, rows: np.ndarray, per_row: tuple[int, int], per_client: tuple[int, int]
    ) -> Traffic:
        """Of sums over clients with ``rows`` i64[N] items, before the first round.

        ``per_row`` and ``per_client`` are the numbers up and down of each. Where there are numbers
        of rows a client names its rows, once.
        """
        total, clients = int(rows.sum()), len(rows)
        up, down = (
            FLOAT_BYTES * (of_row * total + of_client * clients)
            for of_row, of_client in zip(per_row, per_client, strict=True)
        )
        return Traffic(up, INDEX_BYTES * total if any(per_row) else 0, down)

    def round_traffic(self, asked: np.ndarray, delivered: np.ndarray) -> Traffic:
        """The traffic of a round; the rows (i64[...]) that each client holds who is asked, and of
        those that deliver. All that are asked receive; what is sent too late is not counted."""
        names_rows = self.partial_compression and self.row_bytes > 0
        indices = INDEX_BYTES * int(asked.sum()) if names_rows else 0
        payload = int(self.of_uploads(delivered).sum())
        return Traffic(payload, indices, int(self.of_views(asked).sum()))

    def of_views(self, rows: np.ndarray) -> np.ndarray:
        """Bytes i64[N] of clients' views of the shared part, which have ``rows`` i64[N] each."""
        return self.dense_bytes + self._rows(rows) * self.row_bytes

    def of_uploads(self, rows: np.ndarray) -> np.ndarray:
        """Bytes i64[N] of what these clients hand over."""
        total, of_client = self.of_views(rows), self._rows(rows)
        if self.compressor is None:
            return total
        for count, width in self.matrices:
            there = of_client if count is None else np.full_like(of_client, count)
            total += self.compressor.num_bytes(there, width) - there * width * FLOAT_BYTES
        return total

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        """How many rows travel, i64[N]."""
        return rows if self.partial_compression else np.full_like(rows, self.num_items)


def shared_ledger(
    shared: Tree, num_items: int, partial_compression: bool, compressor: Compressor | None = None
) -> Ledger:
    """The ledger for this shared part (arrays or their shapes)."""
    shapes = {n: compressors.shape(n, leaf) for n, leaf in compressors.matrices(shared).items()}
    matrices = tuple(
        (None if of_items(name) else rows, width) for name, (rows, width) in shapes.items()
    )
    size = weights(shared, num_items)
    return Ledger(*size, num_items, partial_compression, compressor, matrices)


def weights(part: Tree, num_items: int) -> tuple[int, int]:
    """Bytes of a part of the model (arrays or their shapes): what is not per item, and per item."""

    def nbytes(leaf: jax.ShapeDtypeStruct) -> int:
        return leaf.size * leaf.dtype.itemsize

    def total(tree: Tree) -> int:
        return sum(jax.tree.leaves(tree))

    dense = total(map_rows(lambda leaf: 0, nbytes, part))
    rows = total(map_rows(lambda leaf: nbytes(leaf) // num_items, lambda leaf: 0, part))
    return dense, rows


@dataclass(frozen=True)
class SecureLedger(Ledger):
    """The ledger of secure sums: rows of all items travel, both ways, lest they tell a client's.

    Up goes one masked vector; it and all that the protocol needs besides are as many bytes as
    `pfr_jax.privacy.secure_sum` really sends.
    """

    length: int = 0  # numbers of a client's vector

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        return np.full_like(rows, self.num_items)

    def round_traffic(self, asked: np.ndarray, delivered: np.ndarray) -> Traffic:
        """See ``Ledger``; a client that does not deliver has sent nothing."""
        clients = len(delivered)
        if not clients:
            return Traffic(payload_down=int(self.of_views(asked).sum()))
        costs = client_costs(self.length, len(asked), masked=clients)
        down = int(self.of_views(asked).sum()) + clients * costs.down
        return Traffic(payload_up=clients * costs.up, payload_down=down)

    def traffic_of_sums(self, clients: int, sums: int, up: int, down: int) -> Traffic:
        """Of secure sums over all clients, before the first round.

        ``up`` and ``down`` are a client's numbers in all of the ``sums`` together.
        """
        costs = client_costs(0, clients)
        return Traffic(
            payload_up=clients * (FLOAT_BYTES * up + sums * costs.up),
            payload_down=clients * (FLOAT_BYTES * down + sums * costs.down),
        )
