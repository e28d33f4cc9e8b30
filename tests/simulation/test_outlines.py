"""A simulation is known from its shapes before it has data, and compiled for them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import pytest
from federations import ragged_ratings, small_config

from pfr_jax.data.splits import random_split
from pfr_jax.errors import InputError
from pfr_jax.models.item_rows import tree_bytes
from pfr_jax.simulation import compiling, memory
from pfr_jax.simulation.compiling import begin_compiling
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.setup import Meanwhile, Simulation, prepare, prepare_alike


def outlined_and_filled(work: Any = id, **changes: Any) -> tuple[Simulation, Simulation]:
    """A simulation as it is seen while its tables are filled, and afterwards."""
    ratings, outlines = ragged_ratings(), []
    run = small_config(**changes), ratings, random_split(len(ratings), 0.1, 0.1, 0)

    with ThreadPoolExecutor(1) as beside:
        (filled,) = prepare_alike([run], meanwhile=Meanwhile(outlines.append, beside, work))
    (outlined,) = outlines
    return outlined, filled


def described(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), tree)


@pytest.mark.parametrize(
    "changes",
    [
        {"holdout_users": 0.3, "num_devices": 2},
        {"num_clients": 5, "batch_size": 3},
        {"upload": "decoy", "max_buckets": 2},
        {"user_profile": True},
        {"algorithm": "joint", "holdout_users": 0.3},
    ],
    ids=str,
)
def test_tables_are_as_outlined(changes: dict[str, Any]) -> None:
    outlined, filled = outlined_and_filled(**changes)
    assert all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(outlined.data))
    assert described(outlined.population.buckets) == described(filled.population.buckets)
    unplaced = [jax.tree.map(lambda x: (x.shape, x.dtype), one.data) for one in (outlined, filled)]
    assert unplaced[0] == unplaced[1]
    if filled.newcomers:
        assert outlined.newcomers is not None
        assert described(outlined.newcomers.buckets) == described(filled.newcomers.buckets)


def test_filled_beside_or_not_is_the_same() -> None:
    changes = {"holdout_users": 0.3, "center": "adaptive", "standardize": True}
    _, filled = outlined_and_filled(**changes)
    config, ratings, split = filled.config, filled.ratings, filled.split
    whole = random_split(len(ratings), 0.1, 0.1, 0)
    assert len(split.train) < len(whole.train)
    plain = prepare(small_config(**changes), ratings, whole)
    assert plain.config == config and plain.standard.scale == filled.standard.scale != 1
    same = jax.tree.map(lambda a, b: bool((a == b).all()), plain.data, filled.data)
    assert all(jax.tree.leaves(same))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"num_devices": 2, "holdout_users": 0.3}, {"algorithm": "joint"}], ids=str
)
def test_the_round_that_was_compiled_ahead_is_the_one_that_runs(changes: dict[str, Any]) -> None:
    seconds = []
    _, filled = outlined_and_filled(lambda one: seconds.append(begin_compiling(one)), **changes)
    compiled = compiling._compiling.cache_info().misses
    assert seconds[0] > 0
    assert next(simulate(filled, 1)).round == 1
    assert compiling._compiling.cache_info().misses == compiled


def test_who_refuses_an_outline_has_nothing_filled() -> None:
    class Idle(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("something is filled")

    def refuse(outlined: Simulation) -> None:
        raise InputError("too large")

    ratings = ragged_ratings()
    run = small_config(), ratings, random_split(len(ratings), 0.1, 0.1, 0)
    with Idle(1) as beside, pytest.raises(InputError, match="too large"):
        prepare_alike([run], meanwhile=Meanwhile(refuse, beside, id))


def test_the_estimate_of_an_outline_has_the_tables_in_it() -> None:
    outlined, filled = outlined_and_filled(holdout_users=0.3)
    assert filled.newcomers is not None
    tables = tree_bytes((filled.population.buckets, filled.newcomers.buckets))
    to_come, there = memory.estimate(outlined), memory.estimate(filled)
    assert to_come.working == there.working + tables
    assert memory.estimate(outlined, alike=3).working == there.working + 3 * tables
    assert to_come.clients_all == there.clients_all == tree_bytes(initial_state(filled).clients)
