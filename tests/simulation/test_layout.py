"""Clients' stacks in the order that a compiler chose: nothing of a run changes."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from federations import leaves_by_name, small_simulation, unpacked
from jax.experimental.layout import Format, Layout

from pfr_jax.evaluation.evaluate import evaluate
from pfr_jax.simulation import compiling
from pfr_jax.simulation.layout import LaidOutRound, jitted_round
from pfr_jax.simulation.loop import initial_state, key_of_round, simulate
from pfr_jax.simulation.records import Begin


@pytest.mark.parametrize("devices", [1, 2])
def test_the_same_numbers(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    """Also where a run goes on from states that lie otherwise."""

    def ends(laid_out: bool) -> list[dict[str, np.ndarray]]:
        monkeypatch.setattr(compiling, "on_cpu", lambda mesh: not laid_out)
        simulation = small_simulation(num_devices=devices, members=2)
        records = list(simulate(simulation, 2))
        state = jax.tree.map(jax.numpy.array, records[-1].state)
        *_, last = simulate(simulation, 3, Begin(state, round=2))
        trained = int(last.clients[0])
        return [
            leaves_by_name(records[-1].state.server.shared),
            leaves_by_name(last.state.server.shared),
            leaves_by_name(unpacked(simulation, last.state, trained).private),
        ]

    for plain, laid_out in zip(ends(False), ends(True), strict=True):
        assert plain and plain.keys() == laid_out.keys()
        for name, leaf in plain.items():
            np.testing.assert_array_equal(leaf, laid_out[name])


def test_the_state_is_used_up_and_lies_as_chosen() -> None:
    simulation = small_simulation()
    state, population = initial_state(simulation), simulation.population
    cohort = population.cohort(population.trainable, simulation.federation.block_sizes)
    arguments = state, simulation.data, cohort, key_of_round(simulation, 0)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
    compiled = jitted_round(simulation.algorithm.round, shapes).lower(*shapes).compile()
    chosen = compiled.input_formats[0][0].clients
    new, _ = LaidOutRound(compiled)(*arguments)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.server.shared))
    for leaf, format in zip(jax.tree.leaves(new.clients), jax.tree.leaves(chosen), strict=True):
        assert leaf.format.layout == format.layout


def test_evaluations_take_states_that_lie_otherwise() -> None:
    simulation = small_simulation(num_devices=1, validation_fraction=0.1)
    *_, last = simulate(simulation, 2)

    def turned(leaf: jax.Array) -> jax.Array:
        order = Layout(tuple(reversed(range(leaf.ndim))))
        return jax.device_put(leaf, Format(order, leaf.sharding))

    clients = jax.tree.map(turned, last.state.clients)
    state = dataclasses.replace(last.state, clients=clients)
    found, expected = (evaluate(simulation, one, math.inf, True) for one in (state, last.state))
    assert found.validation == expected.validation and found.test == expected.test
