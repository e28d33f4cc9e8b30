"""Which engine trains the clients, and in blocks of how many."""

import math

import jax

from pfr_jax.client.active_rows import ACTIVE_ROWS
from pfr_jax.client.block import Engine
from pfr_jax.client.factored import FACTORED
from pfr_jax.config import Config
from pfr_jax.data.population import Bucket, Population
from pfr_jax.errors import InputError

BLOCK_BYTES = 8 * 2**20  # of what a block of factored clients works on; measured (BUILD_NOTES)


def choose_engine(config: Config, population: Population) -> tuple[Engine, str]:
    """The engine that ``--engine`` asks for, and why. Raises InputError if it is not exact here."""
    obstacle = _obstacle(config, population)
    wanted = config.client.engine
    if wanted == "factored" and obstacle:
        raise InputError(f"--engine=factored: {obstacle}; use --engine=auto or active_rows")
    if wanted == "active_rows":
        return ACTIVE_ROWS, "as --engine asks"
    if obstacle:
        return ACTIVE_ROWS, obstacle
    return FACTORED, "exact for SGD with one user per client"


def _obstacle(config: Config, population: Population) -> str:
    """Why the factored engine would not be exact; empty if it is."""
    if config.run.algorithm in ("local", "joint"):
        return f"--algorithm={config.run.algorithm} is not what the factored engine computes"
    if config.client.client_optimizer != "sgd":
        return f"--client_optimizer={config.client.client_optimizer} is not linear in gradients"
    if not config.client.partial_compression:
        return "--nopartial_compression trains rows of items that a client has not rated"
    if any(bucket.users.shape[1] != 1 for bucket in population.buckets):
        return "some client has several users"
    return ""


def block_sizes(config: Config, engine: Engine, buckets: tuple[Bucket, ...]) -> tuple[int, ...]:
    """Clients of a block, per bucket: --block_size, or what suits the engine and the platform.

    At least two for the factored engine: reading one client is a slice, which XLA delays until
    after the writing, and then it copies the whole stack for it, in every block.
    """
    if config.client.block_size:
        least = 2 if engine is FACTORED else 1
        return (max(least, config.client.block_size),) * len(buckets)
    if jax.default_backend() != "cpu":
        return (256,) * len(buckets)
    if engine is ACTIVE_ROWS:
        return (4,) * len(buckets)
    return tuple(_cached_block(config, bucket.items.shape[1]) for bucket in buckets)


def _cached_block(config: Config, length: int) -> int:
    """The power of two of factored clients with ``length`` rows that a CPU's caches serve well.

    Other numbers of clients are up to twice as slow: XLA's loops have remainders then.
    """
    sizes, client = config.model.hidden_sizes, config.client
    hidden = sum(n * m for n, m in zip(sizes, sizes[1:], strict=False))
    carried = (client.private_momentum == "carry") + (client.shared_momentum == "carry")
    copies_of_rows = 3 + (client.shared_momentum == "carry")
    floats = (1 + carried) * hidden + copies_of_rows * length * sizes[0]
    return 2 ** min(6, int(math.log2(max(2, BLOCK_BYTES // (4 * floats)))))
