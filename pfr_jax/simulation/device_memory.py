"""What a round needs of an accelerator's memory, before anything is put there.

A round's arguments are known to the byte. What it works with was fitted to the figures of compilers
(``pfr compile-check``, docs/decisions/devices.md): nearly all of it are copies of the rows of one
block, in several orders of their axes.
"""

import itertools
import math
from typing import Any

import jax

from pfr_jax.algorithms.federated import Federation, FederationState
from pfr_jax.client.factored.kernel import by_kernel
from pfr_jax.client.host_memory import capacities, in_blocks
from pfr_jax.models.item_rows import Tree, flatten, of_items, tree_bytes
from pfr_jax.population.devices import device_bytes
from pfr_jax.population.population import Bucket, Population

MOST_OF_A_DEVICE = 0.95  # of its memory, that a round may fill; the rest is for the programs
OF_SERVER = 4  # the shared part: the server's, the sum, its mean, the optimizer's update
# A TPU's arrays are made of such tiles: the last two axes are padded to them.
TILE = 8, 128


def bytes_of_round(
    federation: Federation, state: FederationState, population: Population, cohort_size: int
) -> float:
    """Of one device.

    Args:
      federation: its engine, blocks and devices; whether clients stay on the host.
      state: shapes of all that is carried from round to round.
      population: the clients' tables.
      cohort_size: clients of a round.
    """
    buckets, devices = population.buckets, federation.mesh.size
    room = capacities(len(population.trainable), cohort_size, buckets)
    of_server = tree_bytes(state.start) + OF_SERVER * tree_bytes(state.server.shared)
    on_tpu = federation.mesh.devices.flat[0].platform == "tpu"
    held = of_server + tree_bytes(buckets) / devices
    parts = zip(buckets, state.clients, federation.block_sizes, room, strict=True)
    for bucket, clients, size, most in parts:
        if federation.on_host:  # a round's clients alone, and their tables once more
            share = min(1 / devices, in_blocks(most, size) / len(bucket))
            held += share * tree_bytes(bucket)
        else:
            share = 1 / devices
        held += share * sum(_bytes_of_stack(leaf, on_tpu) for leaf in jax.tree.leaves(clients))
    return held + _working_bytes(federation, population, on_tpu, row_numbers(state.server.shared))


def row_numbers(shared: Tree) -> float:
    """Numbers of the shared part that an item has."""
    leaves = (leaf for path, leaf in flatten(shared).items() if of_items(path))
    return float(sum(leaf.size / len(leaf) for leaf in leaves))


def _bytes_of_stack(leaf: Any, on_tpu: bool) -> float:
    """Of an array of a bucket's states; on a TPU a client's axes lie in the best of all orders."""
    if not on_tpu or leaf.ndim < 3 or 0 in leaf.shape:
        return tree_bytes(leaf)

    def padding(last: tuple[int, ...]) -> float:
        sizes = zip(last, TILE, strict=True)
        return math.prod(math.ceil(size / tile) * tile / size for size, tile in sizes)

    return tree_bytes(leaf) * min(map(padding, itertools.permutations(leaf.shape[1:], 2)))


def _working_bytes(
    federation: Federation, population: Population, on_tpu: bool, row_numbers: float
) -> float:
    """Of the largest block: blocks come one after the other. ``row_numbers`` are uploaded."""
    side, model = federation.side, federation.side.training.model

    def of_block(bucket: Bucket, size: int) -> float:
        rows = bucket.items.shape[1] if side.partial_compression else model.num_items
        if by_kernel(side, bucket):
            rows += -rows % side.kernel.rows
        copies = federation.engine.copies_of_rows(side, bucket, on_tpu, uploaded)
        return copies * size * rows * model.feature_size * bucket.values.dtype.itemsize

    uploaded = row_numbers / model.feature_size
    blocks = zip(population.buckets, federation.block_sizes, strict=True)
    return max(of_block(bucket, size) for bucket, size in blocks)


def fits(needed: float, federation: Federation) -> bool:
    """Whether a device has so many bytes for a round; True where it does not say what it has."""
    there = device_bytes(federation.mesh) / federation.mesh.size
    return not there or needed <= there * MOST_OF_A_DEVICE
