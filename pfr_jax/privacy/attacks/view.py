"""What the server sees of clients: every upload, or sums over cohorts.

Attacks are given these and what they say that they know besides. Legend: I items, C clients of a
cohort.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.models.item_rows import flatten, of_items
from pfr_jax.privacy.attacks.differences import Differences
from pfr_jax.privacy.attacks.uploads import Payloads, rows_of
from pfr_jax.server import DENOMINATORS
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.mechanisms import quieter
from pfr_jax.simulation.records import RoundRecord
from pfr_jax.simulation.setup import Simulation


@dataclass(frozen=True, eq=False)
class CohortView:
    """What the server received of a round, under secure sums; and who took part."""

    clients: np.ndarray  # i64[C]
    size: np.ndarray  # f64[I], the squared length of an item's summed change, all its numbers
    counts: np.ndarray | None  # f64[I], clients that handed over a row; None: it is not told
    # The summed change itself, by leaf: f64[I, ...]; None: of an earlier round
    change: dict[str, np.ndarray] | None = None
    sent: dict[str, np.ndarray] | None = None  # likewise, what the server sent before


class Watcher:
    """What the server of a run is sent: a ``CohortView`` of every round, or single uploads.

    Views are made from what the server itself has before and after. It knows its own steps, so
    that it can undo them: divisor, rate and momentum. One for all of a run: ``payloads`` compiles.
    """

    def __init__(
        self,
        simulation: Simulation,
        state: FederationState | None = None,
        clients: np.ndarray | None = None,
    ) -> None:
        """Watches from ``state`` on; None: from the beginning. The state is not used up.

        ``clients`` (i64[...]) are whose ``differences`` are looked at, where sums are noised.
        """
        self._simulation = simulation
        self.views: list[CohortView] = []
        self.payloads = Payloads(simulation)
        begin = state or initial_state(simulation)
        self._rows, self._step = _item_rows(begin.server.shared), self._last_step(begin)
        self.differences: Differences | None = None
        mechanism = simulation.federation.side.mechanism
        if mechanism and clients is not None:
            self.differences = Differences(simulation, self.payloads, clients, mechanism)
            self.differences.look(begin, int(begin.round))

    def add(self, record: RoundRecord) -> None:
        """Looks at a round; its state is not used up."""
        server = self._simulation.config.server
        rows = _item_rows(record.state.server.shared)
        step = {path: rows[path] - self._rows[path] for path in rows}
        counts = None
        if DENOMINATORS[server.denominator].counts:
            counts = counts_of(self._simulation, record.clients)
        divisor = self._divisor(counts, len(record.clients))
        change = {
            path: (step[path] - server.server_momentum * self._step[path]) * _per_row(divisor, leaf)
            for path, leaf in rows.items()
        }
        sent, self._rows, self._step = self._rows, rows, self._last_step(record.state)
        size = sum(np.square(leaf).reshape(len(leaf), -1).sum(axis=1) for leaf in change.values())
        if self.views:  # the last one alone is kept whole
            self.views[-1] = dataclasses.replace(self.views[-1], change=None, sent=None)
        self.views.append(CohortView(record.clients, np.asarray(size), counts, change, sent))
        if self.differences:
            self.differences.done()
            self.differences.look(record.state, record.round)

    def _divisor(self, counts: np.ndarray | None, clients: int) -> np.ndarray:
        """What the server's step divided the sum by, f64[I] or f64[]."""
        of: Any = np.float64(self._simulation.federation.expected or clients)
        holders = np.zeros(self._simulation.model.num_items) if counts is None else counts
        divisor = DENOMINATORS[self._simulation.config.server.denominator].divisor(of, holders)
        return np.asarray(divisor, np.float64) / self._rate

    def _last_step(self, state: FederationState) -> dict[str, np.ndarray]:
        """The step of the items' rows that led to a state, as its momentum has it: f64[I, ...]; 0
        where the server keeps none."""
        trace = optax.tree.get(state.server.opt_state, "trace")
        if trace is None:
            return {path: np.zeros(()) for path in _item_rows(state.server.shared)}
        return {path: -self._rate * leaf for path, leaf in _item_rows(trace).items()}

    @property
    def _rate(self) -> float:
        config, mechanism = self._simulation.config, self._simulation.federation.side.mechanism
        return quieter(config.server, mechanism, config.privacy.step_noise).server_learning_rate


def _per_row(divisor: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    return divisor.reshape((-1,) + (1,) * (leaf.ndim - 1))


def _item_rows(shared: Any) -> dict[str, np.ndarray]:
    """All leaves of items' rows, f64[I, ...]."""
    return {
        path: np.asarray(leaf, np.float64)
        for path, leaf in flatten(shared).items()
        if of_items(path)
    }


def counts_of(simulation: Simulation, clients: np.ndarray) -> np.ndarray:
    """How many of these clients hand over each item's row, f64[I]."""
    counts = np.zeros(simulation.model.num_items)
    for client in clients.tolist():
        counts[rows_of(simulation, client)] += 1
    return counts
