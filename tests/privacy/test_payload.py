"""Secure sums of a federation's own payloads are its deterministic sums, bit for bit."""

from typing import Any

import jax
import numpy as np
import pytest
from federations import ragged_ratings, simulation_of, small_config

from pfr_jax.aggregation import PayloadSum, cohort_sum, empty_sum
from pfr_jax.algorithms import federated
from pfr_jax.privacy.secure_sum.payload import from_words, summed, to_words
from pfr_jax.privacy.secure_sum.session import secure_sum
from pfr_jax.server import ServerState, server_step
from pfr_jax.simulation.costs import traffic_ledger
from pfr_jax.simulation.ledger import SecureLedger
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import seed_keys


def federation(**changes: Any) -> Simulation:
    config = small_config(local_epochs=1, max_buckets=1, **changes)
    return simulation_of(config, ragged_ratings(num_users=52, num_items=23))


def round_of(simulation: Simulation, state: Any, cohorts: list[np.ndarray]) -> list[Any]:
    """The server's state after a round from ``state``, for each of these cohorts."""
    population, key = simulation.population, seed_keys(0)[1]
    step = jax.jit(simulation.algorithm.round)
    sizes, room = simulation.federation.block_sizes, len(cohorts[0])
    laid_out = [population.cohort(cohort, sizes, room) for cohort in cohorts]
    return [step(state, population.buckets, cohort, key)[0].server for cohort in laid_out]


def test_of_fifty_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = federation(deterministic_sum=True)
    state = initial_state(simulation)
    clients = simulation.population.trainable[:50]
    stayed = clients[4:]
    (stepped,) = round_of(simulation, state, [stayed])

    def keep_sum(_: Any, server: ServerState, total: PayloadSum, *__: Any) -> ServerState:
        return ServerState(total, server.opt_state)

    with monkeypatch.context() as patch:  # rounds that tell the sum they would step by
        patch.setattr(federated, "_serve", keep_sum)
        summing = federation(deterministic_sum=True)
        rounds = [stayed, *(np.array([client]) for client in clients)]
        plain, *single = (server.shared for server in round_of(summing, state, rounds))

    vectors = {int(c): to_words(p, True) for c, p in zip(clients, single, strict=True)}
    assert len(set(map(bytes, vectors.values()))) == 50
    words, _, _ = secure_sum(
        vectors,
        threshold=30,
        gone_before_sharing=clients[:1],
        gone_before_masking=clients[1:4],
        gone_after_masking=clients[4:20],
        random=np.random.default_rng(0).bytes,
    )
    found = from_words(words, plain)
    jax.tree.map(np.testing.assert_array_equal, found, plain)
    assert int(found.clients) == 46

    side = simulation.federation
    told = jax.jit(cohort_sum, static_argnums=(1, 2, 3))(
        found, side.side.fixed_point, None, side.denominator.counts
    )
    after = jax.jit(server_step, static_argnums=(2, 3))(
        state.server, told, side.denominator, side.server_optimizer
    )
    jax.tree.map(np.testing.assert_array_equal, after, stepped)


def test_floats_are_refused() -> None:
    counts: Any = np.ones(3), np.ones(()), np.zeros(2, np.int32)
    total = PayloadSum({"w": np.array([0.5])}, *counts)
    with pytest.raises(TypeError, match="--deterministic_sum"):
        to_words(total, True)


@pytest.mark.parametrize("denominator", ["clients", "sqrt", "expected"])
def test_the_ledger_charges_for_every_number(denominator: str) -> None:
    """And the server is told no more counts than it divides by."""
    simulation = federation(upload="secure_sum", denominator=denominator)
    shared, num_items = initial_state(simulation).server.shared, simulation.model.num_items
    counts = simulation.federation.denominator.counts
    total = empty_sum(shared, num_items, np.float32, simulation.federation.side.fixed_point)
    ledger = traffic_ledger(simulation)
    assert isinstance(ledger, SecureLedger)
    assert len(to_words(total, counts)) == ledger.length
    assert summed(total, counts).holders is None or denominator == "sqrt"
