"""What single clients hand over: the rows that they have, and the uploads of a run's next round."""

from typing import Any

import jax
import numpy as np

from pfr_jax.algorithms.federated import FederationState, train_block, train_stateless
from pfr_jax.client.block import Payload
from pfr_jax.client.training import Parts
from pfr_jax.simulation.loop import key_of_round
from pfr_jax.simulation.rounds import in_precision
from pfr_jax.simulation.setup import Simulation


def rows_of(simulation: Simulation, client: int) -> np.ndarray:
    """The items i64[...] whose rows a client uploads."""
    population = simulation.population
    bucket = population.buckets[population.bucket_of[client]]
    items = np.asarray(bucket.items[population.slot_of[client]])
    return items[items < simulation.model.num_items]


def rounds_of(simulation: Simulation, state: FederationState) -> np.ndarray:
    """Rounds that each client has taken part in, i64[N]."""
    population = simulation.population
    rounds = np.zeros(population.num_clients, np.int64)
    for bucket, states in zip(population.buckets, state.clients, strict=True):
        client = np.asarray(bucket.client)
        real = client < len(rounds)
        rounds[client[real]] = np.asarray(states.rounds)[real]
    return rounds


class Payloads:
    """The real upload of single clients: of a block of the client and an empty place."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation, federation = simulation, simulation.federation
        train = train_stateless if federation.side.stateless else train_block

        def program(
            states: Any, public: Parts, bucket: Any, slots: Any, key: Any, rate: Any, clip: Any
        ) -> Any:
            return train(federation, public, states, bucket, slots, key, rate, clip)[1]

        precision = simulation.config.run.matmul_precision
        self._program = jax.jit(in_precision(precision, program))

    def __call__(self, state: FederationState, client: int, round: int) -> Payload:
        """What ``client`` would hand over in a round (from 0) that begins in ``state``, on the
        host; the state is not used up."""
        simulation = self._simulation
        population, index = simulation.population, simulation.population.bucket_of[client]
        bucket = population.buckets[index]
        rate = np.asarray(
            simulation.federation.learning_rate(np.float32(round)), bucket.values.dtype
        )
        slots = np.array([population.slot_of[client], len(bucket)], np.int32)
        public = Parts(state.start, state.server.shared)
        payload: Payload = jax.device_get(
            self._program(
                *(state.clients[index], public, bucket, slots, key_of_round(simulation, round)),
                *(rate, state.server.clip),
            )
        )
        return payload
