"""The estimate of memory against what is really there, and what cannot fit is refused."""

import dataclasses

import jax
import numpy as np
import pytest
from federations import small_simulation

from pfr_jax.client.factored.on_tpu.round import TPU
from pfr_jax.client.factored.untouched import untouched
from pfr_jax.errors import InputError
from pfr_jax.models.item_rows import tree_bytes
from pfr_jax.simulation import device_memory, memory
from pfr_jax.simulation.compiling import begin_compiling, compile_round
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.rounds import state_shapes


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("engine", ["factored", "active_rows"])
def test_clients_states_are_counted_exactly(engine: str, members: int) -> None:
    simulation = small_simulation(engine=engine, members=members)
    state = initial_state(simulation)
    expected = sum(leaf.nbytes for leaf in jax.tree.leaves(state.clients))
    assert memory.estimate(simulation).clients_all == expected


def test_16_bits_and_restarted_momenta_need_less() -> None:
    whole = memory.estimate(small_simulation(shared_momentum="carry")).clients_all
    for changes in (
        {"state_dtype": "bfloat16", "shared_momentum": "carry"},
        {"shared_momentum": "restart"},
        {"shared_momentum": "carry", "private_momentum": "restart"},
    ):
        assert memory.estimate(small_simulation(**changes)).clients_all < whole


def test_share_of_clients_reached_by_hand() -> None:
    """13 clients, 8 in a round: after two rounds 1 - (5/13)^2 of them, in the mean."""
    needed = memory.estimate(small_simulation(cohort_fraction=0.6, rounds=2))
    assert needed.share_reached == pytest.approx(1 - (5 / 13) ** 2)
    assert needed.before < needed.of_run < needed.at_most


def test_a_run_that_cannot_fit_is_refused_with_what_would_help() -> None:
    needed = memory.MemoryEstimate(
        before=0.0, working=2.0**30, clients_all=64.0 * 2**30, share_reached=0.5
    )
    simulation = small_simulation(memory_limit=20.0, shared_momentum="carry")
    with pytest.raises(InputError) as error:
        memory.check(simulation, needed)
    assert "33.0 GiB" in str(error.value) and "20.0 GiB" in str(error.value)
    for flag in ("state_dtype=bfloat16", "shared_momentum=restart", "private_momentum=restart"):
        assert f"--{flag}" in str(error.value)
    lean = small_simulation(memory_limit=20.0, private_momentum="restart")
    with pytest.raises(InputError) as error:
        memory.check(lean, needed)
    assert "momentum" not in str(error.value)
    memory.check(simulation, dataclasses.replace(needed, share_reached=0.25))
    with pytest.raises(InputError, match=r"37\.0 GiB.*--baselines=simple"):
        memory.check(simulation, dataclasses.replace(needed, baselines=4.0 * 2**30))


def test_what_nobody_stores_in_takes_no_memory() -> None:
    size = 256 * 2**20
    before = memory.resident_bytes()
    if not before:
        pytest.skip("this system does not tell how much is resident")
    array = jax.jit(lambda: untouched((size // 4,), np.float32))()
    array.block_until_ready()
    assert memory.resident_bytes() - before < size / 4
    touched = jax.jit(lambda a: a.at[:].set(1.0), donate_argnums=0)(array)
    touched.block_until_ready()
    assert memory.resident_bytes() - before > size / 2


def on_an_accelerator(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    """The CPU's devices are taken for accelerators with so much memory each."""
    for module in ("client.engines", "simulation.memory"):
        monkeypatch.setattr(f"pfr_jax.{module}.on_cpu", lambda mesh: False)
    for module in ("memory", "device_memory"):
        name = f"pfr_jax.simulation.{module}.device_bytes"
        monkeypatch.setattr(name, lambda mesh: gib * 2**30 * mesh.size)


def test_a_round_on_a_device_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held, to the byte, and the copies of the largest block's rows."""
    on_an_accelerator(monkeypatch, 1.0)
    simulation = small_simulation(num_devices=2)
    state = initial_state(simulation)
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves((state.clients, simulation.data)))
    server = tree_bytes(state.start) + 4 * tree_bytes(state.server.shared)
    longest = max(bucket.items.shape[1] for bucket in simulation.data)
    copies_of_rows = simulation.federation.engine.copies_of_rows
    of_rows = copies_of_rows(simulation.federation.side, simulation.data[0], False, 1.0)
    copies = of_rows * 4 * longest * 7 * 4
    assert memory.estimate(simulation).on_device == kept / 2 + server + copies


@pytest.mark.parametrize(
    ("shape", "times"),
    [
        ((9, 4, 1, 64, 32), 2.0),  # 32 x 128 instead of 32 x 64
        ((9, 600, 4, 64), 640 / 600),  # 64 x 640 instead of 64 x 600
        ((9, 4, 0, 64, 32), 0.0),  # no moments are kept
        ((9, 5), 1.0),  # vectors
    ],
)
def test_stacks_on_a_tpu_by_hand(shape: tuple[int, ...], times: float) -> None:
    leaf = jax.ShapeDtypeStruct(shape, np.float32)
    found = device_memory._bytes_of_stack(leaf, on_tpu=True)
    assert found == pytest.approx(times * 4 * np.prod(shape))


def test_clients_that_do_not_fit_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    on_an_accelerator(monkeypatch, 1.0)
    needed = memory.estimate(small_simulation(state_memory="device")).on_device / 2**30
    on_an_accelerator(monkeypatch, 1.1 * needed)
    assert not small_simulation().federation.on_host
    on_an_accelerator(monkeypatch, 0.99 * needed)
    assert small_simulation().federation.on_host


def test_a_device_that_is_too_small_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    on_an_accelerator(monkeypatch, 1e-6)
    simulation = small_simulation(state_memory="device", block_size=64)
    with pytest.raises(InputError) as error:
        memory.check(simulation, memory.estimate(simulation))
    assert "on each device" in str(error.value)
    assert all(flag in str(error.value) for flag in ("--state_memory=host", "--block_size=32"))


def test_what_the_compiler_says_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the estimate was: by the compiled round's own bytes, and by its message."""
    simulation = small_simulation(num_devices=1)
    on_an_accelerator(monkeypatch, 1e-7)
    monkeypatch.setattr("pfr_jax.simulation.compiling.on_cpu", lambda mesh: False)
    wanted = r"does not fit into a device: it needs 0\.\d+ GiB of 0\.00; try --state_memory=host"
    with pytest.raises(InputError, match=wanted):
        compile_round(simulation)
    side = dataclasses.replace(simulation.federation.side, kernel=TPU)
    other = dataclasses.replace(simulation.federation, side=side)
    with pytest.raises(InputError, match=wanted) as error:
        compile_round(dataclasses.replace(simulation, federation=other))
    assert "--kernel=off" not in str(error.value)
    trusting = simulation.config.with_settings(memory_limit=1.0)
    compile_round(dataclasses.replace(simulation, config=trusting))


def test_a_compiler_that_fails_beside_is_heard_when_its_round_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And asked once more another time."""
    simulation = small_simulation(num_devices=1)

    def fail(*args: object) -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED: Ran out of memory. Used 42G of 15.75G hbm.\nmore")

    with monkeypatch.context() as patch:
        patch.setattr(jax.stages.Lowered, "compile", fail)
        begin_compiling(simulation)
        with pytest.raises(InputError, match=r"Used 42G of 15\.75G hbm\.; try --state_memory=host"):
            compile_round(simulation)
    assert callable(compile_round(simulation))


@pytest.mark.parametrize(
    ("algorithm", "copies"), [("local", 5.5), ("personalfr", 5.5), ("ditto", 11), ("fedavg", 9.0)]
)
def test_what_is_uploaded_of_a_row_is_copied_more_often(algorithm: str, copies: float) -> None:
    """A bias beside 7 features, and in FedAvg both layers' rows."""
    simulation = small_simulation(algorithm=algorithm, engine="active_rows", hidden_sizes=(7,))
    shapes = state_shapes(simulation.algorithm, simulation.model, simulation.population.buckets)
    federation, bucket = simulation.federation, simulation.population.buckets[0]
    uploaded = device_memory.row_numbers(shapes.server.shared) / 7
    assert uploaded == {"local": 0, "personalfr": 8 / 7}.get(algorithm, 15 / 7)
    found = federation.engine.copies_of_rows(federation.side, bucket, True, uploaded)
    assert found == pytest.approx(copies, abs=0.5)
    on_a_gpu = federation.engine.copies_of_rows(federation.side, bucket, False, uploaded)
    assert on_a_gpu == (9 if algorithm == "ditto" else 4.5)
