"""The kernels compute what the factored engine does without them."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from federations import assert_same_change, everything, run_rounds, small_simulation

from pfr_jax.client.block import ClientSide
from pfr_jax.client.compressors import COMPRESSORS
from pfr_jax.client.factored.kernel import Kernel, by_kernel
from pfr_jax.client.factored.on_gpu import round as on_gpu
from pfr_jax.client.factored.on_gpu.round import GPU
from pfr_jax.client.factored.on_tpu import lanes, rows
from pfr_jax.client.factored.on_tpu.round import TPU, _most_clients
from pfr_jax.client.training import Parts
from pfr_jax.errors import InputError
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.losses import masked_cross_entropy
from pfr_jax.simulation import federation
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.rounds import build_algorithm
from pfr_jax.simulation.shapes import arguments_of_round

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


def by_itself(side: ClientSide, kernel: Kernel = TPU, **changes: Any) -> ClientSide:
    """With a kernel that JAX's operations compute."""
    training = dataclasses.replace(side.training, **changes)
    kernel = dataclasses.replace(kernel, interpret=True)
    return dataclasses.replace(side, kernel=kernel, training=training)


def assert_kernel_agrees(kernel: Kernel, **changes: Any) -> None:
    """In the changes of all leaves, of ragged clients, some of which take part again."""
    simulation = small_simulation(**{**DEFAULTS, **changes})
    federation = simulation.federation
    side = by_itself(federation.side, kernel)
    assert all(by_kernel(side, bucket) for bucket in simulation.population.buckets)
    assert not by_kernel(federation.side, simulation.population.buckets[0])
    with_kernel = dataclasses.replace(federation, side=side)
    kernels = build_algorithm(simulation.spec, simulation.config, with_kernel)
    ours = everything(simulation, run_rounds(simulation, COHORTS, jax.jit(kernels.round)))
    plain = everything(simulation, run_rounds(simulation, COHORTS))
    start = everything(simulation, initial_state(simulation))
    assert_same_change(plain, ours, start, tolerance=1e-5)


RESTARTED: dict[str, Any] = {"momentum": 0.9, "private_momentum": "restart", "members": 2}
CARRIED: dict[str, Any] = {"momentum": 0.9, "private_momentum": "carry"}
ALL_AT_ONCE: dict[str, Any] = {"nesterov": True, "weight_decay": 5e-3, **CARRIED}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"members": 3},
        {"hidden_sizes": (6, 4, 3), "clip_norm": 0.05, "proximal": 0.3},
        {"hidden_sizes": (5,), "clip_norm": 0.0, **RESTARTED},
        {"hidden_sizes": (6, 4, 3), "shared_momentum": "restart", **ALL_AT_ONCE},
        {"members": 3, **CARRIED},
    ],
    ids=str,
)
def test_a_tpu_changes_what_the_engine_does(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows in several chunks."""
    monkeypatch.setattr(rows, "CHUNK", 16)
    assert_kernel_agrees(TPU, **changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_sizes": (16, 8), "members": 3},
        {"hidden_sizes": (16, 8, 8), "clip_norm": 0.05, "proximal": 0.3},
        {"hidden_sizes": (8,), "clip_norm": 0.0, **RESTARTED},
        {"hidden_sizes": (16, 8, 8), "shared_momentum": "restart", **ALL_AT_ONCE},
        {"hidden_sizes": (16, 8), "members": 3, **CARRIED},
        {"hidden_sizes": (16, 8), "local_epochs": 1, "dropout": 0.0},
    ],
    ids=str,
)
def test_a_gpu_changes_what_the_engine_does(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_gpu, "CHUNK", 8)
    assert_kernel_agrees(dataclasses.replace(GPU, rows=8), **changes)


@pytest.mark.parametrize(
    "changes",
    [{"hidden_sizes": (16, 8), "members": 2, **CARRIED}, {"hidden_sizes": (8,)}],
    ids=str,
)
def test_a_gpu_has_a_program_in_triton(changes: dict[str, Any]) -> None:
    """Lowered for it, which takes no GPU: so its loads, stores and waits are known there."""
    simulation = small_simulation(**{**DEFAULTS, **changes})
    side = dataclasses.replace(simulation.federation.side, kernel=GPU)
    with_kernel = dataclasses.replace(simulation.federation, side=side)
    round = build_algorithm(simulation.spec, simulation.config, with_kernel).round
    traced = jax.jit(round).trace(*arguments_of_round(simulation))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "client_rounds" in text and "triton" in text


def test_what_the_kernel_does_not_know_is_left_to_the_plain_path() -> None:
    simulation = small_simulation(**DEFAULTS)
    side, bucket = by_itself(simulation.federation.side), simulation.population.buckets[0]
    assert by_kernel(side, bucket)
    momenta = {"momentum": 0.9, "shared_momentum": "carry"}
    carried = small_simulation(**{**DEFAULTS, **momenta}).federation.side
    for other in (
        dataclasses.replace(side, kernel=None),
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
    here = dataclasses.replace(TPU, is_for=lambda device: True)
    monkeypatch.setattr(federation, "KERNELS", (GPU, here))

    def kernel(**changes: Any) -> Kernel | None:
        found: Kernel | None = small_simulation(**{**DEFAULTS, **changes}).federation.side.kernel
        return found

    assert kernel() is here
    assert kernel(decay_biases=False) is None  # a bias lies beside its row
    assert kernel(decay_biases=False, weight_decay=0.0, ridge=0.0) is here
    for other in ({"algorithm": "fedavg"}, {"engine": "active_rows"}, {"kernel": "off"}):
        assert kernel(**other) is None


@pytest.mark.parametrize(
    "platform,capability,wanted",
    [
        ("gpu", "9.0", True),
        ("gpu", "8.0", True),
        ("gpu", "12.0", True),
        ("gpu", "7.5", False),
        ("gpu", "gfx942", False),
        ("cpu", None, False),
    ],
)
def test_a_gpu_is_one_of_those_that_triton_knows(
    platform: str, capability: str | None, wanted: bool
) -> None:
    device: Any = SimpleNamespace(platform=platform, compute_capability=capability)
    assert GPU.is_for(device) is wanted


def test_a_gpu_has_so_much_in_registers() -> None:
    simulation = small_simulation(**{**DEFAULTS, "hidden_sizes": (16, 8)})
    side, bucket = simulation.federation.side, simulation.population.buckets[0]

    def fits(*sizes: int, steps: int = 5) -> bool:
        model = AutoEncoder(sizes, num_items=simulation.model.num_items)
        moves = Parts((True,) * steps, (True,) * steps)
        return by_kernel(by_itself(side, GPU, model=model, moves=moves), bucket)

    assert fits(256, 128) and fits(64, 32, steps=8)
    assert not fits(64, 32, steps=9)
    assert not fits(96, 32) and not fits(512, 8) and not fits(256, 256)


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
    side = dataclasses.replace(simulation.federation.side, kernel=TPU)
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
