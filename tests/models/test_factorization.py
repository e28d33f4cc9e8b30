"""Matrix factorisation against a plain loop over clients, with every gradient written out."""

import math
from typing import Any

import jax
import numpy as np
import pytest
from federations import leaves_by_name, small_simulation

from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import evaluate
from pfr_jax.evaluation.scoring import make_scorer, score_of_pairs, score_of_users
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.participation import sample_cohort
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import initial_params

PLAIN: dict[str, Any] = {
    "model": "mf",
    "hidden_sizes": (5,),
    "dropout": 0.0,
    "momentum": 0.0,
    "clip_norm": 0.0,
    "center": "global",
    "rounds": 3,
    "local_epochs": 2,
    "weight_decay": 1e-2,
}


def by_hand(
    simulation: Simulation, rounds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Item vectors and biases, user vectors and biases, after these rounds."""
    start = {k: v.astype(np.float64) for k, v in leaves_by_name(initial_params(simulation)).items()}
    q, c = start["decoder/output/item_kernel"], start["decoder/output/item_bias"]
    client, ratings, train = simulation.config.client, simulation.ratings, simulation.split.train
    v, b = np.zeros((ratings.num_users, q.shape[1])), np.zeros(ratings.num_users)
    user, item = ratings.user[train], ratings.item[train]
    value = simulation.standard.values(simulation.target[train], user, item)
    for round in range(rounds):
        rate = 0.5 * (1 + math.cos(math.pi * round / simulation.config.run.rounds))
        rate *= client.client_learning_rate
        cohort = sample_cohort(simulation, round)
        sum_q, sum_c = np.zeros_like(q), np.zeros_like(c)
        for u in cohort:
            rows, r = item[user == u], value[user == u]
            own_q, own_c = q[rows].copy(), c[rows].copy()
            for _ in range(client.local_epochs):
                error = 2 * (own_q @ v[u] + own_c + b[u] - r) / len(rows)
                grads = np.outer(error, v[u]), error, own_q.T @ error, error.sum()
                own_q -= rate * (grads[0] + client.weight_decay * own_q)
                own_c -= rate * (grads[1] + client.weight_decay * own_c)
                v[u] -= rate * (grads[2] + client.weight_decay * v[u])
                b[u] -= rate * (grads[3] + client.weight_decay * b[u])
            sum_q[rows] += own_q - q[rows]
            sum_c[rows] += own_c - c[rows]
        q, c = q + sum_q / len(cohort), c + sum_c / len(cohort)
    return q, c, v, b


def test_rounds_by_hand() -> None:
    with jax.enable_x64(True):
        simulation = small_simulation(np.float64, **PLAIN)
        assert simulation.federation.engine.name == "active_rows"
        state = list(simulate(simulation))[-1].state
        q, c, v, b = by_hand(simulation, 3)
        shared = leaves_by_name(state.server.shared)
        np.testing.assert_allclose(shared["decoder/output/item_kernel"], q, atol=1e-12)
        np.testing.assert_allclose(shared["decoder/output/item_bias"], c, atol=1e-12)
        population = simulation.population
        for user in range(population.num_users):
            own = state.clients[population.bucket_of[user]].private["user"]
            slot = population.slot_of[user]
            np.testing.assert_allclose(own["vector"][slot], v[user], atol=1e-12)
            np.testing.assert_allclose(own["bias"][slot], b[user], atol=1e-12)
        assert np.abs(v).max() > 1e-4 and np.abs(b).max() > 1e-3
        scorer = make_scorer(simulation.federation, state, population)
        users = np.arange(population.num_users, dtype=np.int32)
        scores = np.asarray(score_of_users(scorer, users))
        np.testing.assert_allclose(scores, v @ q.T + c + b[:, None], atol=1e-12)
        pairs = users, users[::-1].copy()
        of_pairs = np.asarray(score_of_pairs(scorer, *pairs))
        np.testing.assert_allclose(of_pairs, scores[pairs], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "local"},
        {"algorithm": "fedper"},
        {"algorithm": "fedalt", "momentum": 0.9},
        {"algorithm": "fedrecon", "client_optimizer": "adagrad"},
        {"feedback": "implicit", "dropout": 0.3},
        {"partial_compression": False},
        {"holdout_users": 0.25, "output_bias": "item"},
        {"num_devices": 3, "deterministic_sum": True},
    ],
)
def test_it_goes_with_everything_else(changes: dict[str, Any]) -> None:
    """It trains, is evaluated, and pairs and full rows of scores agree."""
    simulation = small_simulation(**{**PLAIN, **changes})
    records = list(simulate(simulation))
    assert all(np.isfinite(record.loss) for record in records)
    assert records[-1].evaluation is not None and records[-1].evaluation.test is not None
    if changes.get("algorithm") == "fedrecon":
        return
    scorer = make_scorer(simulation.federation, records[-1].state, simulation.population)
    users = np.arange(simulation.population.num_users, dtype=np.int32)
    scores = np.asarray(score_of_users(scorer, users))
    pairs = users, users[::-1].copy()
    np.testing.assert_allclose(np.asarray(score_of_pairs(scorer, *pairs)), scores[pairs], atol=1e-5)


def test_an_untrained_federation_predicts_the_centre() -> None:
    simulation = small_simulation(**PLAIN)
    found = evaluate(simulation, initial_state(simulation), best=math.inf, last=True)
    test, target = simulation.split.test, simulation.target
    ratings = simulation.ratings
    error = simulation.standard.values(target[test], ratings.user[test], ratings.item[test])
    assert found.test is not None
    assert found.test.rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_clients": 4}, "some client has several users"),
        ({"algorithm": "joint"}, "centralised training keeps none of a user"),
        ({"engine": "factored"}, "not made of layers that it knows"),
        ({"user_profile": True}, "has no use for profiles"),
    ],
)
def test_what_it_cannot_be_combined_with_is_one_clear_line(changes, reason) -> None:
    with pytest.raises(InputError, match=reason) as error:
        small_simulation(**{**PLAIN, **changes})
    assert "\n" not in str(error.value)
