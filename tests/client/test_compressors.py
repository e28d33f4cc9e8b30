"""Compressors: what is decoded, what it weighs, what is fed back, and that engines agree."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from federations import leaves_by_name, ragged_ratings, small_config, small_simulation
from hypothesis import given, settings
from hypothesis import strategies as st

from pfr_jax.client.compressors import Compressor, int8, low_rank, orthonormal, through, top_k
from pfr_jax.data.splits import random_split
from pfr_jax.errors import InputError
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.setup import prepare

ALL = [top_k(0.1), top_k(0.37), int8(), low_rank(1), low_rank(3)]
NAMES = ["topk 0.1", "topk 0.37", "int8", "lowrank 1", "lowrank 3"]
every_compressor = pytest.mark.parametrize("compressor", ALL, ids=NAMES)


def matrix(rows: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def decoded(compressor: Compressor, values: np.ndarray, rows: int, seed: int = 0) -> np.ndarray:
    encoded = compressor.encode(jnp.asarray(values), jnp.int32(rows), jax.random.key(seed))
    return np.asarray(compressor.decode(encoded, values.shape[1]))


@settings(max_examples=15, deadline=None)
@given(
    which=st.sampled_from(ALL),
    rows=st.integers(1, 9),
    width=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_it_weighs_what_it_encodes_and_padding_changes_nothing(
    which: Compressor, rows: int, width: int, seed: int
) -> None:
    values = matrix(rows, width, seed)
    encoded = which.encode(jnp.asarray(values), jnp.int32(rows), jax.random.key(seed))
    assert sum(leaf.nbytes for leaf in encoded.values()) == which.num_bytes(np.array(rows), width)
    plain = decoded(which, values, rows, seed)
    padded = np.concatenate([values, np.zeros((4, width), np.float32)])
    found = decoded(which, padded, rows, seed)
    np.testing.assert_allclose(found[:rows], plain, atol=1e-5)
    assert not found[rows:].any()


def test_the_largest_entries_by_hand() -> None:
    values = np.array([[1, -5, 2, 0], [0.5, 3, -4, 1]], np.float32)
    # A share of 0.3 of 4 columns: 2 entries per row, anywhere.
    np.testing.assert_array_equal(decoded(top_k(0.3), values, 2), [[0, -5, 2, 0], [0, 3, -4, 0]])
    assert top_k(0.3).num_bytes(np.array([2]), 4) == [2 * 2 * 8]


def test_rounding_at_random_is_right_in_the_mean_and_never_a_step_off() -> None:
    values = matrix(3, 50)
    step = np.abs(values).max(axis=1, keepdims=True) / 127
    found = np.stack([decoded(int8(), values, 3, seed) for seed in range(300)])
    assert (np.abs(found - values) <= step * 1.0001).all()
    error = (found.mean(axis=0) - values) / step
    assert np.abs(error).max() < 5 * 0.5 / np.sqrt(300)
    assert not decoded(int8(), np.zeros((2, 3), np.float32), 2).any()


def test_a_matrix_of_that_rank_survives_and_of_another_its_largest_part() -> None:
    thin = matrix(9, 2) @ matrix(2, 7, seed=1)
    np.testing.assert_allclose(decoded(low_rank(2), thin, 9), thin, atol=1e-5)
    np.testing.assert_allclose(decoded(low_rank(5), thin, 9), thin, atol=1e-5)
    u, _, v = np.linalg.svd(matrix(9, 7), full_matrices=False)
    values = (u * np.array([8, 4, 0.2, 0.1, 0.1, 0, 0])) @ v
    lost = np.linalg.norm(values - decoded(low_rank(2), values.astype(np.float32), 9))
    best = np.sqrt(0.2**2 + 0.1**2 + 0.1**2)  # Eckart and Young
    assert best * 0.999 <= lost < best * 1.2


def test_orthonormal_columns() -> None:
    columns = matrix(8, 3)
    columns = np.stack([columns[:, 0], columns[:, 1], columns[:, 0] * 2], axis=1)
    found = np.asarray(orthonormal(jnp.asarray(columns)))
    np.testing.assert_allclose(found.T @ found, np.diag([1, 1, 0]), atol=1e-6)


@every_compressor
def test_nothing_is_lost_for_ever(compressor: Compressor) -> None:
    """What was decoded and what is left make up all that was to be sent."""
    rng = np.random.default_rng(0)
    there = jnp.array([True, True, True, False])
    residual: Any = {"layer/kernel": jnp.zeros((5, 3)), "output/item_kernel": jnp.zeros((4, 6))}
    wanted = {name: np.zeros(leaf.shape) for name, leaf in residual.items()}
    arrived = {name: np.zeros(leaf.shape) for name, leaf in residual.items()}
    for round in range(6):
        flat = {name: rng.normal(size=leaf.shape) for name, leaf in residual.items()}
        delta: Any = {
            "layer": {"kernel": jnp.float32(flat["layer/kernel"]), "bias": jnp.arange(3.0)},
            "output": {"item_kernel": jnp.float32(flat["output/item_kernel"])},
        }
        key = jax.random.key(round)
        sent, residual = through(compressor, delta, residual, there, key)
        np.testing.assert_array_equal(sent["layer"]["bias"], np.arange(3.0))
        for name, leaf in leaves_by_name(sent).items():
            if name in arrived:
                arrived[name] += leaf
                wanted[name] += flat[name]
    wanted["output/item_kernel"][3] = 0  # padding
    for name, leaf in residual.items():
        np.testing.assert_allclose(arrived[name] + np.asarray(leaf), wanted[name], atol=1e-5)


def change_of_shared(dtype: type = np.float32, **changes: Any) -> dict[str, np.ndarray]:
    simulation = small_simulation(dtype, **changes)
    begin = leaves_by_name(initial_state(simulation).server.shared)
    end = leaves_by_name(list(simulate(simulation))[-1].state.server.shared)
    return {name: end[name] - begin[name] for name in end}


@pytest.mark.parametrize("algorithm", ["personalfr", "fedavg"])
@pytest.mark.parametrize("name", ["topk", "int8", "lowrank"])
def test_both_engines_upload_the_same(name: str, algorithm: str) -> None:
    common = {"compressor": name, "algorithm": algorithm, "lowrank_rank": 2, "momentum": 0.0}
    with jax.enable_x64(True):
        one, other = (
            change_of_shared(np.float64, engine=engine, **common)
            for engine in ("factored", "active_rows")
        )
    for leaf, change in one.items():
        np.testing.assert_allclose(change, other[leaf], atol=1e-9 * np.abs(change).max())


@pytest.mark.slow
def test_a_compressor_that_keeps_everything_changes_nothing() -> None:
    plain = change_of_shared()
    for changes in ({"compressor": "topk", "topk_share": 1.0}, {"compressor": "lowrank"}):
        # Hidden sizes 7 and 5: rank 7 is all there is.
        found = change_of_shared(**changes, lowrank_rank=7)
        for name, change in plain.items():
            np.testing.assert_allclose(found[name], change, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "fedrecon"},  # clients keep nothing, so nothing is fed back
        {"algorithm": "ditto"},
        {"partial_compression": False},
        {"holdout_users": 0.25},
        {"num_devices": 3, "deterministic_sum": True},
        {"state_dtype": "bfloat16"},
        {"model": "mf", "max_update_norm": 5.0},
    ],
)
def test_it_goes_with_everything_else(changes: dict[str, Any]) -> None:
    records = list(simulate(small_simulation(compressor="topk", **changes)))
    assert all(np.isfinite(record.loss) for record in records)


def test_the_ledger_asks_the_compressor() -> None:
    """Hidden sizes 7 and 5: a decoder has a matrix of 5 x 7, biases, and rows of 7 and a bias."""
    plain, small = (
        list(simulate(small_simulation(rounds=1, compressor=name)))[0].traffic
        for name in ("none", "int8")
    )
    simulation = small_simulation(rounds=1)
    record = list(simulate(simulation))[0]
    rows = simulation.population.rows[record.clients]
    saved = 4 * (5 * 7 * len(rows) + 7 * rows.sum()) - (5 * (7 + 4) * len(rows) + 11 * rows.sum())
    assert plain.payload_up - small.payload_up == saved
    assert (plain.payload_down, plain.index_up) == (small.payload_down, small.index_up)


def test_a_compressor_of_ones_own() -> None:
    """Signs and one length per matrix row; it is not in any list of names."""

    def encode(values: jax.Array, rows: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        return {"size": jnp.abs(values).mean(axis=1), "sign": jnp.sign(values).astype(jnp.int8)}

    def decode(encoded: dict[str, jax.Array], width: int) -> jax.Array:
        size = encoded["size"]
        return encoded["sign"].astype(size.dtype) * size[:, None]

    mine = Compressor("sign", encode, decode, lambda rows, m: rows * (4 + -(-m // 8)), True)
    ratings = ragged_ratings()
    split = random_split(len(ratings), 0.0, 0.1, 0)
    simulation = prepare(small_config(rounds=2), ratings, split, compressor=mine)
    assert simulation.federation.side.compressor is mine
    assert all(np.isfinite(record.loss) for record in simulate(simulation))


def test_what_it_cannot_be_combined_with_is_one_clear_line() -> None:
    with pytest.raises(InputError, match="--algorithm=joint uploads nothing"):
        small_config(algorithm="joint", compressor="int8")
    with pytest.raises(InputError, match="--topk_share=0"):
        small_config(topk_share=0.0)
    with pytest.raises(InputError, match="--compressor=zip: want one of none, topk"):
        dataclasses.replace(small_config().client, compressor="zip")
