"""Centralised training against a plain loop over minibatches, with Adam written out."""

from typing import Any

import jax
import numpy as np
import pytest
from federations import leaves_by_name, small_simulation
from oracle import gradient

from pfr_jax.algorithms.centralized import epoch_batches
from pfr_jax.evaluation.implicit import IMPLICIT
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.participation import sample_cohort
from pfr_jax.simulation.rounds import state_shapes
from pfr_jax.simulation.start import initial_params, seed_keys

SETTINGS = {
    "algorithm": "joint",
    "batch_size": 5,  # 13 users: batches of 5, 5 and 3
    "client_optimizer": "adam",
    "client_learning_rate": 0.01,
    "schedule": "constant",
    "local_epochs": 1,
    "input_offset": 0.5,
    "weight_decay": 0.02,
    "dropout": 0.0,
}


def adam_loop(simulation: Any, rounds: int, key: Any) -> tuple[dict[str, np.ndarray], Any]:
    """Weights after some rounds, and where they started."""
    ratings, train = simulation.ratings, simulation.split.train
    values = np.zeros((ratings.num_users, ratings.num_items))
    observed = np.zeros(values.shape, bool)
    where = ratings.user[train], ratings.item[train]
    values[where], observed[where] = simulation.target[train], True
    start = {k: v.astype(np.float64) for k, v in leaves_by_name(initial_params(simulation)).items()}
    w = dict(start)
    first, second, count = ({k: np.zeros_like(v) for k, v in w.items()} for _ in range(2)), 0, 0
    first, second = first
    for round in range(rounds):
        batches = epoch_batches(simulation.data, 5, 1, jax.random.fold_in(key, round))
        for users in np.asarray(batches):
            users = users[users < ratings.num_users]
            x, count = values[users], count + 1
            nobody, mask = np.zeros((len(users), 0)), np.ones((len(users), 5))
            offset = simulation.config.model.input_offset
            told, implicit = observed[users], simulation.task is IMPLICIT
            g = gradient(w, x, told, told, nobody, mask, implicit, offset)
            g = {name: np.asarray(leaf) for name, leaf in g.items()}
            factor = min(1.0, 1 / np.sqrt(sum((leaf**2).sum() for leaf in g.values())))
            for name in w:
                d = factor * g[name] + 0.02 * w[name]  # L2, coupled, as in PyTorch's Adam
                first[name] = 0.9 * first[name] + 0.1 * d
                second[name] = 0.999 * second[name] + 0.001 * d**2
                mean, var = first[name] / (1 - 0.9**count), second[name] / (1 - 0.999**count)
                w[name] = w[name] - 0.01 * mean / (np.sqrt(var) + 1e-8)
    return w, start


@pytest.mark.parametrize("feedback", ["explicit", "implicit"])
def test_change_of_every_leaf(feedback: str) -> None:
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        simulation = small_simulation(np.float64, feedback=feedback, **SETTINGS)
        key = seed_keys(0)[1]
        state = initial_state(simulation)
        step = jax.jit(simulation.algorithm.round)
        for round in range(2):
            cohort = simulation.population.cohort(
                sample_cohort(simulation, round), simulation.federation.block_sizes
            )
            state, report = step(state, simulation.data, cohort, jax.random.fold_in(key, round))
        expected, start = adam_loop(simulation, 2, key)
    assert np.isfinite(float(report.loss))
    for name, leaf in leaves_by_name(state.server.shared).items():
        change = expected[name] - start[name]
        error = np.abs(leaf - start[name] - change).max()
        # Adam divides by the gradient's own size, so rounding shows where it is nearly 0.
        assert error <= 1e-6 * np.abs(change).max(), name


def test_every_epoch_has_each_user_once_in_an_order_of_its_own() -> None:
    simulation = small_simulation(**SETTINGS)
    batches = np.asarray(epoch_batches(simulation.data, 5, 2, jax.random.key(3)))
    assert batches.shape == (6, 5)
    for epoch in (batches[:3], batches[3:]):
        assert sorted(epoch.ravel()) == [*range(13), 13, 13]  # 13: nobody, fills the last batch
    assert not np.array_equal(batches[:3], batches[3:])


def test_nothing_travels_and_nobody_has_private_state() -> None:
    simulation = small_simulation(**SETTINGS, validation_fraction=0.1)
    with jax.numpy_dtype_promotion("standard"):
        records = list(simulate(simulation))
    assert len(records) == 3 and simulation.num_clients == 1
    assert all(r.traffic.up == r.traffic.down == 0 for r in records)
    assert records[-1].evaluation and records[-1].evaluation.test
    state = state_shapes(simulation.algorithm, simulation.model, simulation.population.buckets)
    assert not jax.tree.leaves([clients.private for clients in state.clients])
