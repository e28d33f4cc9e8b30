"""The attacks that come with the package. An attack of one's own is one more record."""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.client.block import Payload
from pfr_jax.errors import InputError
from pfr_jax.privacy.attacks import canaries, item_sets
from pfr_jax.privacy.attacks.inversion import attack_inversion
from pfr_jax.privacy.attacks.ratings import (
    RatingsFound,
    attack_linear,
    can_be_attacked,
    guess_by_effects,
    linear_errors,
    linear_from_sum,
    majority_share,
    see,
)
from pfr_jax.privacy.attacks.record import Attack, Finding, Scene
from pfr_jax.privacy.attacks.uploads import rounds_of
from pfr_jax.privacy.attacks.view import Watcher
from pfr_jax.seeding import Stream, permutation
from pfr_jax.simulation.setup import Simulation


def sees_uploads(simulation: Simulation) -> bool:
    """Whether the server is sent single uploads; else it is sent sums."""
    return not simulation.config.privacy.hides_clients


def sees_sums(simulation: Simulation) -> bool:
    """Sums are all that the server is sent; of steps that ``Watcher`` can undo."""
    config = simulation.config
    return config.privacy.hides_clients and config.server.server_optimizer == "sgd"


def uploads_biases(simulation: Simulation) -> bool:
    """Without them the attack of first order cannot tell how large features are."""
    mechanism = simulation.federation.side.mechanism
    return mechanism is None or mechanism.bias_weight > 0


def _compared(scene: Scene, scores: dict[int, np.ndarray]) -> list[Finding]:
    """Of item sets by scores f64[I] of clients, beside popularity's."""
    if not scores:
        return []
    found, chance = [], []
    for client, score in scores.items():
        popular, truth = item_sets.popularity(scene.sets, client), scene.sets[client]
        found.append((item_sets.auc(score, truth), item_sets.precision(score, truth, popular)))
        chance.append((item_sets.auc(popular, truth), item_sets.precision(popular, truth, popular)))
    names = "AUC of rated items", "precision among as many"
    values, chances = np.mean(found, axis=0), np.mean(chance, axis=0)
    return [
        Finding(name, float(value), float(by_chance), len(scores))
        for name, value, by_chance in zip(names, values, chances, strict=True)
    ]


def _of_rows(scene: Scene) -> list[Finding]:
    score, clients = item_sets.from_rows, scene.clients.tolist()
    return _compared(scene, {c: score(scene.simulation, scene.sets, c) for c in clients})


def _of_one_sum(scene: Scene) -> list[Finding]:
    if not scene.views:
        return []
    last = scene.views[-1]
    there = [c for c in last.clients.tolist() if scene.sets[c].any()][: len(scene.clients)]
    return _compared(scene, {c: item_sets.from_one_sum(last, scene.sets, c) for c in there})


def _of_many_sums(scene: Scene) -> list[Finding]:
    if len(scene.views) < 2:
        return []
    clients = scene.clients.tolist()
    others = np.setdiff1d(np.flatnonzero(scene.sets.any(axis=1)), scene.clients)
    known = scene.rng.choice(others, min(len(others), KNOWN), replace=False).tolist()
    return _compared(scene, item_sets.from_many_sums(scene.views, scene.sets, clients, known))


def _of_differences(scene: Scene) -> list[Finding]:
    kept, sets = scene.differences, scene.sets
    if kept is None:
        return []
    count = float(sets.sum() / max(sets.any(axis=1).sum(), 1))
    there = [client for client in scene.clients.tolist() if client in kept.rounds]
    scores = {c: kept.scores(c, item_sets.popularity(sets, c), count) for c in there}
    return _compared(scene, scores)


def _ratings(scene: Scene, clients: list[int], found: list[RatingsFound]) -> list[Finding]:
    """Of ratings recovered exactly, beside the better of two guesses: the most frequent rating, and
    what the public effects of items say."""
    count = sum(one.count for one in found)
    if not count:
        return []
    guesses = [guess_by_effects(scene.simulation, client) for client in clients]
    by_effects = sum(one.exact for one in guesses) / count
    chance = max(majority_share(scene.simulation), by_effects)
    share = sum(one.exact for one in found) / count
    return [Finding("ratings exact", share, chance, len(found))]


def _uploads(scene: Scene) -> Iterator[tuple[int, Payload]]:
    """Of the clients to attack; none after the last round, as no upload comes."""
    clients = scene.clients
    if scene.simulation.federation.side.carry.shared:  # earlier momenta are not in this upload
        clients = clients[rounds_of(scene.simulation, scene.state)[clients] == 0]
    if scene.round < scene.simulation.config.run.rounds:
        for client in clients.tolist():
            yield client, scene.payloads(scene.state, client, scene.round)


def _ratings_of_uploads(scene: Scene, invert: bool) -> list[Finding]:
    clients, found = list[int](), list[RatingsFound]()
    for client, payload in _uploads(scene):
        at = scene.simulation, scene.state, payload, client, scene.round
        clients.append(client)
        found.append(attack_inversion(*at, scene.rng) if invert else attack_linear(*at))
    return _ratings(scene, clients, found)


def _decoys_by_error(scene: Scene) -> list[Finding]:
    """Real rows have the smaller errors: what is private has never learned from decoys."""
    found, chance = [], []
    for client, payload in _uploads(scene):
        seen = see(scene.simulation, scene.state, payload, scene.round)
        real = scene.sets[client][seen.items]
        if real.any() and not real.all():
            found.append(item_sets.auc(-np.abs(linear_errors(seen)[1]), real))
            popular = item_sets.popularity(scene.sets, client)[seen.items]
            chance.append(item_sets.auc(popular, real))
    if not found:
        return []
    values = float(np.mean(found)), float(np.mean(chance))
    return [Finding("AUC of real rows among decoys", *values, len(found))]


def _ratings_of_a_sum(scene: Scene) -> list[Finding]:
    last = scene.views[-1] if scene.views else None
    if last is None or last.change is None or last.sent is None:
        return []
    there = last.clients[: len(scene.clients)].tolist()
    at = scene.simulation, last.sent, last.change
    found = [linear_from_sum(*at, client, scene.round - 1) for client in there]
    return _ratings(scene, there, found)


def _of_canaries(scene: Scene) -> list[Finding]:
    if not scene.round:
        return []
    found = canaries.audit_of(scene.simulation, scene.round)
    return [Finding("lower bound on epsilon", found.epsilon, 0.0, found.canaries)]


KNOWN = 50  # other clients whose items the attacker knows, to try on them what it believes
PROTOCOL = "what it sends and sets itself: the shared part, rates, epochs, effects of items"
POPULARITY = "how many of the others have rated each item"
ATTACKS = (
    Attack("item set, one upload", POPULARITY, sees_uploads, _of_rows),
    Attack("item set, one sum", f"{POPULARITY}, who took part", sees_sums, _of_one_sum),
    Attack(
        "item set, all sums",
        f"{POPULARITY}, who took part, and all items of {KNOWN} of the others",
        sees_sums,
        _of_many_sums,
    ),
    Attack(
        "item set, all sums, others known",
        f"{POPULARITY}, who took part, and all other clients' uploads",
        lambda simulation: sees_sums(simulation) and simulation.config.privacy.dp,
        _of_differences,
    ),
    Attack(
        "ratings, one upload, first order",
        PROTOCOL,
        lambda simulation: sees_uploads(simulation) and can_be_attacked(simulation),
        partial(_ratings_of_uploads, invert=False),
    ),
    Attack(
        "ratings, one upload, inversion",
        PROTOCOL,
        lambda simulation: sees_uploads(simulation) and can_be_attacked(simulation),
        partial(_ratings_of_uploads, invert=True),
        takes_long=True,
    ),
    Attack(
        "decoys by error, one upload",
        PROTOCOL,
        lambda simulation: (
            simulation.config.privacy.upload == "decoy" and can_be_attacked(simulation)
        ),
        _decoys_by_error,
    ),
    Attack(
        "ratings, one sum",
        f"{PROTOCOL}, who took part, and which items the client has rated",
        lambda simulation: (
            sees_sums(simulation) and can_be_attacked(simulation) and uploads_biases(simulation)
        ),
        _ratings_of_a_sum,
    ),
    Attack(
        "membership",
        "all other clients' uploads; canaries upload the worst there can be",
        lambda simulation: simulation.config.privacy.dp,
        _of_canaries,
    ),
)


def attacked_clients(simulation: Simulation, count: int) -> np.ndarray:
    """A sample i64[...] of the clients that take part, the same in every round.

    Raises:
      InputError: clients have several users, whose items are not a person's.
    """
    if any(bucket.users.shape[1] > 1 for bucket in simulation.population.buckets):
        raise InputError("--num_clients: attacks are on clients of one user each")
    trainable = simulation.population.trainable
    order = permutation(len(trainable), Stream.ATTACK, simulation.config.run.seed)
    return trainable[order[:count]]


def attack(
    simulation: Simulation,
    state: FederationState,
    round: int,
    watcher: Watcher,
    clients: np.ndarray,
    attacks: Iterable[Attack] = ATTACKS,
) -> list[dict[str, Any]]:
    """Runs all attacks that apply: a row for each figure.

    Args:
      simulation: the run.
      state: after ``round`` rounds; it is not used up.
      round: rounds done.
      watcher: of this run; it has seen the rounds that it was shown.
      clients: i64[n], whom to attack.
      attacks: which.
    """
    sets = item_sets.item_sets(simulation)
    rng = np.random.default_rng([int(Stream.ATTACK), simulation.config.run.seed, round])
    seen = watcher.views, watcher.differences, watcher.payloads
    scene = Scene(simulation, state, round, *seen, clients, sets, rng)
    rows = []
    for one in attacks:
        if not one.applies(simulation):
            continue
        started = time.perf_counter()
        findings = one.find(scene)
        seconds = time.perf_counter() - started
        for found in findings:
            rows.append(
                {
                    "round": round,
                    "attack": one.name,
                    "attacker_knows": one.knows,
                    "figure": found.what,
                    "value": found.value,
                    "chance": found.chance,
                    "clients": found.clients,
                    "seconds": seconds,
                }
            )
    return rows
