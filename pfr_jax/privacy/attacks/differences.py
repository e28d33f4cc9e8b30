"""What is left of noised sums for somebody who knows all other clients' uploads.

That is the attacker whom differential privacy is about: of a round it has one client's clipped
upload, and all of the noise. Without noise nothing is hidden from it, which shows that the attack
works. Legend: I items, n items of a client.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.models.item_rows import flatten, nest, of_items
from pfr_jax.privacy.attacks.uploads import Payloads
from pfr_jax.privacy.mechanism import Mechanism
from pfr_jax.simulation.loop import key_of_round
from pfr_jax.simulation.participation import fates_of_round
from pfr_jax.simulation.setup import Simulation

NO_NOISE = 1e-6  # stands for a noise multiplier of 0, which nothing can be divided by


class Differences:
    """Of some clients, over the rounds of a run that they take part in.

    Attributes:
      energy: by client, the squared length of an item's row less the others' uploads, over the
        variance of the noise and summed over rounds, f64[I].
      rounds: by client, how many rounds that were.
      numbers: of an item's row.
    """

    def __init__(
        self, simulation: Simulation, payloads: Payloads, clients: np.ndarray, mechanism: Mechanism
    ) -> None:
        self._simulation, self._payloads, self._mechanism = simulation, payloads, mechanism
        self._clients = set(clients.tolist())
        self.energy: dict[int, np.ndarray] = {}
        self.rounds: dict[int, int] = {}
        self.numbers = 0
        self._noise = jax.jit(self._rows_of_noise)
        self._next: dict[int, np.ndarray] = {}

    def look(self, state: FederationState, round: int) -> None:
        """At the uploads of the round (counted from 0) that begins in ``state``, which is not used
        up. They count when the round is ``done``.
        """
        self._next = {}
        if round == self._simulation.config.run.rounds:
            return
        delivered = fates_of_round(self._simulation, round).delivered.tolist()
        clients = [client for client in delivered if client in self._clients]
        if not clients:
            return
        noise = self._noise(
            state.server.shared, state.server.clip, key_of_round(self._simulation, round)
        )
        rows = {path: np.asarray(leaf, np.float64) for path, leaf in noise.items()}
        self.numbers = sum(leaf[0].size for leaf in rows.values())
        for client in clients:
            self._next[client] = self._energy(rows, state, client, round)

    def done(self) -> None:
        """The round that was looked at is over."""
        for client, energy in self._next.items():
            self.energy[client] = self.energy.get(client, 0) + energy
            self.rounds[client] = self.rounds.get(client, 0) + 1

    def _rows_of_noise(self, shared: Any, clip: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        zeros = {path: jnp.zeros_like(leaf) for path, leaf in flatten(shared).items()}
        noise = flatten(self._mechanism.noised(nest(zeros), clip, key))
        weight = self._mechanism.weight
        return {path: leaf for path, leaf in noise.items() if of_items(path) and weight(path)}

    def _energy(
        self, noise: dict[str, np.ndarray], state: FederationState, client: int, round: int
    ) -> np.ndarray:
        sent = self._payloads(state, client, round)
        uploaded, scale = flatten(sent.delta), self._mechanism.fixed_point or 1.0
        whole = np.zeros(self._simulation.model.num_items)
        for path, rows in noise.items():
            change = uploaded[path].astype(np.float64) / scale
            received = rows.copy()
            if sent.items is None:  # every row, summed over a block that has nobody else
                received += change
            else:
                there = sent.items[0] < len(whole)
                received[sent.items[0][there]] += change[0][there]
            assert state.server.clip is not None
            deviation = self._deviation * float(state.server.clip) / self._mechanism.weight(path)
            whole += np.square(received / deviation).reshape(len(whole), -1).sum(axis=1)
        return whole

    @property
    def _deviation(self) -> float:
        return max(self._mechanism.noise_multiplier, NO_NOISE)

    def scores(self, client: int, popular: np.ndarray, count: float) -> np.ndarray:
        """That the client has rated each item, f64[I]: by the likelihood of its energy.

        A row that is noise alone has an energy around its numbers; one of ``count`` rows of an
        upload as long as it may be has more. ``popular`` (f64[I]) are shares of the others.
        """
        rounds = self.rounds[client]
        mean = rounds * self.numbers
        more = rounds / (self._deviation**2 * count)
        odds = np.clip(popular, 1e-4, 1 - 1e-4)
        return np.log(odds / (1 - odds)) + more * (self.energy[client] - mean) / (2 * mean)
