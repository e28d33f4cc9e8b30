"""The kernel computes what the factored engine does without it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from federations import assert_same_change, everything, run_rounds, small_simulation

from pfr_jax.client.block import ClientSide
from pfr_jax.client.compressors import COMPRESSORS
from pfr_jax.client.factored.on_chip import lanes, rows
from pfr_jax.client.factored.on_chip.round import _most_clients, by_kernel
from pfr_jax.client.training import Parts
from pfr_jax.errors import InputError
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.losses import masked_cross_entropy
from pfr_jax.simulation import federation
from pfr_jax.simulation.federation import build_algorithm
from pfr_jax.simulation.loop import initial_state, simulate

COHORTS = [np.array([0, 3, 5, 12]), np.array([12, 0, 4, 5, 7]), np.array([3, 12])]
DEFAULTS: dict[str, Any] = {
    "momentum": 0.0,
    "private_rate_factor": 0.5,
    "ridge": 0.4,
    "weighting": "ratings",
    "input_offset": 2.0,
    "dropout": 0.2,
    "block_size": 2,
}


def by_itself(side: ClientSide, **changes: Any) -> ClientSide:
    """With a kernel that JAX's operations compute."""
    training = dataclasses.replace(side.training, **changes)
    return dataclasses.replace(side, kernel="interpret", training=training)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"members": 3},
        {"hidden_sizes": (6, 4, 3), "clip_norm": 0.05, "proximal": 0.3},
        {
            "hidden_sizes": (5,),
            "momentum": 0.9,
            "private_momentum": "restart",
            "members": 2,
            "clip_norm": 0.0,
        },
        {
            "hidden_sizes": (6, 4, 3),
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 5e-3,
            "private_momentum": "carry",
            "shared_momentum": "restart",
        },
        {"members": 3, "momentum": 0.9, "private_momentum": "carry"},
    ],
    ids=str,
)
def test_every_change_is_that_of_the_engine(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ragged clients, after rounds in which some take part again; of rows several chunks."""
    monkeypatch.setattr(rows, "CHUNK", 16)
    simulation = small_simulation(**{**DEFAULTS, **changes})
    federation = simulation.federation
    side = by_itself(federation.side)
    assert all(by_kernel(side, bucket) for bucket in simulation.population.buckets)
    assert not by_kernel(federation.side, simulation.population.buckets[0])
    with_kernel = dataclasses.replace(federation, side=side)
    kernels = build_algorithm(simulation.spec, simulation.config, with_kernel)
    ours = everything(simulation, run_rounds(simulation, COHORTS, jax.jit(kernels.round)))
    plain = everything(simulation, run_rounds(simulation, COHORTS))
    start = everything(simulation, initial_state(simulation))
    assert_same_change(plain, ours, start, tolerance=1e-5)


def test_what_the_kernel_does_not_know_is_left_to_the_plain_path() -> None:
    simulation = small_simulation(**DEFAULTS)
    side, bucket = by_itself(simulation.federation.side), simulation.population.buckets[0]
    assert by_kernel(side, bucket)
    momenta = {"momentum": 0.9, "shared_momentum": "carry"}
    carried = small_simulation(**{**DEFAULTS, **momenta}).federation.side
    for other in (
        dataclasses.replace(side, kernel="off"),
        dataclasses.replace(side, one_by_one=True),
        dataclasses.replace(side, max_update_norm=1.0),
        dataclasses.replace(side, compressor=COMPRESSORS["int8"]),
        by_itself(side, loss=masked_cross_entropy),
        by_itself(side, moves=Parts((True, False), (True, True))),
        by_itself(side, moves=Parts((True,) * 127, (True,) * 127)),
        by_itself(carried),
    ):
        assert not by_kernel(other, bucket)
    shape = jax.ShapeDtypeStruct
    long = dataclasses.replace(bucket, items=shape((4, 40_000), jnp.int32))
    assert not by_kernel(side, long)
    decoys = dataclasses.replace(bucket, rated=bucket.observed)
    assert not by_kernel(side, decoys)
    twice = dataclasses.replace(bucket, values=shape(bucket.values.shape, np.float64))
    assert not by_kernel(side, twice)

    class Straight(AutoEncoder):
        """Somebody's own layers, which are not the kernel's."""

    own = Straight((7, 5), simulation.model.num_items)
    assert not by_kernel(by_itself(side, model=own), bucket)


def test_what_its_settings_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a chip that it is for, as this machine's are taken to be."""
    monkeypatch.setattr(federation, "CHIPS", (jax.devices()[0].device_kind,))

    def kernel(**changes: Any) -> str:
        return small_simulation(**{**DEFAULTS, **changes}).federation.side.kernel

    assert kernel() == "tpu"
    assert kernel(decay_biases=False) == "off"  # a bias lies beside its row
    assert kernel(decay_biases=False, weight_decay=0.0, ridge=0.0) == "tpu"
    for other in ({"algorithm": "fedavg"}, {"engine": "active_rows"}, {"kernel": "off"}):
        assert kernel(**other) == "off"


def test_wide_layers_leave_room_for_fewer_clients() -> None:
    """Of 128 MiB, for the matrices of (1024, 512), which have 2: 10 for a client, 8 for all, and 18
    for a client where a moment is carried."""

    def model(*sizes: int) -> AutoEncoder:
        return AutoEncoder(sizes, num_items=1000)

    assert _most_clients(model(64, 32), 100, 0) == _most_clients(model(1024, 512), 100, 0) == 8
    assert _most_clients(model(1024, 512), 700, 0) == 4
    assert _most_clients(model(1024, 512), 700, 1) == 2
    assert _most_clients(model(1024, 512), 2000, 0) == 2
    assert _most_clients(model(64, 32), 2000, 0) >= 4
    assert _most_clients(model(4096, 2048), 8, 0) == 0


def test_a_compiler_without_the_kernel_is_told_how_to_do_without() -> None:
    """Such as a CPU's."""
    simulation = small_simulation(**DEFAULTS)
    side = dataclasses.replace(simulation.federation.side, kernel="tpu")
    federation = dataclasses.replace(simulation.federation, side=side)
    algorithm = build_algorithm(simulation.spec, simulation.config, federation)
    with_kernel = dataclasses.replace(simulation, federation=federation, algorithm=algorithm)
    with pytest.raises(InputError, match="--kernel=off"):
        next(simulate(with_kernel, 1))


def test_members_share_lanes() -> None:
    """By hand: three members in four places, 40 features in two registers."""
    assert [lanes.places_of(members) for members in (1, 2, 3, 4, 5)] == [1, 2, 4, 4, 8]
    leaf = np.arange(2 * 40 * 3, dtype=np.float32).reshape(2, 40, 3)
    laid = lanes.on_lanes(jnp.asarray(leaf), 4)
    assert laid.shape == (2, 256)
    assert laid[1, 4 * 7 + 2] == leaf[1, 7, 2]
    assert not laid[:, 3::4].any() and not laid[:, 160:].any()
    np.testing.assert_array_equal(lanes.off_lanes(laid, 40, 3, 4), leaf)
