"""Which engine trains the clients, and in blocks of how many."""

import jax

from pfr_jax.client.active_rows import ACTIVE_ROWS
from pfr_jax.client.block import Engine
from pfr_jax.client.factored import FACTORED
from pfr_jax.config import Config
from pfr_jax.data.population import Bucket, Population
from pfr_jax.errors import InputError


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
    if config.run.algorithm not in ("personalfr", "fedavg"):
        return f"--algorithm={config.run.algorithm} is not what the factored engine computes"
    if config.client.client_optimizer != "sgd":
        return f"--client_optimizer={config.client.client_optimizer} is not linear in gradients"
    if not config.client.partial_compression:
        return "--nopartial_compression trains rows of items that a client has not rated"
    if any(bucket.users.shape[1] != 1 for bucket in population.buckets):
        return "some client has several users"
    return ""


def block_sizes(config: Config, engine: Engine, buckets: tuple[Bucket, ...]) -> tuple[int, ...]:
    """Clients of a block, per bucket: --block_size, or what suits the engine and the platform."""
    if config.client.block_size:
        return (config.client.block_size,) * len(buckets)
    if jax.default_backend() != "cpu":
        return (256,) * len(buckets)
    return (4 if engine is ACTIVE_ROWS else 16,) * len(buckets)
