"""Attacks on ratings from one client's upload, on payloads of small federations."""

import functools
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from federations import ragged_ratings, run_rounds, simulation_of, small_config

from pfr_jax.algorithms.federated import Federation, FederationState, train_block
from pfr_jax.client.block import Payload
from pfr_jax.client.training import Parts
from pfr_jax.data.table import Scale
from pfr_jax.errors import InputError
from pfr_jax.privacy.attacks.codes import Hidden, find_code
from pfr_jax.privacy.attacks.inversion import attack_inversion, invert
from pfr_jax.privacy.attacks.ratings import (
    RatingsFound,
    attack_linear,
    leaves,
    linear_from_sum,
    majority_share,
    to_stars,
)
from pfr_jax.simulation.loop import initial_state, key_of_round
from pfr_jax.simulation.setup import Simulation

STARS = Scale(1, 5, 1)
ONE_STEP: dict[str, Any] = {"local_epochs": 1, "dropout": 0.0, "clip_norm": 0.0}


def federation(**changes: Any) -> Simulation:
    return simulation_of(small_config(**changes), ragged_ratings(num_users=13, num_items=60))


@functools.partial(jax.jit, static_argnums=0)
def _upload(federation: Federation, *data: Any) -> Payload:
    return train_block(federation, *data)[1]


def upload(simulation: Simulation, state: FederationState, client: int, round: int) -> Payload:
    """Of a block with the client and an empty place."""
    federation, population = simulation.federation, simulation.population
    index = population.bucket_of[client]
    bucket = population.buckets[index]
    slots = np.array([population.slot_of[client], len(bucket)], np.int32)
    rate = np.float32(federation.learning_rate(np.float32(round)))
    public, key = Parts(state.start, state.server.shared), key_of_round(simulation, round)
    sent = _upload(federation, public, state.clients[index], bucket, slots, key, rate)
    return jax.device_get(sent)


def share(found: list[RatingsFound]) -> float:
    return sum(one.exact for one in found) / sum(one.count for one in found)


def linear_share(simulation: Simulation, state: FederationState, clients: Any) -> float:
    uploads = ((c, upload(simulation, state, c, 0)) for c in clients)
    return share([attack_linear(simulation, state, sent, c, 0) for c, sent in uploads])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"center": "user", "standardize": True, "weighting": "ratings", "ridge": 0.4},
        {"center": "adaptive", "standardize": True, "members": 2},
        {"center": "global", "partial_compression": False, "weight_decay": 1e-2},
        {"center": "user", "upload": "decoy"},  # which is counted in real ratings
    ],
)
def test_one_step_tells_all_ratings(changes: dict[str, Any]) -> None:
    simulation = federation(**ONE_STEP, **changes)
    assert linear_share(simulation, initial_state(simulation), range(3, 13)) >= 0.99


def test_of_the_sum_of_one_client() -> None:
    simulation = federation(**ONE_STEP)
    state, client = initial_state(simulation), 7
    sent = upload(simulation, state, client, 0)
    output = {}
    for name in ("item_kernel", "item_bias"):
        rows = np.asarray(sent.delta["decoder"]["output"][name][0])
        total = np.zeros((simulation.model.num_items + 1, *rows.shape[1:]))
        total[sent.items[0]] = rows
        output[f"decoder/output/{name}"] = total[:-1]
    found = linear_from_sum(simulation, leaves(state.server.shared), output, client, 0)
    assert found == attack_linear(simulation, state, sent, client, 0)
    assert found.whole and found.count == simulation.population.rows[client]


def test_a_wrong_model_tells_little() -> None:
    """The server looks at an upload with parts of the model that were never sent."""
    simulation = federation(**ONE_STEP)
    state = initial_state(simulation)
    other = initial_state(federation(**ONE_STEP, seed=1))
    found = []
    for client in range(3, 13):
        sent = upload(simulation, state, client, 0)
        noise = np.random.default_rng(client).normal(
            size=sent.delta["decoder"]["output"]["item_bias"].shape
        )
        sent.delta["decoder"]["output"]["item_bias"] = noise.astype(np.float32)
        found.append(attack_linear(simulation, other, sent, client, 0))
    assert share(found) < majority_share(simulation) + 0.15


def test_an_upload_not_taken_tells_nothing() -> None:
    simulation = federation(**ONE_STEP, max_update_norm=1e-6)
    state = initial_state(simulation)
    sent = upload(simulation, state, 5, 0)
    assert attack_linear(simulation, state, sent, 5, 0).exact == 0


@pytest.fixture(scope="module")
def long_steps() -> Simulation:
    """What one step changes is much for the next."""
    changes = {"center": "adaptive", "standardize": True, "ridge": 0.4, "members": 2}
    several = {"local_epochs": 4, "client_learning_rate": 0.5, "momentum": 0.0}
    return federation(hidden_sizes=(32, 24), **several, **changes)


def test_inversion_tells_what_the_linear_attack_does_not(long_steps: Simulation) -> None:
    state, rng = initial_state(long_steps), np.random.default_rng(0)
    for client in (11, 12):
        sent = upload(long_steps, state, client, 0)
        assert not attack_linear(long_steps, state, sent, client, 0).whole
        found = attack_inversion(long_steps, state, sent, client, 0, rng)
        assert found.solved and found.whole


def test_inversion_finds_the_clip_factors(long_steps: Simulation) -> None:
    """They are 1 at most, which nothing but the upload says."""
    state, rng = initial_state(long_steps), np.random.default_rng(0)
    found = invert(long_steps, state, upload(long_steps, state, 11, 0), 0, rng)
    assert found is not None and found.misfit < 1e-4
    assert np.all(found.factors < 1 + 1e-4) and found.factors.min() < 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.5, "shared_momentum": "restart", "center": "user", "members": 2},
        {"momentum": 0.9, "dropout": 0.0, "center": "none"},
        {"algorithm": "fedalt", "local_epochs": 2, "private_epochs": 2, "momentum": 0.0},
    ],
)
def test_inversion_of_several_steps(changes: dict[str, Any]) -> None:
    """Of clients that have not taken part, after a round of others."""
    simulation = federation(**{"hidden_sizes": (32, 24), "local_epochs": 3, **changes})
    state = run_rounds(simulation, [np.arange(4)])
    rng, found = np.random.default_rng(0), []
    for client in range(4, 13):
        sent = upload(simulation, state, client, 1)
        found.append(attack_inversion(simulation, state, sent, client, 1, rng))
    assert all(one.solved and one.whole for one in found)


def without_solution(simulation: Simulation, sent: Payload) -> None:
    state, rng = initial_state(simulation), np.random.default_rng(0)
    assert invert(simulation, state, sent, 0, rng) is None
    found = attack_inversion(simulation, state, sent, 11, 0, rng)
    assert found == attack_linear(simulation, state, sent, 11, 0) and not found.solved


@pytest.mark.parametrize("changes", [{"hidden_sizes": (9, 7, 5)}, {"local_epochs": 1}])
def test_inversion_of_what_it_is_not_written_for_is_linear(changes: dict[str, Any]) -> None:
    simulation = federation(**changes)
    without_solution(simulation, upload(simulation, initial_state(simulation), 11, 0))


def test_inversion_of_noise_is_linear(long_steps: Simulation) -> None:
    sent = upload(long_steps, initial_state(long_steps), 11, 0)
    rng = np.random.default_rng(0)
    kernel = sent.delta["decoder"]["output"]["item_kernel"]
    noise = np.abs(kernel).max() * rng.normal(size=kernel.shape)
    sent.delta["decoder"]["output"]["item_kernel"] = (kernel + noise).astype(np.float32)
    without_solution(long_steps, sent)


def test_the_code_whose_features_lie_in_the_space_is_found() -> None:
    """Of three codes that of the layer as it is, and not those of a layer that has moved."""
    rng = np.random.default_rng(0)
    layer = Hidden(rng.normal(size=(13, 20)) / 4, 1 + rng.normal(size=20) / 9, np.zeros(20))
    moved = replace(layer, kernel=layer.kernel + rng.normal(size=(13, 20)) / 9)
    codes = np.append(rng.uniform(-1, 1, (3, 12)), np.ones((3, 1)), axis=1)
    features = [layer.features(codes[0]).values, *moved.features(codes[1:]).values]
    spanned = np.linalg.qr(codes.T)[0], np.linalg.qr(np.array(features).T)[0].T
    np.testing.assert_allclose(find_code(layer, *spanned, rng), codes[0], atol=1e-6)


@pytest.mark.parametrize("part", [0.0, 0.3, 3.71, 4.5])
def test_stars_of_values_less_an_unknown_number(part: float) -> None:
    stars = np.array([1.0, 5, 3, 4, 4, 2])
    assert to_stars(stars - part, STARS, around=3.6).tolist() == stars.tolist()


def test_what_the_sum_tells_of_whole_steps() -> None:
    stars = np.array([3.0, 4, 4])  # could be 1, 2, 2 just as well
    assert to_stars(stars - 3.3, STARS, around=3.4).tolist() == stars.tolist()
    assert to_stars(stars - 3.3, STARS, around=1.4).tolist() == [1, 2, 2]
    halves = np.array([0.5, 5, 3.5])
    assert to_stars(halves - 2.2, Scale(0.5, 5, 0.5), 3).tolist() == halves.tolist()


def test_majority() -> None:
    simulation = federation()
    ratings = simulation.ratings.rating[simulation.split.train]
    assert majority_share(simulation) == max((ratings == s).mean() for s in range(1, 6))


@pytest.mark.parametrize(
    "changes", [{"client_optimizer": "adam"}, {"num_clients": 3}, {"feedback": "implicit"}]
)
def test_what_is_not_attacked(changes: dict[str, Any]) -> None:
    simulation = federation(**ONE_STEP, **changes)
    with pytest.raises(InputError, match="only"):
        attack_linear(simulation, None, None, 0, 0)  # type: ignore[arg-type]
