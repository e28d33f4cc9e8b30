"""What somebody who knows all other uploads has: one client's, and all of the noise."""

from typing import Any

import numpy as np
import pytest
from federations import small_simulation

from pfr_jax.models.item_rows import flatten
from pfr_jax.privacy.attacks import item_sets
from pfr_jax.privacy.attacks.view import Watcher
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.setup import Simulation

DP = {"upload": "dp", "denominator": "expected", "sampling": "poisson"}


def watched(rounds: int, **changes: Any) -> tuple[Simulation, Watcher]:
    simulation = small_simulation(**DP, rounds=rounds, **changes)
    watcher = Watcher(simulation, clients=simulation.population.trainable)
    for record in simulate(simulation):
        watcher.add(record)
    return simulation, watcher


def aucs(simulation: Simulation, watcher: Watcher) -> tuple[np.ndarray, np.ndarray]:
    """Of all clients that took part: the attack's, and popularity's."""
    kept, sets = watcher.differences, item_sets.item_sets(simulation)
    assert kept is not None
    found, chance = [], []
    for client in kept.rounds:
        popular = item_sets.popularity(sets, client)
        score = kept.scores(client, popular, float(sets.sum(axis=1).mean()))
        found.append(item_sets.auc(score, sets[client]))
        chance.append(item_sets.auc(popular, sets[client]))
    return np.array(found), np.array(chance)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"engine": "active_rows"},
        {"partial_compression": False, "bias_weight": 1.0, "weight_decay": 0.0},
    ],
)
def test_without_noise_nothing_is_hidden(changes: dict[str, Any]) -> None:
    found, chance = aucs(*watched(1, noise_multiplier=0.0, **changes))
    assert len(found) > 3 and (found == 1).all() and chance.mean() < 0.9


def test_much_noise_leaves_popularity() -> None:
    found, chance = aucs(*watched(3, noise_multiplier=30.0))
    assert found.mean() == pytest.approx(chance.mean(), abs=0.02)


def test_it_is_the_servers_sum_less_the_others_uploads() -> None:
    simulation = small_simulation(**DP, rounds=1, noise_multiplier=2.0)
    watcher = Watcher(simulation, clients=simulation.population.trainable[:6])
    begin = initial_state(simulation)
    (record,) = simulate(simulation, 1)
    watcher.add(record)
    view, kept, mechanism = watcher.views[0], watcher.differences, watcher.differences._mechanism
    assert view.change is not None and kept.rounds
    name = "decoder/output/item_kernel"
    for client in kept.rounds:
        rest = view.change[name].copy()
        for other in set(view.clients.tolist()) - {client}:
            sent = watcher.payloads(begin, other, 0)
            there = sent.items[0] < len(rest)
            rest[sent.items[0][there]] -= flatten(sent.delta)[name][0][there]
        energy = np.square(rest / (2.0 * mechanism.clip)).sum(axis=1)
        np.testing.assert_allclose(kept.energy[client], energy, rtol=2e-3)
    assert kept.numbers == rest.shape[1]
