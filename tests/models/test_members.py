"""Members: each is what it would be alone, and their predictions are averaged."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from federations import leaves_by_name, small_simulation

from pfr_jax.evaluation.scoring import make_scorer, score_of_pairs, score_of_users
from pfr_jax.models.factorization import MatrixFactorization
from pfr_jax.models.item_rows import map_rows
from pfr_jax.models.members import Members, rows_first, side_by_side
from pfr_jax.models.model import init_params, predict
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.setup import Simulation

PLAIN: dict[str, Any] = {
    "dropout": 0.0,
    "center": "global",
    "clip_norm": 0.2,  # bites
}
MODELS: dict[str, dict[str, Any]] = {
    "mf": {"model": "mf", "hidden_sizes": (5,)},
    "active_rows": {"hidden_sizes": (7, 5), "engine": "active_rows"},
    "factored": {"hidden_sizes": (7, 5), "engine": "factored"},
}


def of_member(tree: Any, which: int) -> Any:
    """One member's parameters of those of all."""
    return map_rows(lambda leaf: leaf[:, which], lambda leaf: leaf[which], tree)


def scores(simulation: Simulation, state: Any) -> np.ndarray:
    scorer = make_scorer(simulation.federation, state, simulation.population)
    users = np.arange(simulation.population.num_users, dtype=np.int32)
    found = np.asarray(score_of_users(scorer, users))
    pairs = users, users[::-1].copy()
    np.testing.assert_allclose(np.asarray(score_of_pairs(scorer, *pairs)), found[pairs], atol=1e-6)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "algorithm"),
    [
        ("mf", "personalfr"),
        ("active_rows", "fedavg"),
        ("active_rows", "local"),
        ("factored", "personalfr"),
        ("factored", "fedavg"),
    ],
)
def test_a_member_is_what_it_would_be_alone(
    model: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clipped by itself, with a loss and a server of its own; without dropout nothing is drawn."""
    common = {**PLAIN, **MODELS[model], "algorithm": algorithm, "server_momentum": 0.5}
    with jax.enable_x64(True):
        compare_with_each_alone(common, monkeypatch)


def compare_with_each_alone(common: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    together = small_simulation(np.float64, members=3, **common)
    begin = initial_state(together)
    state = list(simulate(together))[-1].state
    whole = {**begin.start, **begin.server.shared}
    found = []
    alone = small_simulation(np.float64, **common)
    for which in range(3):
        params = jax.tree.map(jnp.array, of_member(whole, which))
        # Everything but where it begins is the same.
        monkeypatch.setattr("pfr_jax.simulation.loop.initial_params", lambda _, p=params: p)
        record = list(simulate(alone))[-1]
        found.append(scores(alone, record.state))
        monkeypatch.undo()
        own = leaves_by_name(of_member(state.server.shared, which))
        for name, leaf in leaves_by_name(record.state.server.shared).items():
            np.testing.assert_allclose(own[name], leaf, rtol=1e-9, atol=1e-12)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    np.testing.assert_allclose(scores(together, state), np.mean(found, axis=0), atol=1e-9)


def test_predictions_and_beginnings() -> None:
    one = MatrixFactorization(4, 9)
    model = Members(one, 3)
    params = init_params(model, jax.random.key(0), output_bias=np.arange(9.0))
    assert params["decoder"]["output"]["item_kernel"].shape == (9, 3, 4)
    np.testing.assert_array_equal(params["decoder"]["output"]["item_bias"][:, 1], np.arange(9.0))
    inputs = jnp.zeros(9), jnp.zeros(0)
    found = predict(model, params, *inputs)
    for which in range(3):
        alone = predict(one, of_member(params, which), *inputs)
        np.testing.assert_allclose(found[which], alone, atol=1e-6)
    assert side_by_side(one, 1) is one


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "joint"},
        {"algorithm": "ditto"},
        {"algorithm": "fedrecon"},
        {"feedback": "implicit", "num_clients": 4, "batch_size": 2},
        {"num_devices": 3, "deterministic_sum": True, "max_update_norm": 5.0},
        {"compressor": "lowrank", "lowrank_rank": 2},
        {"holdout_users": 0.25, "user_profile": True, "output_bias": "item"},
        {"partial_compression": False, "dropout": 0.5},
    ],
    ids=str,
)
def test_they_go_with_everything_else(changes: dict[str, Any]) -> None:
    records = list(simulate(small_simulation(**{"members": 2, **changes})))
    assert all(np.isfinite(record.loss) for record in records)
    assert records[-1].evaluation is not None and records[-1].evaluation.test is not None


@pytest.mark.parametrize("engine", ["active_rows", "factored"])
def test_bytes_are_those_of_all_members(engine: str) -> None:
    one, four = (
        list(simulate(small_simulation(members=m, engine=engine, rounds=1)))[0].traffic
        for m in (1, 4)
    )
    assert four.payload_up == 4 * one.payload_up and four.payload_down == 4 * one.payload_down
    assert four.index_up == one.index_up


@pytest.mark.parametrize("engine", ["active_rows", "factored"])
def test_each_member_draws_its_own_dropout(engine: str) -> None:
    """From equal beginnings members differ after a round, if and only if there is dropout."""

    def spread(dropout: float, monkeypatch: pytest.MonkeyPatch) -> float:
        simulation = small_simulation(members=2, engine=engine, dropout=dropout, rounds=1)
        state = initial_state(simulation)
        whole = {**state.start, **state.server.shared}
        first = of_member(whole, 0)
        same = rows_first(jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), first))
        monkeypatch.setattr("pfr_jax.simulation.loop.initial_params", lambda _: same)
        shared = list(simulate(simulation))[-1].state.server.shared
        monkeypatch.undo()
        apart = jax.tree.map(
            lambda a, b: np.abs(a - b).max(), *(of_member(shared, n) for n in (0, 1))
        )
        return float(max(jax.tree.leaves(apart)))

    with pytest.MonkeyPatch.context() as patch:
        assert spread(0.0, patch) < 1e-6
        assert spread(0.5, patch) > 1e-4
