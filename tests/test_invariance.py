"""What must not matter, and what must not be seen."""

import dataclasses
from typing import Any

import chex
import jax
import numpy as np
import pytest
from federations import (
    COHORT,
    assert_same_change,
    client_state,
    everything,
    leaves_by_name,
    of_two_buckets,
    ragged_ratings,
    run_rounds,
    simulation_of,
    small_config,
)

from pfr_jax.aggregation import PayloadSum
from pfr_jax.algorithms import federated
from pfr_jax.client.block import Payload
from pfr_jax.server import CohortSum, Denominator, ServerState
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import seed_keys


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return of_two_buckets()


@pytest.fixture(scope="module")
def step(simulation: Simulation) -> Any:
    return jax.jit(simulation.algorithm.round)


@pytest.mark.parametrize("changes", [{"block_size": 1}, {"block_size": 5}, {"max_buckets": 1}])
def test_blocks_and_padding_change_nothing(
    simulation: Simulation, step: Any, changes: dict[str, Any]
) -> None:
    cohorts = [COHORT, COHORT[::2]]
    expected = run_rounds(simulation, cohorts, step)
    other = of_two_buckets(**changes)
    state = run_rounds(other, cohorts)
    start = initial_state(simulation)
    assert_same_change(state.server.shared, expected.server.shared, start.server.shared)
    for client in range(13):
        one = client_state(other, state, client)
        two = client_state(simulation, expected, client)
        chex.assert_trees_all_close(one, two, rtol=1e-3, atol=1e-6)


def test_order_of_the_cohort_changes_nothing(simulation: Simulation, step: Any) -> None:
    one, other = (
        everything(simulation, run_rounds(simulation, [cohort], step))
        for cohort in (COHORT, COHORT[::-1])
    )
    chex.assert_trees_all_close(one, other, rtol=1e-5, atol=1e-7)


def test_clients_outside_the_cohort_stay_bit_for_bit(simulation: Simulation, step: Any) -> None:
    before = run_rounds(simulation, [COHORT], step)
    after = run_rounds(simulation, [COHORT, np.array([0, 1, 2, 5, 6, 7])], step)
    for client in (3, 4, 8, 9, 10, 11, 12):
        chex.assert_trees_all_equal(
            client_state(simulation, before, client), client_state(simulation, after, client)
        )
    moved = client_state(simulation, after, 1)
    assert int(moved.rounds) == 2
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(moved.private))


def test_one_user_cannot_change_anothers_private_state(simulation: Simulation, step: Any) -> None:
    """Within a round no client learns anything of another; client 3 turns its taste around."""
    ratings = ragged_ratings()
    mine = ratings.user == 3
    turned = dataclasses.replace(
        ratings, rating=np.where(mine, 6 - ratings.rating, ratings.rating).astype(np.float32)
    )
    other = simulation_of(small_config(max_buckets=2), turned)
    one, two = run_rounds(simulation, [COHORT], step), run_rounds(other, [COHORT], step)
    for client in (c for c in range(13) if c != 3):
        chex.assert_trees_all_equal(
            client_state(simulation, one, client), client_state(other, two, client)
        )
    own = [client_state(s, state, 3).private for s, state in ((simulation, one), (other, two))]
    assert any(not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, own), strict=True))


def test_a_round_is_a_pure_function(simulation: Simulation, step: Any) -> None:
    one, other = (
        everything(simulation, run_rounds(simulation, [COHORT, COHORT], step)) for _ in range(2)
    )
    chex.assert_trees_all_equal(one, other)


def test_rounds_compile_once(simulation: Simulation) -> None:
    """Cohorts that fill the buckets unequally, all of one size, share one program."""
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(lambda *args: simulation.algorithm.round(*args), n=1)
    step = jax.jit(counted)
    cohorts = [COHORT, np.arange(6), np.arange(7, 13), np.array([0, 2, 5, 6, 7, 9])]
    state = run_rounds(simulation, cohorts, step)
    assert int(state.round) == 4


@pytest.mark.parametrize("algorithm", ["personalfr", "fedavg", "local"])
def test_the_server_receives_payloads_only(monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    """Every argument of the server's code during a round, taken apart."""
    received: list[tuple[Any, ...]] = []
    for name in ("empty_sum", "add_payload", "server_step"):
        original = getattr(federated, name)

        def spy(*args: Any, original: Any = original) -> Any:
            received.append(args)
            return original(*args)

        monkeypatch.setattr(federated, name, spy)
    simulation = of_two_buckets(algorithm=algorithm, max_buckets=1, user_profile=True)
    state = initial_state(simulation)
    cohort = simulation.population.cohort(COHORT, simulation.federation.block_sizes)
    jax.eval_shape(
        simulation.algorithm.round, state, simulation.population.buckets, cohort, seed_keys(0)[1]
    )
    seen = [arg for args in received for arg in args]
    payloads = [arg for arg in seen if isinstance(arg, Payload)]
    assert payloads
    assert {f.name for f in dataclasses.fields(Payload)} == {
        "delta",
        "items",
        "present",
        "rejected",
        "within",
    }
    allowed = (
        *(Payload, PayloadSum, CohortSum, ServerState, Denominator),
        *(dict, int, np.dtype, type(None)),
    )
    assert all(isinstance(arg, allowed) or callable(arg) or hasattr(arg, "update") for arg in seen)
    shared = {
        "personalfr": {"decoder", "profile"},
        "fedavg": {"encoder", "decoder", "profile"},
        "local": set(),
    }[algorithm]
    for payload in payloads:
        assert {path.split("/")[0] for path in names(payload.delta)} == shared
    for arg in seen:
        if isinstance(arg, dict):
            assert set(arg) == shared
        if isinstance(arg, ServerState):
            assert set(arg.shared) == shared


def names(tree: Any) -> list[str]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return ["/".join(entry.key for entry in path) for path, _ in flat]


def test_private_start_is_common_and_untouched(simulation: Simulation, step: Any) -> None:
    """The start kept for the clients never moves; a client never sampled is at the start."""
    state = run_rounds(simulation, [COHORT], step)
    chex.assert_trees_all_equal(state.start, initial_state(simulation).start)
    assert all(not leaf.any() for leaf in jax.tree.leaves(client_state(simulation, state, 0)))
    assert set(leaves_by_name(state.start)) >= {"encoder/input/item_kernel"}
