"""Clients that fail are as if they had never been asked; bad updates are refused and counted."""

import dataclasses
from typing import Any

import chex
import jax
import numpy as np
import pytest
from federations import COHORT, everything, small_simulation
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.client.fixed_point import BOUND, scale_for, to_fixed, to_float
from pfr_jax.config import FaultConfig
from pfr_jax.errors import InputError
from pfr_jax.population.devices import put
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.participation import asked_clients, fates, fates_of_round
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import seed_keys

ENGINES = [
    {"engine": "factored"},
    {"engine": "factored", "deterministic_sum": True},
    {"engine": "active_rows"},
    {"engine": "active_rows", "partial_compression": False},
    {"algorithm": "fedavg", "num_clients": 6},
]


def copied(tree: Any) -> Any:
    return jax.tree.map(np.array, tree)


def one_round(
    simulation: Simulation, clients: np.ndarray, buckets: Any = None, step: Any = None
) -> tuple[Any, Any]:
    """State and report after a round of these clients, from the beginning."""
    step = step or jax.jit(simulation.algorithm.round)
    cohort = simulation.population.cohort(clients, simulation.federation.block_sizes, 9)
    data = buckets or simulation.population.buckets
    return step(initial_state(simulation), data, cohort, seed_keys(0)[1])


def poisoned(simulation: Simulation, clients: np.ndarray, value: float) -> Any:
    """The clients' tables with ``value`` as every rating of some."""
    population, tables = simulation.population, []
    for index, bucket in enumerate(population.buckets):
        own = [population.slot_of[c] for c in clients if population.bucket_of[c] == index]
        values = np.array(bucket.values)
        values[own] = np.where(np.asarray(bucket.observed)[own], value, 0)
        tables.append(dataclasses.replace(bucket, values=put(values, population.mesh)))
    return tuple(tables)


@pytest.mark.parametrize(
    ("settings", "value"),
    [(settings, np.nan) for settings in ENGINES]
    + [(settings, value) for settings in ENGINES[:3:2] for value in (np.inf, 1e30)],
    ids=str,
)
def test_poisoned_updates_are_counted_and_change_nothing(
    settings: dict[str, Any], value: float
) -> None:
    simulation = small_simulation(**settings, max_update_norm=50.0, clip_norm=0.0, dropout=0.0)
    everybody = np.arange(6) if "num_clients" in settings else COHORT
    counted = chex.assert_max_traces(lambda *args: simulation.algorithm.round(*args), n=1)
    chex.clear_trace_counter()
    step = jax.jit(counted)
    for bad in (everybody[:1], everybody[::2], everybody):
        good = np.setdiff1d(everybody, bad)
        state, report = one_round(simulation, everybody, poisoned(simulation, bad, value), step)
        expected, _ = one_round(simulation, good, step=step)
        assert int(report.rejected.sum()) == len(bad) and int(report.clients) == len(good)
        assert np.isnan(report.loss) == (len(good) == 0)
        found, wanted = (copied(everything(simulation, s)) for s in (state, expected))
        # Who shares a block differs between the two, and so do the last bits.
        tolerance = 0 if "deterministic_sum" in settings else 1e-5
        chex.assert_trees_all_close(found, wanted, rtol=tolerance, atol=tolerance)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_the_norm_is_that_of_all_shared_leaves() -> None:
    """Both engines refuse the same clients, and those that are too large by a dense check."""
    norms = {}
    for engine in ("factored", "active_rows"):
        simulation = small_simulation(engine=engine, dropout=0.0)
        start = copied(initial_state(simulation).server.shared)
        norms[engine] = []
        for client in COHORT:
            state, _ = one_round(simulation, np.array([client]))
            change = jax.tree.map(lambda a, b: np.asarray(a) - b, state.server.shared, start)
            norms[engine].append(np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(change))))
    np.testing.assert_allclose(norms["factored"], norms["active_rows"], rtol=1e-4)
    limit = float(np.median(norms["factored"]))
    for engine in norms:
        simulation = small_simulation(engine=engine, dropout=0.0, max_update_norm=limit)
        _, report = one_round(simulation, COHORT)
        assert report.rejected.tolist() == [0, sum(n > limit for n in norms[engine])]


def test_nobody_leaves_the_model_as_it_is() -> None:
    simulation = small_simulation(server_momentum=0.9)
    state, report = one_round(simulation, np.array([], np.int64))
    begin = copied(everything(simulation, initial_state(simulation)))
    jax.tree.map(np.testing.assert_array_equal, copied(everything(simulation, state)), begin)
    assert int(state.round) == 1 and float(report.clients) == 0


@pytest.mark.parametrize("memory", ["device", "host"])
def test_a_run_with_failures_is_the_run_that_never_asked_them(
    monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    settings: dict[str, Any] = {
        "engine": "factored",
        "deterministic_sum": True,
        "state_memory": memory,
        "cohort_fraction": 0.5,
        "rounds": 4,
    }
    faults: dict[str, Any] = {
        "dropout_rate": 0.3,
        "straggler_rate": 0.4,
        "over_selection": 1.4,
    }
    failing = small_simulation(**settings, **faults)
    found, delivered, lost = [], [], 0
    for record in simulate(failing):
        delivered.append(record.clients)
        lost += record.faults.dropped + record.faults.late + record.faults.surplus
        found.append((record.loss, record.traffic.payload_up))
    found.append(copied(everything(failing, record.state)))
    assert lost > 5

    from pfr_jax.simulation import participation as module

    never = small_simulation(**settings)
    monkeypatch.setattr(module, "sample_cohort", lambda simulation, round: delivered[round])
    expected: list[Any] = []
    for record in simulate(never):
        assert record.faults == type(record.faults)()
        expected.append((record.loss, record.traffic.payload_up))
    expected.append(copied(everything(never, record.state)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_rounds_with_few_or_no_survivors(rate: float) -> None:
    simulation = small_simulation(dropout_rate=rate, rounds=3, server_momentum=0.5)
    begin = copied(initial_state(simulation).server)
    for record in simulate(simulation):
        assert len(record.clients) + record.faults.dropped == simulation.cohort_size
        assert record.faults.dropped == len(fates_of_round(simulation, record.round - 1).asked) - (
            len(record.clients)
        )
        assert np.isnan(record.loss) == (len(record.clients) == 0)
        assert record.traffic.payload_up <= record.traffic.payload_down
    if rate == 1:
        jax.tree.map(np.testing.assert_array_equal, copied(record.state.server), begin)
        assert record.traffic.payload_up == 0 < record.traffic.payload_down


def test_a_run_whose_updates_are_all_refused_ends() -> None:
    simulation = small_simulation(max_update_norm=1e-9, rounds=9)
    with pytest.raises(InputError, match=r"round 3: for 3 rounds no update.*--max_update_norm"):
        list(simulate(simulation))


@given(
    st.integers(1, 40),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(1, 3),
    st.sampled_from([0.0, 0.7, 2.0]),
    st.integers(0, 2**63),
)
def test_fates(
    size: int, dropout: float, slow: float, factor: float, end: float, seed: int
) -> None:
    """Everybody asked has one fate; those delivered are not more than wanted."""
    config = FaultConfig(dropout, slow, end, factor)
    asked = np.random.default_rng(seed % 99).permutation(60)[: asked_clients(size, 60, config)]
    found = fates(asked, size, 60, config, seed, 3)
    lost = found.dropped + found.late + found.surplus
    assert len(found.delivered) + lost == len(asked) >= size
    assert set(found.delivered) <= set(asked) and len(found.delivered) <= size
    assert not found.surplus or len(found.delivered) == size
    if not end:
        assert not found.late
    # A client's fate does not depend on who else is asked.
    alone = fates(asked[:1], 1, 60, config, seed, 3)
    assert (asked[0] in found.delivered) <= (len(alone.delivered) == 1)


def test_fates_are_as_frequent_as_asked_for() -> None:
    config = FaultConfig(dropout_rate=0.2, straggler_rate=0.5, deadline=2.0)
    found = fates(np.arange(50_000), 50_000, 50_000, config, 0, 0)
    assert found.dropped / 50_000 == pytest.approx(0.2, abs=0.01)
    # A straggler of time t/u, t uniform in [0.5, 1.5), is late where u < t/2: 1/2 of them.
    assert found.late / 50_000 == pytest.approx(0.8 * 0.5 * 0.5, abs=0.01)


@given(st.integers(1, 100_000), st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=50))
def test_fixed_point(terms: int, values: list[float]) -> None:
    """Sums do not overflow, do not depend on the order, and are as exact as the scale says."""
    scale = scale_for(terms)
    assert scale * BOUND * terms <= 2**31 - 1
    array = jax.numpy.asarray(values, "float32")
    back = np.asarray(to_float(to_fixed(array, scale), scale, array.dtype))
    np.testing.assert_allclose(back, np.clip(values, -BOUND, BOUND), atol=1 / scale + 1e-6)
