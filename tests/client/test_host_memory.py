"""Clients kept in the host's memory compute what they compute on the device."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from federations import everything, of_two_buckets

from pfr_jax.client import host_memory
from pfr_jax.errors import InputError
from pfr_jax.simulation.compiling import compile_round
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.participation import sample_cohort
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import seed_keys

pytestmark = pytest.mark.slow

SETTINGS = {"engine": "factored", "shared_momentum": "carry", "rounds": 4, "eval_every": 1}


@pytest.mark.parametrize(
    ("num_devices", "changes"),
    [
        (3, {}),
        (1, {"state_dtype": "bfloat16"}),
        (3, {"algorithm": "fedavg", "state_dtype": "bfloat16"}),
        (1, {"members": 2}),
    ],
    ids=str,
)
def test_the_place_changes_no_bit(num_devices: int, changes: dict[str, Any]) -> None:
    found = []
    for place in ("device", "host"):
        simulation = of_two_buckets(
            **SETTINGS, **changes, num_devices=num_devices, state_memory=place
        )
        records = list(simulate(simulation))
        found.append([(r.loss, r.evaluation and r.evaluation.test) for r in records])
        state = _after_rounds(simulation, 3)
        assert isinstance(state.clients[0].rounds, np.ndarray) == (place == "host")
        found.append(everything(simulation, state))
    assert found[0] == found[2]
    jax.tree.map(np.testing.assert_array_equal, found[1], found[3])


def _after_rounds(simulation: Simulation, rounds: int) -> Any:
    state, key = initial_state(simulation), seed_keys(0)[1]
    sizes = simulation.federation.block_sizes
    cohorts = [
        simulation.population.cohort(sample_cohort(simulation, i), sizes) for i in range(rounds)
    ]
    step = compile_round(simulation)
    for index, cohort in enumerate(cohorts):
        state, _ = step(state, simulation.data, cohort, jax.random.fold_in(key, index))
    return state


def test_a_cohort_larger_than_the_room_is_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = _after_rounds(of_two_buckets(**SETTINGS, state_memory="host"), 3)
    monkeypatch.setattr(host_memory, "capacities", lambda *args: (1, 1))
    simulation = of_two_buckets(**SETTINGS, state_memory="host", block_size=2)
    tight = _after_rounds(simulation, 3)
    one, two = everything(simulation, roomy), everything(simulation, tight)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), one, two)


def test_features_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = (
        list(simulate(of_two_buckets(**SETTINGS, state_memory=place)))[-1].evaluation
        for place in ("device", "host")
        if place == "device" or not monkeypatch.setattr(host_memory, "CLIENTS_AT_ONCE", 4)
    )
    assert whole and parts and whole.test and parts.test
    assert dataclasses.astuple(whole.test) == pytest.approx(dataclasses.astuple(parts.test))


def test_only_the_factored_engine() -> None:
    with pytest.raises(InputError, match="--state_memory=host"):
        of_two_buckets(engine="active_rows", state_memory="host")
