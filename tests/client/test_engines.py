"""The factored engine computes what the engine on active rows does, whatever the settings."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from federations import leaves_by_name, small_simulation, unpacked
from hypothesis import given, settings
from hypothesis import strategies as st

from pfr_jax.client import engines
from pfr_jax.client.engines import _width_of_rows, accelerator_block
from pfr_jax.client.factored.on_tpu.round import TPU
from pfr_jax.client.factored.storage import BITS, from_bits, round_at_random
from pfr_jax.errors import InputError
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.members import side_by_side
from pfr_jax.population.devices import client_mesh
from pfr_jax.population.population import Bucket
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.start import seed_keys

SETTINGS = st.fixed_dictionaries(
    {
        "client_learning_rate": st.sampled_from([0.01, 0.1, 0.5]),
        "momentum": st.sampled_from([0.0, 0.5, 0.9]),
        "nesterov": st.booleans(),
        "weight_decay": st.sampled_from([0.0, 5e-4, 0.1]),
        "clip_norm": st.sampled_from([0.0, 0.05, 1.0, 100.0]),
        "local_epochs": st.integers(1, 8),
        "dropout": st.sampled_from([0.0, 0.5]),
        "private_momentum": st.sampled_from(["carry", "restart"]),
        "shared_momentum": st.sampled_from(["carry", "restart"]),
        "denominator": st.sampled_from(["clients", "contributors", "sqrt"]),
        "feedback": st.sampled_from(["explicit", "implicit"]),
        "user_profile": st.booleans(),
        "algorithm": st.sampled_from(["personalfr", "fedavg", "fedalt", "fedrecon"]),
        "private_epochs": st.integers(1, 3),
        "proximal": st.sampled_from([0.0, 0.3]),
        "private_rate_factor": st.sampled_from([1.0, 0.5]),
        "decay_biases": st.booleans(),
        "input_offset": st.sampled_from([0.0, 1.5]),
        "hidden_sizes": st.sampled_from([(7, 5), (5,), (6, 4, 3)]),
        "members": st.sampled_from([1, 2, 3]),
    }
)
COHORTS = [np.array([0, 3, 5, 12]), np.array([12, 0, 4, 5])]


def after_rounds(dtype: type, **changes: Any) -> tuple[Any, list[dict[str, np.ndarray]]]:
    """The state after two rounds with common clients, and all changes since the start, by name."""
    simulation = small_simulation(dtype, **changes)
    state = begun = initial_state(simulation)
    step = jax.jit(simulation.algorithm.round)
    for index, cohort in enumerate(COHORTS):
        laid_out = simulation.population.cohort(cohort, simulation.federation.block_sizes)
        key = jax.random.fold_in(seed_keys(0)[1], index)
        state, _ = step(state, simulation.population.buckets, laid_out, key)
    moved = jax.tree.map(lambda a, b: np.asarray(a - b), state.server.shared, begun.server.shared)
    changes_by_name = [leaves_by_name(moved)]
    for client in range(simulation.num_clients):
        if simulation.federation.side.stateless:
            assert not any(jax.tree.leaves(states.private) for states in state.clients)
            continue
        own, rows = unpacked(simulation, state, client), simulation.population.rows[client]
        leaves = {"private": own.private, "private_opt": own.private_opt, "opt": own.shared_opt}
        flat, _ = jax.tree_util.tree_flatten_with_path(leaves)
        changes_by_name.append(
            {
                jax.tree_util.keystr(path): np.asarray(leaf)[:rows]
                if "item_" in jax.tree_util.keystr(path)
                else np.asarray(leaf)
                for path, leaf in flat
            }
        )
    return simulation, changes_by_name


def both_agree(**changes: Any) -> None:
    """On the change of every leaf, in float64."""
    with jax.enable_x64(True):
        factored, one = after_rounds(np.float64, engine="factored", **changes)
        active, other = after_rounds(np.float64, engine="active_rows", **changes)
    assert factored.federation.engine.name == "factored"
    assert active.federation.engine.name == "active_rows"
    for owner, (ours, theirs) in enumerate(zip(one, other, strict=True)):
        assert ours.keys() == theirs.keys()
        for name, leaf in ours.items():
            scale = np.abs(theirs[name]).max(initial=0)
            difference = np.abs(leaf - theirs[name]).max(initial=0)
            assert difference <= 1e-9 * scale + 1e-15, (owner, name)


@settings(max_examples=8, derandomize=True)
@given(SETTINGS)
def test_both_engines_agree(changes: dict[str, Any]) -> None:
    both_agree(**changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"members": 3, "algorithm": "fedavg", "batch_size": 2, "denominator": "sqrt"},
        {"members": 2, "num_devices": 2, "user_profile": True, "nesterov": False},
        {"members": 2, "compressor": "topk", "topk_share": 0.3},
        {"members": 2, "compressor": "int8", "algorithm": "fedavg"},
        {"members": 3, "compressor": "lowrank", "lowrank_rank": 2},
        {"members": 2, "max_update_norm": 0.5, "clip_norm": 0.05, "ridge": 4.0},
        {"members": 2, "algorithm": "fedalt", "private_epochs": 1, "dropout": 0.0},
    ],
    ids=str,
)
def test_members_go_with_everything(changes: dict[str, Any]) -> None:
    both_agree(**{"shared_momentum": "carry", "max_buckets": 2, **changes})


@pytest.mark.parametrize("loss", ["bce", "multinomial", "bpr"])
def test_both_engines_agree_on_what_rankings_minimise(loss: str) -> None:
    changes = {
        "feedback": "ranking",
        "ranking_loss": loss,
        "negatives": 2,
        "center": "global",
        "max_buckets": 2,
    }
    with jax.enable_x64(True):
        _, one = after_rounds(np.float64, engine="factored", input_offset=1.5, **changes)
        _, other = after_rounds(np.float64, engine="active_rows", input_offset=1.5, **changes)
    for ours, theirs in zip(one, other, strict=True):
        for name, leaf in ours.items():
            scale = np.abs(theirs[name]).max(initial=0)
            assert np.abs(leaf - theirs[name]).max(initial=0) <= 1e-9 * scale + 1e-15, name


def test_auto_takes_the_factored_engine_where_it_is_exact() -> None:
    assert small_simulation().federation.engine.name == "factored"
    assert small_simulation(members=2).federation.engine.name == "factored"
    for changes, reason in (
        ({"algorithm": "local"}, "private decoder"),
        ({"client_optimizer": "adam"}, "client_optimizer=adam"),
        ({"partial_compression": False}, "partial_compression"),
        ({"num_clients": 5}, "several users"),
        ({"members": 2, "model": "mf"}, "not made of layers"),
    ):
        simulation = small_simulation(**changes)
        assert simulation.federation.engine.name == "active_rows"
        assert reason in simulation.engine_choice
        with pytest.raises(InputError, match=f"--engine=factored .*{reason}.* or active_rows"):
            small_simulation(engine="factored", **changes)


def test_16_bit_states_stay_near_32_bit_ones() -> None:
    """Of every change, the error is some units of 2^-8, and not the loss of all small changes."""
    _, exact = after_rounds(np.float32, dropout=0.0)
    simulation, rounded = after_rounds(np.float32, dropout=0.0, state_dtype="bfloat16")
    assert simulation.federation.side.store == BITS
    for ours, theirs in zip(rounded, exact, strict=True):
        for name, leaf in ours.items():
            assert np.abs(leaf - theirs[name]).max(initial=0) <= 0.03 * np.abs(theirs[name]).max()


def test_rounding_at_random_is_right_in_the_mean() -> None:
    """Every value goes to one of its two neighbours, as often as its distance to them says."""
    value = np.float32(1 + 0.3 / 128)  # between 1 and 1 + 1/128, the next in 16 bits
    values = jnp.full(100_000, value)
    rounded = np.asarray(from_bits(round_at_random(values, jnp.uint32(7))))
    assert set(np.unique(rounded)) == {1.0, 1 + 1 / 128}
    assert rounded.mean() == pytest.approx(value, abs=4 * (0.3 * 0.7) ** 0.5 / 128 / 100_000**0.5)
    negative = np.asarray(from_bits(round_at_random(-values, jnp.uint32(8))))
    assert set(np.unique(negative)) == {-1.0, -1 - 1 / 128}
    exact = jnp.asarray([0.0, 1.5, -2.0, 3e-30], jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_array_equal(from_bits(round_at_random(exact, jnp.uint32(9))), exact)


def test_blocks_of_an_accelerator_follow_rows() -> None:
    """By hand: 4 x 64 numbers in the encoder and in the decoder per item, and four biases."""
    model = side_by_side(AutoEncoder((64, 32), 10_677, 0), 4)
    row = 4 * (2 * 4 * 64 + 4)
    assert 512 * 2**20 / row / 256 == pytest.approx(1016, abs=1)  # so 512 clients of 256 rows
    block = partial(accelerator_block, _width_of_rows(model), 512 * 2**20, 1024)
    sizes = [block(rows, 70_000) for rows in (8, 256, 512, 4096, 7_360, 10_677)]
    assert sizes == [1024, 512, 512 // 2, 32, 32, 16]
    assert [block(8, there) for there in (1, 8, 100, 700)] == [8, 8, 128, 1024]


def test_blocks_of_the_kernel_hold_more_rows_and_fewer_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 16 MiB of rows of 4 x (2 x 512 + 8) bytes, and four times that; 3,000 clients a round."""
    monkeypatch.setattr(engines, "on_cpu", lambda mesh: False)
    monkeypatch.setattr(engines, "block_bytes", lambda mesh: 16 * 2**20)
    simulation = small_simulation(hidden_sizes=(64, 32), members=8, block_size=0)
    (bucket,) = simulation.population.buckets

    def clients_with(rows: int) -> Bucket:
        items = jax.ShapeDtypeStruct((3_000, rows), jnp.int32)
        return dataclasses.replace(bucket, items=items, client=items)

    buckets = clients_with(8), clients_with(256)
    population = dataclasses.replace(simulation.population, buckets=buckets)
    given = simulation.config.client, simulation.model, simulation.federation.engine, population
    assert engines.block_sizes(*given) == (256, 8)  # 508, 15.9
    assert engines.block_sizes(*given, kernel=TPU) == (1024, 32)  # 2,032, 63.5


@pytest.mark.parametrize(("gib", "mib"), [(15.75, 512), (31.5, 1024), (0, 512)])
def test_blocks_of_an_accelerator_follow_its_memory(
    gib: float, mib: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "device_bytes", lambda mesh: mesh.size * gib * 2**30)
    assert engines.block_bytes(client_mesh(2)) == mib * 2**20
