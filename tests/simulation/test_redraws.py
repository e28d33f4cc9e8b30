"""Negatives drawn anew in every round: what changes, what stays, and where it cannot be."""

import itertools
from typing import Any

import jax
import numpy as np
import pytest
from federations import assert_same_change, small_simulation

from pfr_jax.errors import InputError
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.records import Begin
from pfr_jax.simulation.redraws import Redraws
from pfr_jax.simulation.setup import Simulation

EACH_ROUND = {
    "feedback": "ranking",
    "implicit_threshold": 3.5,
    "negatives": 1,
    "negatives_drawn": "each_round",
    "shared_momentum": "restart",
}
COHORT = np.array([4, 5, 7])
ENGINES = ["factored", "active_rows"]


def rows_of(simulation: Simulation, buckets: Any, client: int) -> tuple[np.ndarray, np.ndarray]:
    """A client's items and values, without padding."""
    bucket = buckets[simulation.population.bucket_of[client]]
    slot, count = simulation.population.slot_of[client], simulation.population.rows[client]
    assert np.asarray(bucket.observed)[slot, 0].sum() == count
    assert (np.asarray(bucket.items)[slot, count:] == simulation.ratings.num_items).all()
    return np.asarray(bucket.items)[slot, :count], np.asarray(bucket.values)[slot, 0, :count]


@pytest.mark.parametrize("num_devices", [1, 2])
def test_the_cohorts_rows_are_drawn_anew(num_devices: int) -> None:
    """As many as before, with the same choices among them; other clients' stay."""
    settings = {**EACH_ROUND, "negatives": 2, "center": "user", "num_devices": num_devices}
    simulation = small_simulation(**settings)
    population, redraws = simulation.population, Redraws(simulation)
    cohort = population.cohort(COHORT, simulation.federation.block_sizes)
    begun = population.buckets
    for round in range(2):
        buckets = redraws.of_round(round, cohort)
        for client in range(13):
            (old, was), (items, values) = (rows_of(simulation, b, client) for b in (begun, buckets))
            assert (np.diff(items) > 0).all()
            np.testing.assert_array_equal(old[was > 0], items[values > 0])
            np.testing.assert_allclose(np.unique(was), np.unique(values))
            assert np.array_equal(old, items) == (client not in COHORT)
            rated = simulation.ratings.item[simulation.split.train]
            own = simulation.ratings.user[simulation.split.train] == client
            assert not set(items[values < 0]) & set(rated[own])
        begun = jax.tree.map(np.asarray, buckets)
    again = Redraws(simulation).of_round(1, cohort)  # what the population has was not written to
    jax.tree.map(np.testing.assert_array_equal, again, buckets)


def test_both_engines_agree() -> None:
    settings = {**EACH_ROUND, "algorithm": "fedavg", "rounds": 2, "validation_fraction": 0.0}
    with jax.enable_x64(True):
        one, other = (small_simulation(np.float64, **settings, engine=e) for e in ENGINES)
        ends = [list(simulate(s))[-1].state.server.shared for s in (one, other)]
        start = initial_state(one).server.shared
        assert_same_change(*ends, start, tolerance=1e-9)


def test_a_run_goes_on_as_it_would_have() -> None:
    """Draws are the round's, not those of a generator that has a past."""
    simulation = small_simulation(**EACH_ROUND, rounds=4)
    whole = [record.loss for record in simulate(simulation)]
    half = list(itertools.islice(simulate(simulation), 2))
    begin = Begin(half[-1].state, round=2)
    assert [record.loss for record in simulate(simulation, begin=begin)] == whole[2:]
    once = small_simulation(**{**EACH_ROUND, "negatives_drawn": "once"}, rounds=4)
    assert [record.loss for record in simulate(once)] != whole


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"model": "mf", "members": 2},
        {"algorithm": "fedrecon", "engine": "active_rows"},
        {"holdout_users": 0.25, "negative_sampling": "popularity"},
        {"compressor": "int8", "state_memory": "host"},
        {"ranking_loss": "multinomial", "dropout_rate": 0.4, "num_devices": 2},
    ],
    ids=str,
)
def test_it_goes_with_much_else(changes: dict[str, Any]) -> None:
    record = list(simulate(small_simulation(**EACH_ROUND, **changes)))[-1]
    assert np.isfinite(record.loss)
    assert record.evaluation is not None and record.evaluation.test is not None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"algorithm": "joint"}, "joint has no rounds of clients"),
        ({"algorithm": "local"}, "local keeps rows of the decoder"),
        ({"algorithm": "ditto"}, "ditto keeps rows of the decoder"),
        ({"engine": "active_rows"}, "the active_rows engine keeps rows of the encoder"),
        ({"shared_momentum": "carry"}, "carry keeps momenta of rows"),
        ({"compressor": "topk"}, "--compressor keeps what an upload lost"),
        ({"algorithm": "fedavg", "num_clients": 4}, "a client several users"),
    ],
    ids=str,
)
def test_where_it_cannot_be(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=f"--negatives_drawn=each_round: .*{why}.*; take once"):
        small_simulation(**{**EACH_ROUND, **changes})
