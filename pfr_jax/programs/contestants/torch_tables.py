"""Where ``torch_batched`` keeps the clients' and the server's parameters between rounds.

Every leaf is a table indexed by the client's slot, or, for leaves with a row per item, one flat
table with the rows of all clients one after another: no padding in storage. Row T of these and
row I of the server's are all zeros; padding reads and writes them, and they stay zero.
Legend as in ``torch_batched``.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfr_jax.programs.contestants.torch_step import Data, Trained
from pfr_jax.programs.contestants.workload import Workload

ALIGNMENT = 8  # lengths are padded to its multiples: whole vectors
PRIVATE_VECTORS = [
    "encoder/input/bias",
    "encoder/norm_0/scale",
    "encoder/norm_0/bias",
    "encoder/linear_1/bias",
    "encoder/norm_1/scale",
    "encoder/norm_1/bias",
]
SHARED_VECTORS = ["decoder/linear_0/bias", "decoder/norm_0/scale", "decoder/norm_0/bias"]
# The one leaf that each other field of Trained holds.
LEAVES = {
    "first": "encoder/input/item_kernel",
    "hidden": "encoder/linear_1/kernel",
    "decoder": "decoder/linear_0/kernel",
    "output": "decoder/output/item_kernel",
    "output_bias": "decoder/output/item_bias",
}
PRIVATE = ("first", "hidden", "private")
SHARED = ("decoder", "shared", "output", "output_bias")
ROWS = ("first", "output", "output_bias")  # fields with a row per item

Leaves = dict[str, Tensor]  # by field of Trained


class Block(NamedTuple):
    """Which clients and rows a block consists of."""

    slots: Tensor  # i64[B]
    rows: Tensor  # i64[B, L], into the flat tables; T: padding
    items: Tensor  # i64[B, L]; I: padding

    def places(self, field: str) -> Tensor:
        """Where the block's part of a field's table is."""
        return self.rows if field in ROWS else self.slots


class Workspace:
    """Memory that a worker uses for block after block.

    Fresh pages for every block cost as much as the copies into them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory: dict[str, Tensor] = {}

    def view(self, name: str, shape: Sequence[int]) -> Tensor:
        """An uninitialised f[shape], the same memory for the same name."""
        size = math.prod(shape)
        if name not in self._memory or len(self._memory[name]) < size:
            self._memory[name] = torch.empty(size, device=self._device)
        return self._memory[name][:size].view(shape)

    def take_rows(self, name: str, table: Tensor, places: Tensor) -> Tensor:
        """``table[places]`` in that memory."""
        out = self.view(name, (places.numel(), *table.shape[1:]))
        torch.index_select(table, 0, places.flatten(), out=out)
        return out.view(*places.shape, *table.shape[1:])


class Tables:
    """Parameters and momentum of the n clients that the cohorts name, and the server's."""

    def __init__(self, workload: Workload, device: torch.device) -> None:
        known = np.unique(np.concatenate(workload.cohorts))
        self._slot = np.full(workload.num_clients, -1)
        self._slot[known] = np.arange(len(known))
        data = [workload.client(client) for client in known]
        lengths = workload.lengths[known]
        total, num_items = lengths.sum(), workload.num_items

        def tensor(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=device)  # a copy: the server's is stepped in place

        self._lengths = tensor(lengths)
        self._starts = tensor(np.concatenate([[0], np.cumsum(lengths)[:-1]]))
        items = np.concatenate([items for items, _ in data] + [[num_items]])
        self._items = tensor(items.astype(np.int64))
        self._values = tensor(np.concatenate([v for _, v in data] + [np.zeros(1, np.float32)]))
        self._end = int(total)  # T

        start = {field: tensor(leaf) for field, leaf in _by_field(workload.initial).items()}
        start |= {f: torch.cat([start[f], torch.zeros_like(start[f][:1])]) for f in ROWS}
        self.server: Leaves = {field: start[field] for field in SHARED}
        self.weights: Leaves = {
            field: start[field][self._items]
            if field in ROWS
            else start[field].expand(len(known), *start[field].shape).clone()
            for field in PRIVATE
        }
        self._start = {field: start[field] for field in PRIVATE}
        paths = PRIVATE_VECTORS + SHARED_VECTORS
        self._vector_sizes = {path: len(workload.initial[path]) for path in paths}
        self.momentum: Leaves = {}
        if workload.carry_private_momentum:
            self.momentum |= {f: torch.zeros_like(self.weights[f]) for f in PRIVATE}
        if workload.carry_shared_momentum:
            for field in SHARED:
                count = self._end + 1 if field in ROWS else len(known)
                shape = start[field].shape[1:] if field in ROWS else start[field].shape
                self.momentum[field] = torch.zeros(count, *shape, device=device)

    def slots(self, cohort: np.ndarray) -> np.ndarray:
        """Places of clients in the tables, i64[clients]."""
        slots = self._slot[cohort]
        if (slots < 0).any():
            raise ValueError("Only clients of the workload's cohorts can be trained.")
        return slots

    def block(self, slots: np.ndarray) -> tuple[Block, Data]:
        """The rows and the data of the clients at these slots."""
        at = torch.from_numpy(slots).to(self._lengths.device)
        lengths = self._lengths[at, None]
        padded = -(-int(lengths.max()) // ALIGNMENT) * ALIGNMENT
        place = torch.arange(padded, device=at.device)
        present = place < lengths
        rows = torch.where(present, self._starts[at, None] + place, self._end)
        ratings = self._values[rows]
        weights = present * (2 / lengths).float()
        squared = (ratings * ratings).sum(1, keepdim=True)
        return Block(at, rows, self._items[rows]), Data(ratings, weights, squared)

    def load(self, block: Block, space: "Workspace") -> tuple[Trained, Trained]:
        """Copies of the parameters and the momentum of a block's clients, in ``space``."""
        weights: Leaves = {}
        for field in Trained._fields:
            if field in self.weights:
                weights[field] = space.take_rows(field, self.weights[field], block.places(field))
            elif field in ROWS:
                weights[field] = space.take_rows(field, self.server[field], block.items)
            else:
                server = self.server[field]
                weights[field] = space.view(field, (len(block.slots), *server.shape))
                weights[field].copy_(server)
        momentum: Leaves = {}
        for field, weight in weights.items():
            name = f"momentum {field}"
            if field in self.momentum:
                momentum[field] = space.take_rows(name, self.momentum[field], block.places(field))
            else:
                momentum[field] = space.view(name, weight.shape).zero_()
        return Trained(**weights), Trained(**momentum)

    def store(self, block: Block, params: Trained, momentum: Trained) -> None:
        """Writes back what the clients keep."""
        for tables, leaves in ((self.weights, params), (self.momentum, momentum)):
            for field, table in tables.items():
                table[block.places(field)] = getattr(leaves, field)

    def add_changes(self, sums: Leaves, block: Block, params: Trained, space: "Workspace") -> None:
        """Adds the changes of the shared parameters to ``sums``, like ``server``.

        ``params`` is used up.
        """
        for field, server in self.server.items():
            change = getattr(params, field)
            if field in ROWS:
                change -= space.take_rows("before", server, block.items)
                sums[field].index_add_(0, block.items.flatten(), change.flatten(0, 1))
            else:
                change -= server
                sums[field] += change.sum(0)

    def shared(self) -> dict[str, np.ndarray]:
        """The server's parameters by path."""
        leaves = {f: t[:-1] if f in ROWS else t for f, t in self.server.items()}
        return self._by_path(leaves, "shared", SHARED_VECTORS)

    def private(self, client: int, items: np.ndarray) -> dict[str, np.ndarray]:
        """A client's encoder by path, the first layer on its items (i32[L])."""
        slot = self._slot[client]
        if slot < 0:
            leaves = {f: t[items] if f in ROWS else t for f, t in self._start.items()}
        else:
            rows = slice(int(self._starts[slot]), int(self._starts[slot] + self._lengths[slot]))
            leaves = {f: t[rows if f in ROWS else int(slot)] for f, t in self.weights.items()}
        return self._by_path(leaves, "private", PRIVATE_VECTORS)

    def _by_path(self, leaves: Leaves, vectors: str, paths: list[str]) -> dict[str, np.ndarray]:
        """Leaves by field of ``Trained`` to leaves by path, ``vectors`` taken apart."""
        arrays = {field: leaf.cpu().numpy().copy() for field, leaf in leaves.items()}
        ends = np.cumsum([self._vector_sizes[path] for path in paths])
        parts = np.split(arrays.pop(vectors), ends[:-1])
        return {LEAVES[f]: leaf for f, leaf in arrays.items()} | dict(
            zip(paths, parts, strict=True)
        )


def _by_field(leaves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leaves by path to leaves by field of ``Trained``."""
    fields = {field: leaves[path] for field, path in LEAVES.items()}
    fields["private"] = np.concatenate([leaves[path] for path in PRIVATE_VECTORS])
    fields["shared"] = np.concatenate([leaves[path] for path in SHARED_VECTORS])
    return fields
