"""A run that goes on from a checkpoint is the run that was never interrupted."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from federations import (
    assert_same_change,
    everything,
    of_two_buckets,
    ragged_ratings,
    simulation_of,
    small_config,
)

from pfr_jax.errors import InputError
from pfr_jax.runs.checkpoints import clients, steps, store
from pfr_jax.runs.checkpoints.store import Checkpoints
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.records import Begin
from pfr_jax.simulation.setup import Simulation

pytestmark = pytest.mark.slow

NOTE = {"note": np.arange(3)}


def copied(simulation: Simulation, state: Any) -> Any:
    """``everything`` for later; where clients keep nothing, the server's state."""
    if simulation.federation.side.stateless or simulation.spec.centralized:
        return jax.tree.map(np.array, (state.server, []))
    return jax.tree.map(np.array, everything(simulation, state))


def save_all(place: Path, simulation: Simulation, rounds: int, keep: int = 9) -> list[Any]:
    """Runs so many rounds and saves after each: ``everything`` after each."""
    checkpoints, found = Checkpoints(place, simulation, keep), []
    for record in simulate(simulation, rounds):
        checkpoints.save(record.round, record.state, {"loss": record.loss}, NOTE)
        found.append(copied(simulation, record.state))
    return found


@pytest.fixture(scope="module")
def one_round(tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulation, Path]:
    """A run of a round and its checkpoints; compiling it takes longer than all tests of it."""
    simulation, place = of_two_buckets(rounds=1), tmp_path_factory.mktemp("one_round")
    save_all(place, simulation, 1)
    return simulation, place


@pytest.fixture
def saved(one_round: tuple[Simulation, Path], tmp_path: Path) -> Simulation:
    """The same, its checkpoints in ``tmp_path``."""
    shutil.copytree(one_round[1], tmp_path, dirs_exist_ok=True)
    return one_round[0]


def go_on(place: Path, simulation: Simulation, rounds: int) -> Any:
    """The end of a run that goes on from the newest step."""
    checkpoints = Checkpoints(place, simulation, 9)
    saved = checkpoints.latest(pytest.fail)
    assert saved
    np.testing.assert_array_equal(saved.arrays["note"], NOTE["note"])
    for record in simulate(simulation, rounds, Begin(checkpoints.restore(saved), saved.round)):
        checkpoints.save(record.round, record.state, {"loss": record.loss}, NOTE)
    return copied(simulation, record.state)


def forget(place: Path, *rounds: int) -> None:
    """As if the run had been killed before these rounds."""
    steps.prune(place, [p for p in steps.step_paths(place) if int(p.name[-8:]) not in rounds])


SETTINGS: list[dict[str, Any]] = [
    {},
    {"shared_momentum": "carry", "engine": "factored", "state_dtype": "bfloat16"},
    {"engine": "factored", "state_memory": "host"},
    {"engine": "factored", "members": 2, "compressor": "topk"},
    {"engine": "active_rows", "client_optimizer": "rmsprop", "shared_momentum": "carry"},
    {"algorithm": "fedavg", "num_clients": 5, "server_momentum": 0.9},
    {"algorithm": "fedrecon"},
    {"algorithm": "local"},
    {"algorithm": "joint", "client_optimizer": "rmsprop"},
    {"server_momentum": 0.5, "num_devices": 3},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_same_bits(tmp_path: Path, settings: dict[str, Any]) -> None:
    simulation = of_two_buckets(rounds=4, cohort_fraction=0.3, **settings)
    alone = save_all(tmp_path / "alone", simulation, 4)
    save_all(tmp_path / "cut", simulation, 2)
    end = go_on(tmp_path / "cut", simulation, 4)
    jax.tree.map(np.testing.assert_array_equal, end, alone[-1])
    ends = [steps.verified(steps.step_path(tmp_path / p, 4)) for p in ("alone", "cut")]
    assert store.digest(ends[0]) == store.digest(ends[1])


@pytest.mark.parametrize(
    ("before", "after", "memory"), [(8, 1, "device"), (8, 4, "device"), (1, 3, "host")]
)
def test_on_another_number_of_devices(tmp_path: Path, before: int, after: int, memory: str) -> None:
    settings: dict[str, Any] = {"engine": "factored", "rounds": 4, "shared_momentum": "carry"}
    old = of_two_buckets(num_devices=before, **settings)
    start = copied(old, initial_state(old))
    expected = save_all(tmp_path, old, 4)
    forget(tmp_path, 3, 4)
    new = of_two_buckets(num_devices=after, state_memory=memory, **settings)
    saved = Checkpoints(tmp_path, new, 9).latest(pytest.fail)
    assert saved and saved.round == 2
    restored = everything(new, Checkpoints(tmp_path, new, 9).restore(saved))
    jax.tree.map(np.testing.assert_array_equal, restored, expected[1])
    end = go_on(tmp_path, new, 4)
    assert_same_change(end[0].shared, expected[3][0].shared, start[0].shared)
    for mine, other, begin in zip(end[1], expected[3][1], start[1], strict=True):
        assert int(mine.rounds) == int(other.rounds)
        assert_same_change(mine.private, other.private, begin.private)


def test_only_clients_that_changed_are_written_where_that_pays(tmp_path: Path) -> None:
    simulation = of_two_buckets(rounds=8, cohort_fraction=0.5, shared_momentum="carry")
    save_all(tmp_path, simulation, 8)
    borrowed = []
    for path in steps.step_paths(tmp_path):
        step = steps.verified(path)
        entries = [
            one["client"]
            for name in step.content["slices"]
            for one in clients.unpacked(steps.load_arrays(path / name))
        ]
        live = np.unique(np.concatenate(entries))
        assert step.content["entries"] == sum(map(len, entries)) <= 2 * len(live)
        borrowed.append(sum(name.startswith("..") for name in step.content["slices"]))
    assert max(borrowed) > 0 and 0 in borrowed[1:]  # both ways happen


def test_slices_are_small_and_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut finely or coarsely, it is the same state."""
    simulation, found = of_two_buckets(rounds=2), []
    for size in (1, 2_000, 10**9):
        monkeypatch.setattr(clients, "SLICE_BYTES", size)
        save_all(tmp_path / str(size), simulation, 2)
        step = steps.verified(steps.step_path(tmp_path / str(size), 2))
        found.append((len(step.content["slices"]), store.digest(step)))
    numbers, digests = zip(*found, strict=True)
    assert numbers[0] > numbers[1] > numbers[2] and len(set(digests)) == 1


def test_the_last_ones_are_kept_and_what_they_need(tmp_path: Path) -> None:
    simulation = of_two_buckets(rounds=6, cohort_fraction=0.25)
    save_all(tmp_path, simulation, 6, keep=2)
    assert [int(path.name[-8:]) for path in steps.step_paths(tmp_path)] == [5, 6]
    for path in steps.step_paths(tmp_path):
        steps.verified(path)
    needed = {
        (path / name).resolve()
        for path in steps.step_paths(tmp_path)
        for name in steps.verified(path).content["slices"]
    }
    assert needed == {path.resolve() for path in tmp_path.glob("*/clients_*")}


def test_a_step_in_the_making_is_cleared_away(tmp_path: Path, saved: Simulation) -> None:
    (tmp_path / "round_00000002.partial" / "common").mkdir(parents=True)
    assert Checkpoints(tmp_path, saved, 2).latest(pytest.fail)
    assert not list(tmp_path.glob("*.partial"))


def test_after_a_damaged_step_the_one_before_is_used_and_kept(tmp_path: Path) -> None:
    simulation = of_two_buckets(rounds=5, cohort_fraction=1.0)
    expected = save_all(tmp_path, simulation, 4)
    target = next(path for path in (tmp_path / "round_00000004").rglob("d/*") if path.is_file())
    target.write_bytes(target.read_bytes()[:-1])
    told: list[str] = []
    checkpoints = Checkpoints(tmp_path, simulation, 1)
    saved = checkpoints.latest(told.append)
    assert saved and saved.round == 3 and str(target) in told[0]
    record = next(simulate(simulation, 5, Begin(checkpoints.restore(saved), 3)))
    checkpoints.save(4, record.state, {}, NOTE)
    jax.tree.map(np.testing.assert_array_equal, everything(simulation, record.state), expected[3])
    assert [path.name for path in steps.step_paths(tmp_path)] == ["round_00000004"]
    assert Checkpoints(tmp_path, simulation, 1).latest(pytest.fail)


def test_nothing_good_is_an_error_and_nothing_at_all_is_not(
    tmp_path: Path, saved: Simulation
) -> None:
    assert Checkpoints(tmp_path / "none", saved, 2).latest(pytest.fail) is None
    (tmp_path / "round_00000001" / "step.json").write_text("{}")
    with pytest.raises(InputError, match=r"no checkpoint can be used.*step\.json"):
        Checkpoints(tmp_path, saved, 2).latest(lambda text: None)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"client_learning_rate": 0.2}, "--client_learning_rate was 0.1, is 0.2"),
        ({"hidden_sizes": (9, 5)}, "--hidden_sizes was 7,5, is 9,5"),
        ({"seed": 1}, "--seed was 0, is 1"),
        ({"engine": "active_rows"}, "engine was factored, is active_rows"),
        ({"max_buckets": 1}, "--max_buckets was 2, is 1"),
        ({"state_dtype": "bfloat16"}, "--state_dtype was auto, is bfloat16"),
        ({"rounds": 2}, "the cosine schedule depends on it"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("saved")
def test_another_run_is_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as error:
        Checkpoints(tmp_path, of_two_buckets(**{"rounds": 1, **changes}), 2).latest(pytest.fail)
    assert named in str(error.value) and "round_00000001" in str(error.value)


def test_other_ratings_are_refused(tmp_path: Path) -> None:
    config, ratings = small_config(rounds=1), ragged_ratings()
    save_all(tmp_path, simulation_of(config, ratings), 1)
    stars = ratings.rating.copy()
    stars[5] = 6 - stars[5] if stars[5] != 3 else 4
    other = simulation_of(config, dataclasses.replace(ratings, rating=stars))
    with pytest.raises(InputError, match="the ratings are not those of the run: there are as many"):
        Checkpoints(tmp_path, other, 2).latest(pytest.fail)


@pytest.mark.usefixtures("saved")
def test_what_is_kept_of_it_may_change(tmp_path: Path) -> None:
    other = of_two_buckets(rounds=1, block_size=2, num_devices=2, checkpoint_every=7, top_k=3)
    assert Checkpoints(tmp_path, other, 2).latest(pytest.fail)


def test_content_comes_back(tmp_path: Path, one_round: tuple[Simulation, Path]) -> None:
    simulation = one_round[0]
    record = next(simulate(simulation))
    content = {"figure": 0.1 + 0.2, "nothing": float("inf"), "text": "ü"}
    Checkpoints(tmp_path, simulation, 2).save(1, record.state, content, NOTE)
    saved = Checkpoints(tmp_path, simulation, 2).latest(pytest.fail)
    assert saved and saved.content == content


def test_a_step_that_cannot_be_written_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = of_two_buckets(rounds=2)
    save_all(tmp_path, simulation, 1)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(steps, "save_arrays", full)
    record = next(simulate(simulation))
    with pytest.raises(InputError, match=r"round 2 .*No space left.*round_00000001 is whole"):
        Checkpoints(tmp_path, simulation, 2).save(2, record.state, {}, NOTE)
    assert Checkpoints(tmp_path, simulation, 2).latest(pytest.fail)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.usefixtures("saved")
def test_step_json_is_plain(tmp_path: Path) -> None:
    """Anybody can read what a checkpoint is of."""
    content = json.loads((tmp_path / "round_00000001" / "step.json").read_text())
    assert content["round"] == 1 and content["identity"]["settings"]["rounds"] == 1
