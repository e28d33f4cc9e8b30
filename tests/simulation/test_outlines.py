"""A simulation is known from its shapes before it has data, and compiled for them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import pytest
from federations import ragged_ratings, small_config

from pfr_jax.data.splits import random_split
from pfr_jax.models.item_rows import tree_bytes
from pfr_jax.simulation import loop, memory
from pfr_jax.simulation.loop import compile_ahead, initial_state, simulate
from pfr_jax.simulation.setup import Simulation, prepare, prepare_alike


def outlined_and_filled(meanwhile: Any = None, **changes: Any) -> tuple[Simulation, Simulation]:
    """A simulation as it is seen while its tables are filled, and afterwards."""
    ratings, outlines = ragged_ratings(), []
    run = small_config(**changes), ratings, random_split(len(ratings), 0.1, 0.1, 0)

    def look(outlined: Simulation) -> None:
        outlines.append(outlined)
        if meanwhile:
            meanwhile(outlined)

    with ThreadPoolExecutor(1) as beside:
        (filled,) = prepare_alike([run], beside=beside, meanwhile=look)
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
    ],
    ids=str,
)
def test_tables_are_as_outlined(changes: dict[str, Any]) -> None:
    outlined, filled = outlined_and_filled(**changes)
    assert all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(outlined.data))
    assert described(outlined.population.buckets) == described(filled.population.buckets)
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
@pytest.mark.parametrize("changes", [{}, {"num_devices": 2, "holdout_users": 0.3}], ids=str)
def test_the_round_that_was_compiled_ahead_is_the_one_that_runs(changes: dict[str, Any]) -> None:
    seconds = []
    _, filled = outlined_and_filled(lambda one: seconds.append(compile_ahead(one)), **changes)
    compiled = loop._compiled.cache_info().misses
    assert seconds[0] > 0
    assert next(simulate(filled, 1)).round == 1
    assert loop._compiled.cache_info().misses == compiled


def test_what_is_not_compiled_ahead() -> None:
    for changes in ({"algorithm": "joint"}, {"state_memory": "host"}):
        compiled = loop._compiled.cache_info().misses
        outlined_and_filled(compile_ahead, **changes)
        assert loop._compiled.cache_info().misses == compiled


def test_the_estimate_of_an_outline_has_the_tables_in_it() -> None:
    outlined, filled = outlined_and_filled(holdout_users=0.3)
    assert filled.newcomers is not None
    tables = tree_bytes((filled.population.buckets, filled.newcomers.buckets))
    to_come, there = memory.estimate(outlined), memory.estimate(filled)
    assert to_come.working == there.working + tables
    assert to_come.clients_all == there.clients_all == tree_bytes(initial_state(filled).clients)
