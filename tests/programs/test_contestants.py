"""The contestants of the throughput benchmark compute the same as the plain loop of oracle.py."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from oracle import Client, Settings, run_round

from pfr_jax.programs.contestants import jax_engines
from pfr_jax.programs.contestants.workload import Workload, leaf_shapes, random_workload

CASES = [
    {},
    {"carry_shared_momentum": False},
    {"carry_private_momentum": False, "clip_norm": 0.05},
    {"carry_private_momentum": False, "carry_shared_momentum": False},
]
TOLERANCE = 1e-3  # of the largest change of a leaf; single precision


def small_workload(**settings: Any) -> Workload:
    defaults = {"hidden_sizes": (7, 5), "local_steps": 3, "dropout": 0.0}
    return random_workload(11, 23, **{**defaults, **settings})


def oracle_rounds(workload: Workload) -> tuple[dict[str, np.ndarray], list[Client]]:
    """The server's arrays and the clients after all cohorts."""
    settings = Settings(
        carry_private=workload.carry_private_momentum,
        carry_shared=workload.carry_shared_momentum,
        clip_norm=workload.clip_norm,
        local_epochs=workload.local_steps,
        dropout=0.0,
    )
    start = {name: leaf.astype(np.float64) for name, leaf in workload.initial.items()}
    clients = []
    for index in range(workload.num_clients):
        items, values = workload.client(index)
        ratings = np.zeros((1, workload.num_items))
        observed = np.zeros(ratings.shape, bool)
        ratings[0, items], observed[0, items] = values, True
        clients.append(Client(ratings, observed, np.zeros((1, 0)), dict(start)))
    server = {name: leaf for name, leaf in start.items() if name.startswith("decoder")}
    with jax.enable_x64(True):
        for cohort in workload.cohorts:
            # Always round 0 of the cosine: the contestants' learning rate is constant.
            server = run_round(server, clients, cohort.tolist(), 0, jax.random.key(0), settings)
    return server, clients


def assert_agrees(contestant: Any, workload: Workload) -> None:
    """Every leaf's change over all cohorts is the oracle's."""
    for cohort in workload.cohorts:
        assert contestant.round(cohort) > 0
    server, clients = oracle_rounds(workload)
    shared = contestant.shared()
    assert shared.keys() == server.keys()
    assert_same_change(shared, server, workload.initial, "server")
    for index, client in enumerate(clients):
        items, _ = workload.client(index)
        private = contestant.private(index)
        expected = {name: client.weights[name] for name in workload.initial if name not in server}
        first = "encoder/input/item_kernel"
        start = {**workload.initial, first: workload.initial[first][items]}
        expected[first] = expected[first][items]
        assert private.keys() == expected.keys()
        assert_same_change(private, expected, start, f"client {index}")


def assert_same_change(
    actual: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    start: dict[str, np.ndarray],
    who: str,
) -> None:
    for name, leaf in expected.items():
        scale = np.abs(leaf - start[name]).max()
        difference = np.abs(actual[name] - leaf).max()
        assert difference <= TOLERANCE * scale, f"{who}: {name}: {difference / scale}"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_loop_is_the_oracle(case: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    from pfr_jax.programs.contestants.torch_loop import Contestant

    workload = small_workload(**case)
    assert_agrees(Contestant(workload), workload)


@pytest.mark.parametrize("block_size", [0, 1, 3])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_batched_is_the_oracle(case: dict[str, Any], block_size: int) -> None:
    pytest.importorskip("torch")
    from pfr_jax.programs.contestants.torch_batched import Contestant

    workload = small_workload(**case)
    assert_agrees(Contestant(workload, block_size=block_size, compile=False), workload)


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_batched_compiled_is_the_oracle() -> None:
    pytest.importorskip("torch")
    from pfr_jax.programs.contestants.torch_batched import Contestant

    workload = small_workload()
    contestant = Contestant(workload, block_size=3)
    if not contestant.compiled:
        pytest.skip("torch.compile found no compiler")
    assert_agrees(contestant, workload)


@pytest.mark.parametrize("engine", ["active_rows", "factored"])
@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_engines_are_the_oracle(case: dict[str, Any], engine: str) -> None:
    workload = small_workload(**case)
    contestant = jax_engines.Contestant(workload, engine, block_size=3)
    assert_agrees(contestant, workload)
    assert contestant.floor_bytes(workload.cohorts[0]) > 0
    assert contestant.floor_flops(workload.cohorts[0]) > 0


def test_loop_and_batched_drop_parts_of_the_code() -> None:
    pytest.importorskip("torch")
    from pfr_jax.programs.contestants import torch_batched, torch_loop

    with_dropout, without = small_workload(dropout=0.5), small_workload()
    for make in (torch_loop.Contestant, lambda w: torch_batched.Contestant(w, compile=False)):
        shared = []
        for workload in (with_dropout, without):
            contestant = make(workload)
            contestant.round(workload.cohorts[0])
            shared.append(contestant.shared()["decoder/linear_0/kernel"])
        assert np.isfinite(shared[0]).all()
        assert not np.array_equal(*shared)


def test_unsampled_clients_keep_the_start() -> None:
    pytest.importorskip("torch")
    from pfr_jax.programs.contestants import torch_batched, torch_loop

    workload = dataclasses.replace(small_workload(), cohorts=[np.array([2, 5])])
    items, _ = workload.client(7)
    for contestant in (
        torch_loop.Contestant(workload),
        torch_batched.Contestant(workload, compile=False),
    ):
        contestant.round(workload.cohorts[0])
        first = contestant.private(7)["encoder/input/item_kernel"]
        np.testing.assert_array_equal(first, workload.initial["encoder/input/item_kernel"][items])
        assert contestant.floor_bytes(workload.cohorts[0]) > 0
        assert contestant.floor_flops(workload.cohorts[0]) > 0


def test_workload_survives_its_file(tmp_path: Path) -> None:
    workload = small_workload(carry_shared_momentum=False, dropout=0.25)
    workload.save(tmp_path / "workload.npz")
    again = Workload.load(tmp_path / "workload.npz")
    for field in dataclasses.fields(Workload):
        before, after = getattr(workload, field.name), getattr(again, field.name)
        if field.name == "initial":
            assert before.keys() == after.keys()
            before, after = list(before.values()), list(after.values())
        if isinstance(before, list):
            for one, other in zip(before, after, strict=True):
                np.testing.assert_array_equal(one, other, strict=True)
        elif isinstance(before, np.ndarray):
            np.testing.assert_array_equal(before, after, strict=True)
        else:
            assert before == after and type(before) is type(after)


def test_leaves_are_those_of_the_model() -> None:
    from federations import leaves_by_name

    from pfr_jax.models.autoencoder import AutoEncoder
    from pfr_jax.models.model import init_params

    params = leaves_by_name(init_params(AutoEncoder((7, 5), 23), jax.random.key(0)))
    assert {name: leaf.shape for name, leaf in params.items()} == leaf_shapes(23, (7, 5))
    workload = small_workload()
    assert {name: leaf.shape for name, leaf in workload.initial.items()} == leaf_shapes(23, (7, 5))
