"""Predictions of every user equal a dense forward pass of its client's whole model."""

from functools import cache

import jax
import numpy as np
import pytest
from federations import leaves_by_name, small_simulation, unpacked
from oracle import forward

from pfr_jax.evaluation import scoring
from pfr_jax.evaluation.scoring import (
    make_scorer,
    score_of_pairs,
    score_of_users,
    user_features,
)
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.start import initial_params, seed_keys

# One client per user; three clients of four or five users; the same with everything shared.
CASES = [
    {"center": "user", "max_buckets": 2},
    {"num_clients": 3, "batch_size": 2, "center": "global"},
    {"num_clients": 3, "partial_compression": False, "algorithm": "fedavg", "max_buckets": 1},
    {"num_clients": 3, "algorithm": "local", "center": "user", "user_profile": True},
    {"algorithm": "local", "feedback": "implicit"},
]


@cache  # compiling a round is what takes time here
def trained(case):
    """A federation after one round, in which not every client took part."""
    simulation = small_simulation(local_epochs=1, server_learning_rate=3.0, **CASES[case])
    cohort = np.arange(0, simulation.population.num_clients, 2)
    laid_out = simulation.population.cohort(cohort, simulation.federation.block_sizes)
    step = jax.jit(simulation.algorithm.round)
    state = initial_state(simulation)
    state, _ = step(state, simulation.population.buckets, laid_out, seed_keys(0)[1])
    return simulation, state


def dense_predictions(simulation, state):
    """f64[U, I] from a loop over clients that hold whole models."""
    ratings, population = simulation.ratings, simulation.population
    inputs = np.zeros((ratings.num_users, ratings.num_items))
    observed = np.zeros(inputs.shape, bool)
    for n in simulation.split.train:
        where = user, _ = ratings.user[n], ratings.item[n]
        value = simulation.standard.values(simulation.target[[n]], np.array([user]), where[1])
        inputs[where], observed[where] = value[0], True
    profile = np.zeros((ratings.num_users, 0))
    if simulation.config.data.user_profile:
        profile = ratings.profile
    start = leaves_by_name(initial_params(simulation))
    shared = leaves_by_name(state.server.shared)
    out = np.zeros_like(inputs)
    for client in range(population.num_clients):
        users = np.flatnonzero(population.client_of_user == client)
        items = np.flatnonzero(observed[users].any(axis=0))
        own = {name: leaf.astype(np.float64) for name, leaf in start.items()}
        for name, change in leaves_by_name(unpacked(simulation, state, client).private).items():
            if "/item_" in name:
                own[name][items] += change[: len(items)]
            else:
                own[name] += change
        own |= {name: leaf.astype(np.float64) for name, leaf in shared.items()}
        code_scale = np.ones((len(users), len(own["encoder/norm_1/bias"])))
        with jax.enable_x64(True):
            out[users] = forward(own, inputs[users], profile[users], code_scale)
    return out


@pytest.fixture(params=[(32, 4096), (3, 10)], ids=["one-block", "many-blocks"])
def block_sizes(request, monkeypatch):
    """The module's own block sizes, and small ones that do not divide anything here."""
    monkeypatch.setattr(scoring, "CLIENTS_PER_BLOCK", request.param[0])
    monkeypatch.setattr(scoring, "PAIRS_PER_BLOCK", request.param[1])
    forget_compiled()
    yield
    forget_compiled()


def forget_compiled():
    user_features.clear_cache()
    score_of_pairs.clear_cache()


@pytest.mark.usefixtures("block_sizes")
@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda n: "-".join(CASES[n]))
def test_all_pairs_agree_with_a_dense_forward_pass(case):
    simulation, state = trained(case)
    population = simulation.population
    scorer = make_scorer(simulation.federation, state, population)
    assert bool(scorer.own) == (simulation.config.run.algorithm == "local")
    user, item = np.divmod(np.arange(13 * 23, dtype=np.int32), np.int32(23))
    pairs = score_of_pairs(scorer, user, item)
    dense = dense_predictions(simulation, state)
    np.testing.assert_allclose(np.asarray(pairs).reshape(13, 23), dense, rtol=1e-4, atol=1e-5)
    users = np.array([12, 0, 3, 3, 7])
    rows = jax.jit(score_of_users)(scorer, users)
    np.testing.assert_allclose(rows, dense[users], rtol=1e-4, atol=1e-5)
