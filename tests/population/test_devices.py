"""Clients divided among devices compute what they compute on one."""

from typing import Any

import jax
import numpy as np
import pytest
from federations import COHORT, assert_same_change, everything, run_rounds, small_simulation

from pfr_jax.errors import InputError
from pfr_jax.population.devices import client_mesh
from pfr_jax.simulation.loop import initial_state, simulate

pytestmark = pytest.mark.slow

COHORTS = [COHORT, np.array([0, 1, 2, 5, 6, 12]), COHORT]


@pytest.mark.parametrize(
    ("num_devices", "changes"),
    [
        (2, {"max_buckets": 2}),
        (8, {}),
        (4, {"shared_momentum": "carry"}),
        (4, {"engine": "active_rows", "client_optimizer": "adagrad"}),
        (2, {"algorithm": "fedavg", "num_clients": 5}),
        (8, {"algorithm": "local"}),
    ],
    ids=str,
)
def test_devices_change_nothing(num_devices: int, changes: dict[str, Any]) -> None:
    cohorts = [np.arange(5)[:3]] * 2 if "num_clients" in changes else COHORTS
    one, many = (small_simulation(num_devices=devices, **changes) for devices in (1, num_devices))
    start = everything(one, initial_state(one))
    expected, found = (everything(s, run_rounds(s, cohorts)) for s in (one, many))
    assert_same_change(found[0].shared, expected[0].shared, start[0].shared)
    for mine, other, begin in zip(found[1], expected[1], start[1], strict=True):
        assert int(mine.rounds) == int(other.rounds)
        assert_same_change(mine.private, other.private, begin.private)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            (mine.private_opt, mine.shared_opt),
            (other.private_opt, other.shared_opt),
        )


@pytest.mark.parametrize("algorithm", ["personalfr", "fedavg", "local"])
def test_figures_on_many_devices(algorithm: str) -> None:
    """The whole loop: cohorts, evaluation, held-out users and what is reported."""
    figures = []
    for devices in (1, 4):
        simulation = small_simulation(
            num_devices=devices, algorithm=algorithm, holdout_users=0.2, cohort_fraction=0.5
        )
        last = list(simulate(simulation))[-1]
        assert last.evaluation and last.evaluation.test
        new = [part.rmse for part in last.evaluation.new_users.values()]
        figures.append([last.loss, last.evaluation.test.rmse, *new])
    np.testing.assert_allclose(figures[0], figures[1], rtol=1e-5)


def test_each_device_keeps_its_own_clients() -> None:
    simulation = small_simulation(num_devices=4)
    for states, bucket in zip(
        initial_state(simulation).clients, simulation.population.buckets, strict=True
    ):
        for leaf in jax.tree.leaves(states):
            shapes = {shard.data.shape for shard in leaf.addressable_shards}
            assert shapes == {(len(bucket) // 4, *leaf.shape[1:])}


def test_more_devices_than_there_are() -> None:
    with pytest.raises(InputError, match="--num_devices=99"):
        client_mesh(99)


@pytest.mark.parametrize(
    "changes",
    [
        {"shared_momentum": "carry"},
        {"state_dtype": "bfloat16", "server_momentum": 0.8, "denominator": "sqrt"},
        {"algorithm": "fedavg", "num_clients": 9},
    ],
    ids=str,
)
def test_a_deterministic_sum_gives_the_same_bits_on_any_devices_and_blocks(
    changes: dict[str, Any],
) -> None:
    """The losses, the server and every client, after a whole run."""
    found = []
    for devices, block in ((1, 4), (4, 7), (8, 1)):
        simulation = small_simulation(
            deterministic_sum=True, num_devices=devices, block_size=block, **changes
        )
        losses = []
        for record in simulate(simulation):
            losses.append(record.loss)
        found.append((losses, everything(simulation, record.state)))
    for other in found[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, found[0])


@pytest.mark.parametrize("algorithm", ["personalfr", "fedavg"])
def test_a_deterministic_sum_is_close_to_that_of_floats(algorithm: str) -> None:
    one, other = (
        list(simulate(small_simulation(algorithm=algorithm, deterministic_sum=fixed)))[-1]
        for fixed in (False, True)
    )
    assert one.loss == pytest.approx(other.loss, abs=1e-5)
    assert one.evaluation and other.evaluation and one.evaluation.test and other.evaluation.test
    assert one.evaluation.test.rmse == pytest.approx(other.evaluation.test.rmse, abs=1e-5)
