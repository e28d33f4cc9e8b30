"""Small federations on ragged random ratings, for the tests."""

import dataclasses
from typing import Any

import jax
import numpy as np

from pfr_jax.baselines.record import Known
from pfr_jax.client.block import ClientState
from pfr_jax.config import Config
from pfr_jax.data.splits import random_split
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.setup import Simulation, prepare
from pfr_jax.simulation.start import seed_keys


def ragged_ratings(num_users: int = 13, num_items: int = 23, seed: int = 0) -> Ratings:
    """From 2 to num_items ratings per user, in stars 1..5; every item occurs."""
    rng = np.random.default_rng(seed)
    lengths = np.linspace(2, num_items, num_users).astype(int)
    user = np.repeat(np.arange(num_users), lengths)
    item = np.concatenate([rng.permutation(num_items)[:n] for n in lengths])
    stars = rng.integers(1, 6, len(user)).astype(np.float32)
    ratings = Ratings.from_columns(user, item, stars, Scale(1, 5, 1), "ragged")
    profile = rng.integers(0, 2, (num_users, 3)).astype(np.float32)
    return dataclasses.replace(ratings, threshold=3.5, profile=profile)


def small_config(**changes: object) -> Config:
    """Paper settings on a tiny model; any setting by its name."""
    defaults: dict[str, object] = {
        "center": "none",
        "standardize": False,
        "weighting": "clients",
        "ridge": 0.0,
        "members": 1,
        "model_shrinkage": 0.0,
        "validation_fraction": 0.0,
        "test_fraction": 0.1,
        "hidden_sizes": (7, 5),
        "denominator": "clients",
        "weight_decay": 5e-4,
        "local_epochs": 2,
        "rounds": 3,
        "cohort_fraction": 0.6,
        "block_size": 4,
        "max_buckets": 1,  # of two everything is compiled twice
        "clip_predictions": False,
        "num_devices": 1,
        "dropout": 0.5,
        "input_offset": 0.0,
        "momentum": 0.9,
        "private_rate_factor": 1.0,
        "server_learning_rate": 1.0,
        "server_momentum": 0.0,
    }
    return Config().with_settings(**{**defaults, **changes})


def small_simulation(dtype: type = np.float32, **changes: object) -> Simulation:
    return simulation_of(small_config(**changes), ragged_ratings(), dtype)


def of_two_buckets(dtype: type = np.float32, **changes: object) -> Simulation:
    """Where it may matter that clients of different sizes lie in different stacks."""
    return small_simulation(dtype, **{"max_buckets": 2, **changes})


def simulation_of(config: Config, ratings: Ratings, dtype: type = np.float32) -> Simulation:
    """With the random split that the settings ask for."""
    data = config.data
    fractions = data.validation_fraction, data.test_fraction
    split = random_split(len(ratings), *fractions, data.split_seed)
    return prepare(config, ratings, split, dtype)


def leaves_by_name(tree: object) -> dict[str, np.ndarray]:
    """``encoder/input/bias`` and so on -> array."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(entry.key for entry in path): np.asarray(leaf) for path, leaf in flat}


def unpacked(simulation: Simulation, state: Any, client: int) -> ClientState:
    """One client's state as whole rows and matrices, whatever the engine; item rows padded."""
    population, federation = simulation.population, simulation.federation
    bucket, slot = population.bucket_of[client], population.slot_of[client]
    table = population.buckets[bucket]
    own = jax.tree.map(lambda leaf: np.asarray(leaf)[slot], state.clients[bucket])
    return federation.engine.unpack(
        federation.side,
        state.start,
        state.server.shared,
        own,
        table.items[slot],
        federation.side.training.inputs(table.values[slot], table.known[slot]),
    )


COHORT = np.array([1, 3, 4, 8, 10, 12])


def run_rounds(simulation: Simulation, cohorts: list[np.ndarray], step: Any = None) -> Any:
    """The state after these cohorts' rounds."""
    step = step or jax.jit(simulation.algorithm.round)
    state = initial_state(simulation)
    for index, cohort in enumerate(cohorts):
        key = jax.random.fold_in(seed_keys(0)[1], index)
        laid_out = simulation.population.cohort(cohort, simulation.federation.block_sizes)
        state, _ = step(state, simulation.population.buckets, laid_out, key)
    return state


def client_state(simulation: Simulation, state: Any, client: int) -> Any:
    """One client's state without padding: leaves cut to its own rows."""
    population = simulation.population
    length = population.buckets[population.bucket_of[client]].items.shape[1]
    rows = population.rows[client]
    cut = lambda leaf: leaf[:rows] if leaf.ndim and leaf.shape[0] == length else leaf  # noqa: E731
    own = unpacked(simulation, state, client)
    return jax.tree.map(lambda leaf: cut(np.asarray(leaf)), own)


def everything(simulation: Simulation, state: Any) -> Any:
    """The server's state and that of every client. (Padding and untrained clients hold no data.)"""
    clients = [client_state(simulation, state, c) for c in range(simulation.num_clients)]
    return state.server, clients


def assert_same_change(one: Any, other: Any, start: Any, tolerance: float = 1e-4) -> None:
    """Two trees moved alike from ``start``, relative to the largest move of each leaf."""

    def check(a: Any, b: Any, s: Any) -> None:
        a, b = np.asarray(a) - np.asarray(s), np.asarray(b) - np.asarray(s)
        assert np.abs(a - b).max() <= tolerance * np.abs(a).max() + 1e-12

    jax.tree.map(check, one, other, start)


def known_stars(seed: int = 0) -> Known:
    """Stars for a baseline to be fitted on; the last user and the last item have none."""
    rng = np.random.default_rng(seed)
    user, item = np.divmod(rng.choice(12 * 9, 60, replace=False), 9)
    return Known(user, item, rng.integers(1, 6, 60).astype(np.float64), 13, 10)


def known_choices(seed: int = 0) -> Known:
    """Likewise choices and low ratings."""
    known = known_stars(seed)
    return dataclasses.replace(known, value=(known.value >= 3).astype(np.float64))
