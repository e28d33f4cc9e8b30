"""Programs are compiled for the shapes that a run gives them."""

from typing import Any

import jax
import numpy as np
import pytest
from federations import ragged_ratings, small_config

from pfr_jax.client.host_memory import HostRound, capacities
from pfr_jax.config import DataConfig
from pfr_jax.data.splits import random_split
from pfr_jax.data.synthetic import PRESETS
from pfr_jax.evaluation.evaluate import make_scorer
from pfr_jax.programs.ahead_of_time.parts import PARTS
from pfr_jax.programs.ahead_of_time.shapes import Users, bare_simulation, users_like
from pfr_jax.simulation.layout import jitted_round
from pfr_jax.simulation.loop import initial_state, key_of_round
from pfr_jax.simulation.participation import sample_cohort
from pfr_jax.simulation.setup import Simulation, prepare
from pfr_jax.simulation.start import initial_params


def both(**changes: Any) -> tuple[Simulation, Simulation]:
    """A simulation that was really prepared, and the bare one of users with as many ratings."""
    config = small_config(**changes)
    ratings = ragged_ratings()
    real = prepare(config, ratings, random_split(len(ratings), 0.0, 0.1, 0))
    rows = real.population.rows[real.population.client_of_user]
    users = Users(rows, real.new_users, ratings.num_items)
    return real, bare_simulation(config, users, real.population.mesh)


def described(tree: Any) -> Any:
    """The leaves' shapes and types, in all and on each device."""
    return jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding.shard_shape(leaf.shape)), tree
    )


def unplaced(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def arguments_of_round(real: Simulation) -> tuple[Any, ...]:
    """What ``simulate`` gives to the first round."""
    room = len(real.population.trainable) if real.spec.centralized else real.cohort_size
    clients = sample_cohort(real, 0)[:room]
    cohort = real.population.cohort(clients, real.federation.block_sizes, room)
    return initial_state(real), real.data, cohort, key_of_round(real, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_devices": 4, "members": 2},
        {"engine": "active_rows", "num_devices": 2},
        {"algorithm": "fedrecon"},
        {"shared_momentum": "carry", "state_dtype": "bfloat16"},
        {"upload": "secure_sum"},
    ],
    ids=str,
)
def test_a_round_is_compiled_for_what_it_is_given(changes: dict[str, Any]) -> None:
    real, bare = both(**changes)
    assert described(PARTS["round"](bare).arguments) == described(arguments_of_round(real))
    assert bare.federation.block_sizes == real.federation.block_sizes


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"num_devices": 3}, {"num_devices": 2, "members": 2}], ids=str)
def test_and_it_is_the_program_that_runs(changes: dict[str, Any]) -> None:
    """On an accelerator. On one device the texts would differ in what they say of places."""
    real, bare = both(**changes)
    program = PARTS["round"](bare)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
        arguments_of_round(real),
    )
    given = jitted_round(real.algorithm.round, shapes).lower(*shapes).as_text()
    assert program.function.lower(*program.arguments).as_text() == given


def test_a_round_of_one_trainer_is() -> None:
    real, bare = both(algorithm="joint")
    assert unplaced(PARTS["round"](bare).arguments) == unplaced(arguments_of_round(real))


@pytest.mark.parametrize("num_devices", [1, 3])
def test_a_round_of_clients_on_the_host_is(num_devices: int) -> None:
    real, bare = both(num_devices=num_devices, state_memory="host", cohort_fraction=0.2)
    state, data, cohort, key = arguments_of_round(real)
    buckets = real.population.buckets
    room = capacities(real.num_clients, real.cohort_size, buckets)
    rounds = HostRound(
        real.algorithm.round, real.federation.block_sizes, real.population.mesh, room
    )
    given = *rounds._taken(state, data, cohort, rounds._places(buckets, cohort)), key
    assert described(PARTS["round"](bare).arguments) == described(given)


def test_evaluations_are() -> None:
    real, bare = both(holdout_users=0.3)
    state = initial_state(real)
    scorer, user, _ = PARTS["pairs"](bare).arguments
    made = make_scorer(real.federation, state, real.population)
    assert unplaced(scorer) == unplaced(made)
    assert user.shape == (round(0.05 * real.population.rows.sum()),)
    assert unplaced(PARTS["features"](bare).arguments) == unplaced((state, real.population.buckets))
    assert real.newcomers is not None
    adapted, tables, cohort, _ = PARTS["adaptation"](bare).arguments
    assert real.adaptation is not None
    begun = jax.eval_shape(real.adaptation.init, initial_params(real), real.newcomers.buckets)
    assert unplaced((adapted, tables)) == unplaced((begun, real.newcomers.buckets))
    assert len(cohort.slots) == len(real.newcomers.buckets)


def test_users_have_as_many_training_ratings_as_the_split_leaves() -> None:
    spec, config = PRESETS["synthetic"], DataConfig(holdout_users=0.25)
    users = users_like(spec, config)
    assert users.rows.sum() == round(0.85 * spec.num_ratings)
    assert users.rows.max() < spec.max_per_user and users.rows.min() > 0
    assert users.new.sum() == round(0.25 * spec.num_users)
    again = users_like(spec, config)
    np.testing.assert_array_equal(users.rows, again.rows)
