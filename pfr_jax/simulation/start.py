"""What all clients and the server start from, fixed by the seed and the training ratings."""

import jax
import numpy as np

from pfr_jax.data.effects import ITEM_SHRINKAGE
from pfr_jax.models.model import Params, init_params
from pfr_jax.population.devices import on_cpu
from pfr_jax.simulation.setup import Simulation


def seed_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the initial weights and the key that every round's key is folded from."""
    init_key, rounds_key = jax.random.split(jax.random.key(seed))
    return init_key, rounds_key


def initial_params(simulation: Simulation) -> Params:
    """The model that every client and the server start from."""
    dtype = simulation.population.buckets[0].values.dtype
    key = seed_keys(simulation.config.run.seed)[0]
    # What runs once is not worth a second of LLVM's; the numbers are the same.
    quick = {"xla_backend_optimization_level": 1} if on_cpu(simulation.population.mesh) else None
    init = jax.jit(init_params, static_argnums=(0, 3), compiler_options=quick)
    return init(simulation.model, key, _output_bias(simulation), dtype)


def _output_bias(simulation: Simulation) -> np.ndarray | float:
    """Where the output layer's bias begins: a number, or f64[I]."""
    kind = simulation.config.model.output_bias
    if kind == "zero":
        return 0.0
    if simulation.popularity is not None:
        return simulation.task.link(_released_share(simulation, simulation.popularity))
    task, new = simulation.task, simulation.new_users
    examples = simulation.examples.of_users(~new)
    user, item, value = examples.user, examples.item, examples.target
    if task.adds_center:
        value = simulation.standard.values(value, user, item)
    bias = value.mean()
    if kind == "item":
        size = simulation.ratings.num_items
        count = np.bincount(item, minlength=size)
        total = np.bincount(item, value, minlength=size)
        bias = (total + ITEM_SHRINKAGE * bias) / (count + ITEM_SHRINKAGE)
    return task.link(bias)


def _released_share(simulation: Simulation, popularity: np.ndarray) -> np.ndarray:
    """Of positives among the examples of each item, f64[I], from released numbers alone.

    Clients draw negatives of every item alike.
    """
    mean = 1 / (1 + simulation.config.data.negatives)
    drawn = simulation.config.data.negatives * popularity.sum() / len(popularity)
    return (popularity + ITEM_SHRINKAGE * mean) / (popularity + drawn + ITEM_SHRINKAGE)
