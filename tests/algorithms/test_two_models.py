"""Ditto and APFL against a plain loop over clients that hold two whole dense models.

The loop is written for matrix factorisation, whose gradients are written out by hand.
"""

import math
from typing import Any

import jax
import numpy as np
import pytest
from federations import leaves_by_name, small_simulation

from pfr_jax.errors import InputError
from pfr_jax.evaluation.scoring import make_scorer, score_of_pairs, score_of_users
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.participation import sample_cohort
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import initial_params

COUPLING = 0.3
PLAIN: dict[str, Any] = {
    "model": "mf",
    "hidden_sizes": (5,),
    "dropout": 0.0,
    "momentum": 0.0,
    "clip_norm": 0.7,
    "center": "global",
    "rounds": 4,
    "local_epochs": 3,
    "weight_decay": 1e-2,
    "coupling": COUPLING,
    "cohort_fraction": 0.3,
}
Model = dict[str, np.ndarray]  # q [L, k], c [L], v [k], b []


def gradient(model: Model, stars: np.ndarray) -> Model:
    """Of the mean squared error of the client's own ratings."""
    q, c, v, b = (model[name] for name in "qcvb")
    error = 2 * (q @ v + c + b - stars) / len(stars)
    return {"q": np.outer(error, v), "c": error, "v": q.T @ error, "b": error.sum()}


def clipped(grads: Model) -> Model:
    norm = math.sqrt(sum(float(np.sum(g**2)) for g in grads.values()))
    return {n: g * min(1, PLAIN["clip_norm"] / norm) for n, g in grads.items()}


def mixed(own: Model, shared: Model) -> Model:
    return {n: (1 - COUPLING) * own[n] + COUPLING * shared[n] for n in own}


def local_steps(name: str, own: Model, shared: Model, stars: np.ndarray, rate: float) -> None:
    """In place."""
    received = {n: np.copy(leaf) for n, leaf in shared.items()}
    for _ in range(PLAIN["local_epochs"]):
        of_shared = gradient(shared, stars)
        if name == "ditto":
            of_own = gradient(own, stars)
            of_own = {n: g + COUPLING * (own[n] - received[n]) for n, g in of_own.items()}
        else:
            of_mixture = gradient(mixed(own, shared), stars)
            of_own = {n: (1 - COUPLING) * g for n, g in of_mixture.items()}
        for model, grads in ((shared, clipped(of_shared)), (own, clipped(of_own))):
            for n, g in grads.items():
                model[n] = model[n] - rate * (g + PLAIN["weight_decay"] * model[n])


def by_hand(name: str, simulation: Simulation) -> tuple[Model, dict[int, Model]]:
    """The server's whole model, and each trained client's own on the rows of its items."""
    leaves = {
        k: v.astype(np.float64) for k, v in leaves_by_name(initial_params(simulation)).items()
    }
    server = {
        "q": leaves["decoder/output/item_kernel"],
        "c": leaves["decoder/output/item_bias"],
        "v": leaves["user/vector"],
        "b": leaves["user/bias"],
    }
    ratings, train = simulation.ratings, simulation.split.train
    user, item = ratings.user[train], ratings.item[train]
    value = simulation.standard.values(simulation.target[train], user, item)
    owns: dict[int, Model] = {}
    for round in range(PLAIN["rounds"]):
        rate = 0.5 * (1 + math.cos(math.pi * round / PLAIN["rounds"]))
        rate *= simulation.config.client.client_learning_rate
        cohort = sample_cohort(simulation, round)
        total = {n: np.zeros_like(leaf) for n, leaf in server.items()}
        for u in cohort:
            # A client's rows in ascending order of their items, as the simulator keeps them.
            order = np.argsort(item[user == u])
            rows, stars = item[user == u][order], value[user == u][order]
            shared = {n: np.copy(w[rows] if n in "qc" else w) for n, w in server.items()}
            before = {n: np.copy(leaf) for n, leaf in shared.items()}
            own = owns.get(u) or {n: np.copy(leaf) for n, leaf in shared.items()}
            local_steps(name, own, shared, stars, rate)
            owns[u] = own
            for n, leaf in shared.items():
                np.add.at(total[n], rows if n in "qc" else ..., leaf - before[n])
        server = {n: leaf + total[n] / len(cohort) for n, leaf in server.items()}
    return server, owns


@pytest.mark.parametrize("name", ["ditto", "apfl"])
def test_rounds_by_hand(name: str) -> None:
    with jax.enable_x64(True):
        simulation = small_simulation(np.float64, algorithm=name, **PLAIN)
        population, ratings = simulation.population, simulation.ratings
        state = list(simulate(simulation))[-1].state
        server, owns = by_hand(name, simulation)
        shared = leaves_by_name(state.server.shared)
        np.testing.assert_allclose(shared["decoder/output/item_kernel"], server["q"], atol=1e-12)
        np.testing.assert_allclose(shared["decoder/output/item_bias"], server["c"], atol=1e-12)
        np.testing.assert_allclose(shared["user/vector"], server["v"], atol=1e-12)
        assert 0 < len(owns) < population.num_users  # somebody was never asked

        # Scores: the own model (or the mixture) on own rows, the shared rows elsewhere.
        users = np.arange(population.num_users, dtype=np.int32)
        scorer = make_scorer(simulation.federation, state, population)
        scores = np.asarray(score_of_users(scorer, users))
        train = simulation.split.train
        for u in users:
            rows = np.sort(ratings.item[train][ratings.user[train] == u])
            view = {n: w[rows] if n in "qc" else w for n, w in server.items()}
            used = owns.get(int(u), view)
            used = used if name == "ditto" or int(u) not in owns else mixed(used, view)
            q, c = server["q"].copy(), server["c"].copy()
            q[rows], c[rows] = used["q"], used["c"]
            np.testing.assert_allclose(scores[u], q @ used["v"] + c + used["b"], atol=1e-12)
        pairs = users, users[::-1].copy()
        of_pairs = np.asarray(score_of_pairs(scorer, *pairs))
        np.testing.assert_allclose(of_pairs, scores[pairs], atol=1e-12)


def shared_after(**changes: Any) -> Any:
    return list(simulate(small_simulation(**changes)))[-1].state.server.shared


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ditto", "apfl"])
def test_the_shared_model_does_not_notice_the_own_one(name: str) -> None:
    """With the autoencoder, dropout and momenta: bit for bit what FedAvg learns."""
    two, one = (shared_after(algorithm=a, engine="active_rows") for a in (name, "fedavg"))
    jax.tree.map(np.testing.assert_array_equal, two, one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"holdout_users": 0.25},
        {"feedback": "implicit", "client_optimizer": "adagrad"},
        {"num_devices": 3, "deterministic_sum": True},
        {"num_clients": 4, "batch_size": 2},
    ],
)
def test_it_goes_with_everything_else(changes: dict[str, Any]) -> None:
    records = list(simulate(small_simulation(algorithm="ditto", **changes)))
    assert all(np.isfinite(record.loss) for record in records)
    assert records[-1].evaluation is not None and records[-1].evaluation.test is not None


def test_a_strong_pull_leaves_the_own_model_at_the_shared_one() -> None:
    """A client's own model moves away from the received one, the less the stronger the pull."""

    def moved(coupling: float) -> float:
        simulation = small_simulation(algorithm="ditto", coupling=coupling, rounds=1, clip_norm=0.0)
        state = list(simulate(simulation))[-1].state
        # In its first round a client begins at the start, which the server sent.
        leaves = jax.tree.leaves([clients.private for clients in state.clients])
        return float(sum(np.square(leaf).sum() for leaf in leaves))

    assert 0 < moved(3.0) < moved(0.5) < moved(0.0)


def test_what_it_cannot_be_combined_with_is_one_clear_line() -> None:
    with pytest.raises(InputError, match="goes with one model per client") as error:
        small_simulation(algorithm="ditto", partial_compression=False)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="--engine=factored .*--algorithm=apfl"):
        small_simulation(algorithm="apfl", engine="factored")
    with pytest.raises(InputError, match="--coupling=1.5: --algorithm=apfl takes at most 1"):
        small_simulation(algorithm="apfl", coupling=1.5)
