"""What a round needs of an accelerator's memory, before anything is put there.

A round's arguments are known to the byte. What it works with was fitted to the figures of compilers
(``pfr compile-check``, docs/decisions/devices.md): nearly all of it are copies of the rows of one
block and, on a TPU, of the largest stack of clients' matrices, in several orders of their axes.
"""

from pfr_jax.algorithms.federated import Federation, FederationState
from pfr_jax.client.host_memory import capacities, in_blocks
from pfr_jax.models.item_rows import tree_bytes
from pfr_jax.population.devices import device_bytes
from pfr_jax.population.population import Population

MOST_OF_A_DEVICE = 0.95  # of its memory, that a round may fill; the rest is for the programs
OF_SERVER = 4  # the shared part: the server's, the sum, its mean, the optimizer's update
OF_STACK = (
    2.7  # on a TPU, of the largest bucket's states: once more in each order of axes, and a bit
)


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
    held, largest = of_server + tree_bytes(buckets) / devices, 0.0
    parts = zip(buckets, state.clients, federation.block_sizes, room, strict=True)
    for bucket, clients, size, most in parts:
        if federation.on_host:  # a round's clients alone, and their tables once more
            share = min(1 / devices, in_blocks(most, size) / len(bucket))
            held += share * tree_bytes(bucket)
        else:
            share = 1 / devices
        held += share * tree_bytes(clients)
        largest = max(largest, share * tree_bytes(clients))
    if federation.mesh.devices.flat[0].platform == "tpu":
        held += OF_STACK * largest
    return held + _working_bytes(federation, population)


def _working_bytes(federation: Federation, population: Population) -> float:
    """Of the largest block: blocks come one after the other."""
    model, item_bytes = federation.side.training.model, population.buckets[0].values.dtype.itemsize
    partial = federation.side.partial_compression
    rows = max(
        size * (bucket.items.shape[1] if partial else model.num_items)
        for bucket, size in zip(population.buckets, federation.block_sizes, strict=True)
    )
    on_tpu = federation.mesh.devices.flat[0].platform == "tpu"
    copies = federation.engine.copies_of_rows(model.members, on_tpu)
    return copies * rows * model.feature_size * item_bytes


def fits(needed: float, federation: Federation) -> bool:
    """Whether a device has so many bytes for a round; True where it does not say what it has."""
    there = device_bytes(federation.mesh) / federation.mesh.size
    return not there or needed <= there * MOST_OF_A_DEVICE
