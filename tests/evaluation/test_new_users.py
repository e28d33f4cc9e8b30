"""Users held out of training: nothing of theirs is learned from, and they can be adapted to."""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from federations import (
    client_state,
    of_two_buckets,
    ragged_ratings,
    simulation_of,
    small_config,
    small_simulation,
)

from pfr_jax.data.splits import random_split
from pfr_jax.evaluation.evaluate import adapt
from pfr_jax.runs.checkpoints.clients import rounds_of_clients
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.setup import prepare_alike

HELD_OUT = {"holdout_users": 0.3, "validation_fraction": 0.1, "test_fraction": 0.2, "rounds": 4}


def test_the_split_leaves_new_users_out() -> None:
    simulation = small_simulation(**HELD_OUT)
    split, user, new = simulation.split, simulation.ratings.user, simulation.new_users
    assert new.sum() == 4
    for name in ("train", "validation", "test"):
        assert not new[user[getattr(split, name)]].any()
    assert new[user[split.support]].all() and new[user[split.query]].all()
    parts = [getattr(split, f.name) for f in dataclasses.fields(split)]
    assert sorted(np.concatenate(parts)) == list(range(len(user)))
    whole = small_simulation(**{**HELD_OUT, "holdout_users": 0.0}).split
    assert set(split.query) == {row for row in whole.test if new[user[row]]}


@pytest.mark.parametrize("algorithm", ["personalfr", "fedavg", "local", "joint"])
def test_training_does_not_depend_on_new_users(algorithm: str) -> None:
    """Their ratings turned around, the training loss and everybody else's figures stay."""
    config = small_config(algorithm=algorithm, center="user", **HELD_OUT)
    ratings = ragged_ratings()
    new = simulation_of(config, ratings).new_users[ratings.user]
    turned = np.where(new, 6 - ratings.rating, ratings.rating).astype(np.float32)
    records, others = (
        list(simulate(simulation_of(config, r)))
        for r in (ratings, dataclasses.replace(ratings, rating=turned))
    )
    assert [r.loss for r in records] == [r.loss for r in others]
    one, other = records[-1].evaluation, others[-1].evaluation
    assert one and other and one.test == other.test and one.test is not None
    shared = algorithm in ("fedavg", "joint")
    names = ["shared_encoder"] if shared else ["initial_encoder", "adapted_encoder"]
    assert list(one.new_users) == names
    assert all(one.new_users[name] != other.new_users[name] for name in names)


def test_adaptation_moves_the_private_part_of_new_users_only() -> None:
    simulation = small_simulation(**HELD_OUT)
    state = initial_state(simulation)
    assert simulation.adaptation and simulation.newcomers
    adapted = adapt(simulation, simulation.adaptation, simulation.newcomers, state)
    chex.assert_trees_all_equal(adapted.server, state.server)
    newcomers = simulation.newcomers
    assert newcomers is not None
    of_new_users = dataclasses.replace(simulation, population=newcomers)
    new = np.flatnonzero(simulation.new_users)
    assert sum(len(bucket) for bucket in newcomers.buckets) == len(new)
    for client in newcomers.client_of_user[new]:
        after = client_state(of_new_users, adapted, client)
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(after.private))
        assert not any(leaf.any() for leaf in jax.tree.leaves(after.shared_opt))


def test_adaptation_fits_what_new_users_bring() -> None:
    """The loss on their own ratings falls with the epochs of adaptation."""

    def loss(epochs: int) -> float:
        simulation = of_two_buckets(adaptation_epochs=epochs, dropout=0.0, **HELD_OUT)
        state = initial_state(simulation)
        population = simulation.population
        clients = np.unique(population.client_of_user[simulation.new_users])
        cohort = population.cohort(clients, simulation.federation.block_sizes)
        assert simulation.adaptation is not None
        step = jax.jit(simulation.adaptation.round)
        for index in range(2):
            key = jax.random.key(index)
            state, report = step(state, population.buckets, cohort, key)
        return float(report.loss)  # of the second time: where the first one ended

    assert loss(20) < 0.95 * loss(1)


def test_seeds_together_adapt_every_new_user_once() -> None:
    """They share the program of adaptation, so their new users must lie in the same blocks."""
    runs = []
    for seed in range(4):
        config = small_config(**HELD_OUT, seed=seed, split_seed=seed, block_size=0)
        ratings = ragged_ratings(num_users=40, num_items=60)
        split = random_split(len(ratings), 0.1, 0.2, seed)
        runs.append((config, ratings, split))
    for simulation in prepare_alike(runs):
        assert simulation.adaptation and simulation.newcomers
        adapted = adapt(
            simulation, simulation.adaptation, simulation.newcomers, initial_state(simulation)
        )
        rounds = rounds_of_clients(adapted.clients, simulation.newcomers)
        assert rounds[simulation.newcomers.trainable].tolist() == [1] * rounds.sum()
        assert rounds.sum() == len(simulation.newcomers.trainable) > 5
