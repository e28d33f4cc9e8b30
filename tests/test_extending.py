"""The tutorial is run as it stands, from an empty folder; algorithms of one's own, by hand."""

import typing
from pathlib import Path

import jax
import numpy as np
import pytest
from documents import ROOT, output_of, python_of
from federations import leaves_by_name, ragged_ratings, small_config

from pfr_jax.algorithms import ALGORITHMS, AlgorithmSpec
from pfr_jax.algorithms.spec import Moves, at_once, one_after_the_other
from pfr_jax.config import DataConfig, RunConfig
from pfr_jax.data.splits import random_split
from pfr_jax.errors import InputError
from pfr_jax.evaluation.tasks import TASKS
from pfr_jax.runs.experiment import train
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.setup import Simulation, prepare


def test_the_tutorial_runs(tmp_path: Path) -> None:
    code = python_of(ROOT / "docs" / "extending.md")
    first, *others = output_of(code, tmp_path).splitlines()
    assert first == "in_turns is computed by factored"
    assert [line.split(":")[0] for line in others if "validation" in line] == [
        "round 10",
        "round 20",
    ]
    assert others[-2].startswith("a tenth of the users has a test RMSE above ")
    assert others[-1].startswith("squashed, half precision: test RMSE ")
    assert (tmp_path / "mine" / "summary.json").is_file()


def simulation_of(spec: AlgorithmSpec, **changes: object) -> Simulation:
    ratings = ragged_ratings()
    split = random_split(len(ratings), 0.0, 0.1, 0)
    return prepare(small_config(rounds=2, **changes), ratings, split, spec=spec)


def changed_parts(simulation: Simulation) -> tuple[set[str], set[str]]:
    """The parts that a round has changed: of the server, and of some client.

    By the active_rows engine: memory of the other one is not its own before a client has trained.
    """
    before = leaves_by_name(next(iter(simulate(simulation, 1))).state.server.shared)
    record = list(simulate(simulation, 2))[-1]
    after = leaves_by_name(record.state.server.shared)
    of_server = {n.split("/")[0] for n in after if not np.array_equal(before[n], after[n])}
    of_clients = set()
    for clients in record.state.clients:
        for name, leaf in leaves_by_name(clients.private).items():
            if np.any(leaf):
                of_clients.add(name.split("/")[0])
    return of_server, of_clients


@pytest.mark.parametrize(
    ("shared", "server", "clients"),
    [
        (("item",), {"decoder"}, {"encoder"}),
        (("user",), {"encoder"}, {"decoder"}),
        (("user", "item"), {"encoder", "decoder"}, set()),
        ((), set(), {"encoder", "decoder"}),
    ],
)
def test_what_is_shared_is_averaged_and_the_rest_stays(shared, server, clients) -> None:
    spec = AlgorithmSpec("mine", "of this test", shared=shared)
    assert changed_parts(simulation_of(spec, engine="active_rows")) == (server, clients)


def test_a_record_of_ones_own_equals_the_one_it_copies() -> None:
    fedalt = ALGORITHMS["fedalt"]
    mine = AlgorithmSpec("mine", "as fedalt", shared=("item",), schedule=one_after_the_other)
    ends = [list(simulate(simulation_of(spec)))[-1].state.server for spec in (fedalt, mine)]
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_fedrep_trains_the_head_first() -> None:
    """With no local epoch of the encoder left, the server learns nothing; with some it does."""
    spec = ALGORITHMS["fedrep"]
    of_server, of_clients = changed_parts(simulation_of(spec))
    assert (of_server, of_clients) == ({"encoder"}, {"decoder"})
    assert spec.schedule(2, 1) == Moves((True, True, False), (False, False, True))


def test_a_part_that_never_moves_stays() -> None:
    def frozen(private_epochs: int, local_epochs: int) -> Moves:
        return Moves((True,) * local_epochs, (False,) * local_epochs)

    spec = AlgorithmSpec("mine", "the server learns nothing", shared=("item",), schedule=frozen)
    of_server, _ = changed_parts(simulation_of(spec, momentum=0.0, engine="active_rows"))
    assert not of_server


def test_schedules_by_hand() -> None:
    assert at_once(3, 2) == Moves((True, True), (True, True))
    assert one_after_the_other(1, 2) == Moves((True, False, False), (False, True, True))


def test_names_are_those_of_the_catalog() -> None:
    assert all(name == spec.name for name, spec in ALGORITHMS.items())
    for name in ALGORITHMS:
        assert RunConfig(algorithm=name).algorithm == name
    with pytest.raises(InputError, match="--algorithm=mine: want one of personalfr, .*prepare"):
        RunConfig(algorithm="mine")


def test_the_flag_of_the_task_has_the_names_of_the_records() -> None:
    kinds = typing.get_args(typing.get_type_hints(DataConfig)["feedback"])
    assert kinds == tuple(TASKS) and all(name == task.name for name, task in TASKS.items())
    for task in TASKS.values():
        assert {*task.headings} <= {*task.figures.__dataclass_fields__}
        assert task.figure in task.shown


def test_no_engine_for_a_combination_is_one_clear_line() -> None:
    with pytest.raises(InputError) as error:
        simulation_of(ALGORITHMS["fedper"], engine="factored")
    message = str(error.value)
    assert "--engine=factored" in message and "--algorithm=fedper" in message
    assert "private decoder" in message and "active_rows" in message and "\n" not in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shared": "user"}, "want a tuple"),
        ({"shared": ("items",)}, "want a tuple"),
        ({"shared": ("item",), "private": ()}, "every side is shared, private or both"),
    ],
)
def test_a_record_that_says_nothing_is_refused(changes: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        AlgorithmSpec("mine", "of this test", **changes)


def test_a_split_without_its_ratings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the ratings, too"):
        train(small_config(), tmp_path / "run", split=random_split(10, 0.0, 0.1, 0))
