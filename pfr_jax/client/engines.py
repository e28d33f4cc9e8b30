"""Which engine trains the clients, and in blocks of how many."""

import math
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from pfr_jax.client.active_rows import ACTIVE_ROWS
from pfr_jax.client.block import Engine, Wanted
from pfr_jax.client.factored.engine import FACTORED
from pfr_jax.client.training import Parts
from pfr_jax.config import ClientConfig
from pfr_jax.errors import InputError
from pfr_jax.models.item_rows import flatten, of_items
from pfr_jax.models.model import Model, init_params
from pfr_jax.population.devices import device_bytes, on_cpu
from pfr_jax.population.population import Population

ENGINES = (FACTORED, ACTIVE_ROWS)  # the first that can is taken
# Of the item rows of a block on an accelerator: small blocks are many small operations, of large
# ones the temporaries do not fit. What suits 16 GiB; other devices have it in proportion to their
# memory (docs/decisions/devices.md).
ACCELERATOR_BYTES, OF_DEVICE = 512 * 2**20, 15.75 * 2**30
FEWEST_CLIENTS, MOST_CLIENTS = 8, 8192  # of a block there
KERNEL_TIMES = 4  # so many more of a block that a kernel computes, which copies no rows
COPIES = 3.3  # numbers that a TPU's kernel works with, by number of an item, where lanes are full


def choose_engine(name: str, wanted: Wanted, algorithm: str) -> tuple[Engine, str]:
    """The engine that ``name`` (of --engine) asks for, and why it is that one.

    Raises InputError if it cannot compute what is ``wanted``, or with "auto" if none can;
    ``algorithm`` is what the message calls it.
    """
    obstacles = {engine.name: engine.obstacle(wanted) for engine in ENGINES}
    able = [engine for engine in ENGINES if not obstacles[engine.name]]
    if name == "auto" and able:
        passed_over = [obstacle for obstacle in obstacles.values() if obstacle]
        return able[0], passed_over[0] if passed_over else able[0].reason
    for engine in able:
        if engine.name == name:
            return engine, "as --engine asks"
    wrong = {n: text for n, text in obstacles.items() if name in ("auto", n)}
    reasons = "; ".join(f"{engine}: {text}" for engine, text in wrong.items())
    others = " or ".join(engine.name for engine in able)
    hint = f"; use --engine=auto or {others}" if able else ""
    raise InputError(f"--engine={name} cannot compute --algorithm={algorithm}: {reasons}{hint}")


def block_sizes(
    config: ClientConfig,
    model: Model,
    engine: Engine,
    population: Population,
    share: float = 1.0,
    kernel: Any = None,
) -> tuple[int, ...]:
    """Clients of a block, per bucket: --block_size, or what suits the engine and the devices.

    On an accelerator a block has item rows of a share of its memory, and not many more places than
    a round has clients of the bucket: it is this ``share`` of all. ``kernel``: what computes all
    of them, if one does.
    """
    buckets = population.buckets
    if config.block_size:
        return (max(engine.least_block, config.block_size),) * len(buckets)
    lengths = [bucket.items.shape[1] for bucket in buckets]
    if not on_cpu(population.mesh):
        if not config.partial_compression:
            lengths = [model.num_items] * len(buckets)
        counts = [math.ceil(share * len(bucket) / population.mesh.size) for bucket in buckets]
        width = float(_width_of_rows(model))
        most_bytes, most = block_bytes(population.mesh), MOST_CLIENTS
        if kernel:  # on a TPU's whole lanes a row of few numbers is not small
            width = max(width, kernel.numbers_of_row(model) / COPIES)
            most_bytes, most = KERNEL_TIMES * most_bytes, kernel.most_clients
        return tuple(map(partial(accelerator_block, width, most_bytes, most), lengths, counts))
    carried = Parts(config.private_momentum == "carry", config.shared_momentum == "carry")
    return tuple(engine.cpu_block(model, rows, carried) for rows in lengths)


def _width_of_rows(model: Model) -> int:
    """Numbers of an item in the whole model."""
    params = flatten(jax.eval_shape(lambda: init_params(model, jax.random.key(0))))
    return sum(leaf.size // model.num_items for path, leaf in params.items() if of_items(path))


def block_bytes(mesh: Mesh) -> float:
    """Of the item rows of a block on these accelerators; where nobody knows their memory, on 16
    GiB."""
    return ACCELERATOR_BYTES * (device_bytes(mesh) / mesh.size or OF_DEVICE) / OF_DEVICE


def accelerator_block(width: float, most_bytes: float, most: int, rows: int, there: int) -> int:
    """The power of two of clients with so many rows (padded) of so many numbers that a block of
    ``most_bytes`` holds: ``most`` at most, and no more than to hold all that are ``there``."""
    wanted = 2 ** int(math.log2(max(1, most_bytes // (4 * rows * width))))
    return int(max(FEWEST_CLIENTS, min(most, wanted, 2 ** math.ceil(math.log2(there)))))
