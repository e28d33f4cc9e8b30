"""This project's engines as contestants: the compiled round that ``experiments.run`` runs."""

import os
import time

import jax
import numpy as np

from pfr_jax.config import (
    ClientConfig,
    Config,
    DataConfig,
    ModelConfig,
    RunConfig,
    ServerConfig,
)
from pfr_jax.config.client import Momentum
from pfr_jax.data.splits import Split
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.models.item_rows import flatten, nest
from pfr_jax.population.population import Cohort
from pfr_jax.programs.contestants.workload import Workload
from pfr_jax.simulation.compiling import compile_round
from pfr_jax.simulation.loop import initial_state, key_of_round
from pfr_jax.simulation.setup import Simulation, prepare


def simulation_of(workload: Workload, engine: str, block_size: int = 0) -> Simulation:
    """The simulation that computes this workload: nothing held out, nothing centred."""
    ratings = Ratings(
        user=np.repeat(np.arange(workload.num_clients, dtype=np.int32), workload.lengths),
        item=workload.items,
        rating=workload.values,
        user_ids=np.arange(workload.num_clients),
        item_ids=np.arange(workload.num_items),
        scale=Scale(float(workload.values.min()), float(workload.values.max())),
        name="workload",
    )

    def momentum(carried: bool) -> Momentum:
        return "carry" if carried else "restart"

    config = Config(
        DataConfig(center="none", standardize=False, validation_fraction=0.0, test_fraction=0.0),
        ModelConfig(
            hidden_sizes=workload.hidden_sizes,
            members=1,
            dropout=workload.dropout,
            input_offset=0.0,
        ),
        ClientConfig(
            client_learning_rate=workload.learning_rate,
            schedule="constant",
            momentum=workload.momentum,
            private_rate_factor=1.0,
            nesterov=workload.nesterov,
            weight_decay=workload.weight_decay,
            ridge=0.0,
            weighting="clients",
            clip_norm=workload.clip_norm,
            local_epochs=workload.local_steps,
            private_momentum=momentum(workload.carry_private_momentum),
            shared_momentum=momentum(workload.carry_shared_momentum),
            engine="factored" if engine == "factored" else "active_rows",
            state_dtype="float32",
            block_size=block_size,
            max_buckets=6,
        ),
        ServerConfig(denominator="clients", server_learning_rate=1.0, server_momentum=0.0),
        RunConfig(num_devices=min(jax.device_count(), os.cpu_count() or 1)),
    )
    nobody = np.empty(0, np.int64)
    return prepare(config, ratings, Split(np.arange(len(ratings)), nobody, nobody))


class Contestant:
    """Trains cohorts of a workload with one of the engines."""

    def __init__(
        self, workload: Workload, engine: str, device: str = "cpu", block_size: int = 0
    ) -> None:
        if jax.default_backend() != {"cuda": "gpu"}.get(device, device):
            raise ValueError(f"JAX runs on {jax.default_backend()} here, not on {device}")
        # float32 is float32, also on accelerators that would round products' inputs.
        jax.config.update("jax_default_matmul_precision", "highest")
        self._workload = workload
        self._simulation = simulation = simulation_of(workload, engine, block_size)
        params = nest({name: jax.numpy.asarray(leaf) for name, leaf in workload.initial.items()})
        begun = time.perf_counter()
        self._state = jax.block_until_ready(initial_state(simulation, params))
        self._rounds = 0
        self._step = {
            size: compile_round(simulation, size)
            for size in {len(cohort) for cohort in workload.cohorts}
        }
        self.compile_seconds = time.perf_counter() - begun  # the initial state's included
        self.devices = f"{simulation.population.mesh.size} x {jax.devices()[0].device_kind}"

    def _cohort(self, clients: np.ndarray) -> Cohort:
        sizes = self._simulation.federation.block_sizes
        return self._simulation.population.cohort(clients, sizes)

    def round(self, cohort: np.ndarray) -> float:
        """Trains these clients and updates the server; seconds."""
        buckets = self._simulation.population.buckets
        key = jax.block_until_ready(key_of_round(self._simulation, self._rounds))
        begun = time.perf_counter()
        self._state, _ = self._step[len(cohort)](self._state, buckets, self._cohort(cohort), key)
        jax.block_until_ready(self._state)
        self._rounds += 1
        return time.perf_counter() - begun

    def shared(self) -> dict[str, np.ndarray]:
        """The server's parameters by path."""
        return {name: np.asarray(leaf) for name, leaf in flatten(self._state.server.shared).items()}

    def private(self, client: int) -> dict[str, np.ndarray]:
        """A client's encoder by path, the first layer on its own items: f[L, H]."""
        population, federation = self._simulation.population, self._simulation.federation
        bucket, slot = population.bucket_of[client], population.slot_of[client]
        table = population.buckets[bucket]
        own = jax.tree.map(lambda leaf: np.asarray(leaf)[slot], self._state.clients[bucket])
        own = federation.engine.unpack(
            federation.side,
            self._state.start,
            self._state.server.shared,
            own,
            table.items[slot],
            table.values[slot],
        )
        items, _ = self._workload.client(client)
        private = {}
        for name, change in flatten(own.private).items():
            start = self._workload.initial[name]
            of_items = name.endswith("/item_kernel")
            private[name] = np.asarray(change)[: len(items)] if of_items else np.asarray(change)
            private[name] = private[name] + (start[items] if of_items else start)
        return private

    def floor_bytes(self, cohort: np.ndarray) -> float:
        """Least traffic with main memory in a round, bytes: within it a block stays in cache.

        The clients' state is read and written, the server's rows gathered, their changes added
        to the sum (read and write), and the sum applied.
        """
        workload, buckets = self._workload, self._simulation.population.buckets
        wide = workload.hidden_sizes[0]
        state = 0.0
        for index, states in enumerate(self._state.clients):
            trees = states.private, states.private_opt, states.shared_opt
            per_client = sum(leaf.nbytes for leaf in jax.tree.leaves(trees)) / len(buckets[index])
            state += per_client * (self._simulation.population.bucket_of[cohort] == index).sum()
        rows = int(workload.lengths[cohort].sum())
        server = workload.num_items * (wide + 1)
        return 2 * state + 4.0 * (3 * rows * (wide + 1) + 4 * server)

    def floor_flops(self, cohort: np.ndarray) -> float:
        """Operations of a round: 4 per weight of each product with a matrix, K times.

        Factored: the private hidden layer with each matrix of its stack and with the common
        start, the shared one, and the output rows; then one combination of K outer products for
        every matrix kept or handed over. Active rows: the step of every weight besides (9).
        """
        workload, steps = self._workload, self._workload.local_steps
        wide, code = workload.hidden_sizes
        rows, hidden = int(workload.lengths[cohort].sum()) * wide, len(cohort) * wide * code
        if self._simulation.federation.engine.name == "active_rows":
            return float(steps * ((4 + 2 + 2 * 9) * rows + 2 * (4 + 9) * hidden))
        kept = 1 + workload.carry_private_momentum
        shared = 1 + workload.carry_shared_momentum
        products = 4 * ((kept + 1 + shared) * hidden + shared * rows)
        return float(steps * products + 2 * steps * ((kept + shared) * hidden + shared * rows))
