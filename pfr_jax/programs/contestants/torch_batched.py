"""The best PyTorch we know on active rows: blocks of clients, one fused program per local step.

Each client holds real weights for its active rows, stepped in every local step (unlike our
factored engine, which writes none within a round). Clients of about equal length form a block;
its rows are gathered from flat tables, stepped K times in place, and written back. On a CPU each
worker thread trains blocks of its own, small enough for its cache, on one core: there is no
barrier within a step. Make one contestant per process: programs of earlier ones count against
torch.compile's limit. Legend as in ``torch_step``; I items, n clients that some cohort of the
workload names, T their ratings.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from pfr_jax.programs.contestants.torch_step import Data, Optimizer, Trained, compiled, local_step
from pfr_jax.programs.contestants.torch_tables import Leaves, Tables, Workspace
from pfr_jax.programs.contestants.workload import Workload

# Rows of a block, a client counting as its items and ROW_EQUIVALENT for its hidden layers; a row
# is one of the first and one of the last layer with their momentum: 4 KiB if H is 256.
CPU_ROWS = 3072
CUDA_ROWS = 1 << 20
ROW_EQUIVALENT = 128


class Contestant:
    """Trains cohorts of a workload; the state of its clients is kept in ``Tables``."""

    def __init__(
        self,
        workload: Workload,
        device: str = "cpu",
        block_size: int = 0,
        workers: int = 0,
        compile: bool = True,
    ) -> None:
        """``block_size`` 0: as fits the cache; ``workers`` 0: one for each of torch's threads."""
        self._workload, self._device = workload, torch.device(device)
        on_cpu = self._device.type == "cpu"
        self._block_size = block_size
        self._block_rows = CPU_ROWS if on_cpu else CUDA_ROWS
        self._workers = (workers or torch.get_num_threads()) if on_cpu else 1
        self._threads = max(1, torch.get_num_threads() // self._workers)
        self._tables = Tables(workload, self._device)
        self._sums: list[Leaves] = []  # a worker's each, like the server's parameters
        self._seeds = itertools.count()
        self._worker = threading.local()
        self._pool = ThreadPoolExecutor(self._workers, initializer=self._begin_worker)
        optimizer = Optimizer(
            workload.learning_rate,
            workload.momentum,
            workload.nesterov,
            workload.weight_decay,
            workload.clip_norm,
        )
        self._step: Callable[..., None] = partial(local_step, optimizer)
        self.compiled = compile and self._compile()  # False: op by op, several times slower

    def _begin_worker(self) -> None:
        torch.set_num_threads(self._threads)
        torch.set_flush_denormal(True)  # a client without error left has gradients that small
        self._worker.sums = {f: torch.zeros_like(s) for f, s in self._tables.server.items()}
        self._worker.random = torch.Generator(self._device).manual_seed(next(self._seeds))
        self._worker.space = Workspace(self._device)
        self._sums.append(self._worker.sums)

    def _compile(self) -> bool:
        """Compiles the step before the clock starts, on copies of two clients' state."""
        step = compiled(self._step, self._device, self._threads)
        known = np.unique(np.concatenate(self._workload.cohorts))
        short = known[np.argsort(self._workload.lengths[known])][:2]
        slots = self._tables.slots(short)
        try:
            for some in (slots, slots[:1]):  # the compiler makes a program of its own for one
                block, data = self._tables.block(some)
                copies = self._tables.load(block, Workspace(self._device))
                self._pool.submit(self._steps, step, data, *copies).result()
        except Exception as error:  # whatever a missing or broken C++ compiler brings up
            logging.warning("torch.compile failed, going on without it: %s", error)
            return False
        self._step = step
        return True

    def round(self, cohort: np.ndarray) -> float:
        """Trains these clients and updates the server; seconds."""
        self._synchronize()
        begun = time.perf_counter()
        for sums in self._sums:
            for leaf in sums.values():
                leaf.zero_()
        list(self._pool.map(self._train, self._blocks(cohort)))
        for sums in self._sums:
            for field, server in self._tables.server.items():
                server.add_(sums[field], alpha=1 / len(cohort))
        self._synchronize()
        return time.perf_counter() - begun

    def _blocks(self, cohort: np.ndarray) -> Iterator[np.ndarray]:
        """Slots i64[B] of each block, the longest clients first: the last blocks are cheap."""
        slots = self._tables.slots(cohort)
        lengths = self._workload.lengths[cohort]
        order = np.argsort(-lengths, kind="stable")
        begin = 0
        while begin < len(order):
            longest = int(lengths[order[begin]])
            size = self._block_size or max(1, self._block_rows // (longest + ROW_EQUIVALENT))
            yield slots[order[begin : begin + size]]
            begin += size

    def _train(self, slots: np.ndarray) -> None:
        """All local steps of the clients at ``slots``, and their part of the server's sums."""
        space = self._worker.space
        block, data = self._tables.block(slots)
        params, momentum = self._tables.load(block, space)
        self._steps(self._step, data, params, momentum)
        self._tables.store(block, params, momentum)
        self._tables.add_changes(self._worker.sums, block, params, space)

    def _steps(
        self, step: Callable[..., None], data: Data, params: Trained, momentum: Trained
    ) -> None:
        shape = len(params.hidden), params.hidden.shape[2]
        drop = self._workload.dropout
        scale = torch.ones(shape, device=self._device)
        for _ in range(self._workload.local_steps):
            if drop:
                scale.uniform_(generator=self._worker.random)
                scale = (scale >= drop) / (1 - drop)
            step(data, params, momentum, scale)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def shared(self) -> dict[str, np.ndarray]:
        """The server's parameters by path."""
        return self._tables.shared()

    def private(self, client: int) -> dict[str, np.ndarray]:
        """A client's encoder by path, the first layer on its own items: f[L, H]."""
        return self._tables.private(client, self._workload.client(client)[0])

    def floor_bytes(self, cohort: np.ndarray) -> float:
        """Least traffic with main memory in a round, bytes: within it a block stays in cache.

        The clients' state is read and written, the server's rows gathered, their changes added
        to sums (read and write), and the sums of each worker applied.
        """
        settings = self._workload
        wide, code = settings.hidden_sizes
        rows, clients = int(settings.lengths[cohort].sum()), len(cohort)
        private = rows * wide + clients * (wide * code + 3 * (wide + code))
        shared = rows * (wide + 1) + clients * (wide * code + 3 * wide)
        state = private * (2 if settings.carry_private_momentum else 1)
        state += shared if settings.carry_shared_momentum else 0
        server = settings.num_items * (wide + 1)
        return 4.0 * (2 * state + 3 * rows * (wide + 1) + (2 + 2 * self._workers) * server)

    def floor_flops(self, cohort: np.ndarray) -> float:
        """Operations of a round: 4 per weight for the products (the first layer needs no gradient
        of its input: 2), 9 for the outer product and the step."""
        wide, code = self._workload.hidden_sizes
        rows, clients = int(self._workload.lengths[cohort].sum()), len(cohort)
        per_step = (11 + 13) * rows * wide + 2 * 13 * clients * wide * code
        return float(self._workload.local_steps * per_step)
