"""Attacks on item sets: against brute force, where they must succeed and where they cannot."""

import itertools

import jax
import numpy as np
import pytest
from federations import ragged_ratings, simulation_of, small_config, small_simulation
from hypothesis import given, settings
from hypothesis import strategies as st

from pfr_jax.errors import InputError
from pfr_jax.models.item_rows import flatten
from pfr_jax.privacy.attacks import item_sets
from pfr_jax.privacy.attacks.catalog import attack, attacked_clients
from pfr_jax.privacy.attacks.uploads import Payloads, rows_of
from pfr_jax.privacy.attacks.view import CohortView, Watcher, counts_of
from pfr_jax.simulation.loop import initial_state, simulate


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=12))
def test_auc_counts_pairs(items: list[tuple[int, bool]]) -> None:
    score = np.array([float(value) for value, _ in items])
    truth = np.array([rated for _, rated in items])
    if truth.all() or not truth.any():
        return
    pairs = list(itertools.product(score[truth], score[~truth]))
    by_hand = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)
    assert item_sets.auc(score, truth) == pytest.approx(by_hand)


def test_precision_by_hand() -> None:
    truth = np.array([True, False, True, False])
    assert item_sets.precision(np.array([3.0, 2, 1, 0]), truth, np.zeros(4)) == 0.5
    assert item_sets.precision(np.array([1.0, 1, 1, 0]), truth, np.array([2.0, 0, 1, 0])) == 1.0


def test_popularity_is_that_of_others() -> None:
    sets = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 0]], bool)
    np.testing.assert_array_equal(item_sets.popularity(sets, 0), [0.5, 1.0, 0.0])


@pytest.fixture(scope="module")
def crowd() -> np.ndarray:
    """bool[200, 60], of items from rare to popular."""
    chance = np.geomspace(0.02, 0.6, 60)
    return np.random.default_rng(0).random((200, 60)) < chance


def views_of(crowd: np.ndarray, rounds: int, size: int, told: bool, noise: float = 0.0):
    """Rounds of random cohorts whose rows change by one random vector per client that has them."""
    rng = np.random.default_rng(1)
    views = []
    for _ in range(rounds):
        clients = rng.permutation(len(crowd))[:size]
        change = np.zeros((crowd.shape[1], 8))
        for client in clients:
            change += crowd[client][:, None] * rng.normal(size=8)
        change += noise * rng.normal(size=change.shape)
        counts = crowd[clients].sum(axis=0).astype(float) if told else None
        views.append(CohortView(clients, np.square(change).sum(axis=1), counts))
    return views


def mean_auc(crowd: np.ndarray, scores: dict[int, np.ndarray]) -> float:
    return float(np.mean([item_sets.auc(score, crowd[c]) for c, score in scores.items()]))


def by_popularity(crowd: np.ndarray, clients) -> float:
    return mean_auc(crowd, {c: item_sets.popularity(crowd, c) for c in clients})


def test_a_sum_over_one_client_is_its_items(crowd: np.ndarray) -> None:
    clients = [c for c in range(50) if crowd[c].any()]
    for client in clients:
        view = CohortView(np.array([client]), np.zeros(60), crowd[client].astype(float))
        assert item_sets.auc(item_sets.from_one_sum(view, crowd, client), crowd[client]) == 1


def test_many_sums_tell_what_one_does_not(crowd: np.ndarray) -> None:
    clients = range(40)
    chance = by_popularity(crowd, clients)
    found = {
        rounds: mean_auc(
            crowd, item_sets.from_many_sums(views_of(crowd, rounds, 20, True), crowd, clients)
        )
        for rounds in (10, 400)
    }
    assert found[400] > 0.99 > found[10] > chance - 0.02


def test_changes_tell_without_counts_and_noise_drowns_them(crowd: np.ndarray) -> None:
    clients = range(40)
    chance = by_popularity(crowd, clients)
    loud = views_of(crowd, 400, 20, told=False, noise=100.0)
    quiet = views_of(crowd, 400, 20, told=False)
    told = mean_auc(crowd, item_sets.from_many_sums(quiet, crowd, clients))
    drowned = mean_auc(crowd, item_sets.from_many_sums(loud, crowd, clients))
    assert told > chance + 0.05
    assert abs(drowned - chance) < 0.02


@pytest.mark.parametrize("engine", ["factored", "active_rows"])
def test_the_rows_of_a_real_upload_are_the_items(engine: str) -> None:
    simulation = small_simulation(engine=engine)
    state, sets = initial_state(simulation), item_sets.item_sets(simulation)
    payloads = Payloads(simulation)
    for client in simulation.population.trainable[:4].tolist():
        sent = payloads(state, client, 0)
        assert sent.items is not None and sent.present.tolist() == [1, 0]
        there = set(sent.items[0][sent.items[0] < simulation.model.num_items].tolist())
        assert there == set(np.flatnonzero(sets[client])) == set(rows_of(simulation, client))
        assert item_sets.auc(item_sets.from_rows(simulation, sets, client), sets[client]) == 1
    jax.tree.map(np.asarray, state)  # it has not been used up


def test_a_watcher_undoes_the_servers_steps() -> None:
    """What it finds are the changes that the server was told."""
    settings = {"server_momentum": 0.6, "upload": "secure_sum", "denominator": "sqrt"}
    simulation = small_simulation(**settings)
    watcher, state = Watcher(simulation), initial_state(simulation)
    for record in simulate(simulation, 2):
        later = Watcher(simulation, state)  # as of a resumed run
        watcher.add(record)
        later.add(record)
        view = watcher.views[-1]
        assert view.change is not None
        total = {path: np.zeros_like(leaf) for path, leaf in view.change.items()}
        for client in record.clients.tolist():
            sent = watcher.payloads(state, client, record.round - 1)
            real = sent.items[0] < simulation.model.num_items
            for path, leaf in flatten(sent.delta).items():
                if path in total:
                    scale = simulation.federation.side.fixed_point
                    total[path][sent.items[0][real]] += leaf[0][real] / scale
        for path, leaf in total.items():
            np.testing.assert_allclose(view.change[path], leaf, rtol=1e-3, atol=1e-4)
            np.testing.assert_array_equal(later.views[0].change[path], view.change[path])
        np.testing.assert_array_equal(view.counts, counts_of(simulation, record.clients))
        state = jax.tree.map(np.asarray, record.state)
    assert watcher.views[0].change is None


@pytest.mark.slow
def test_attacks_that_apply() -> None:
    """What each server sees decides; nothing is found before there is something to see."""

    def names(rounds: int, **changes: object) -> set[str]:
        simulation = small_simulation(**changes)
        watcher, state = Watcher(simulation), initial_state(simulation)
        for record in simulate(simulation, rounds) if rounds else ():
            watcher.add(record)
            state = record.state
        clients = attacked_clients(simulation, 5)
        return {row["attack"] for row in attack(simulation, state, rounds, watcher, clients)}

    dp = {"upload": "dp", "denominator": "expected", "sampling": "poisson", "noise_multiplier": 1.0}
    assert "item set, one upload" in names(0)
    assert "decoys by error, one upload" in names(0, upload="decoy") - names(0)
    assert names(0, upload="secure_sum") == set()
    sums = {"item set, one sum", "item set, all sums"}
    assert sums <= names(2, upload="secure_sum")
    assert sums | {"membership"} <= names(2, **dp)


def test_clients_of_several_users_are_not_attacked() -> None:
    simulation = simulation_of(small_config(num_clients=4), ragged_ratings())
    with pytest.raises(InputError, match="one user each"):
        attacked_clients(simulation, 3)
