"""What a run will need of memory, said before it is allocated, and refused if there is not enough.

Bytes throughout. On a CPU the factored engine's stacks are ``untouched``: only clients that take
part cost anything, so the estimate depends on how many different clients the cohorts will reach.
Everywhere else all of the stacks is there from the start.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from pfr_jax.errors import InputError
from pfr_jax.models.item_rows import tree_bytes
from pfr_jax.population.devices import device_bytes, on_cpu
from pfr_jax.simulation.device_memory import MOST_OF_A_DEVICE, bytes_of_round, fits
from pfr_jax.simulation.rounds import params_shapes, state_shapes
from pfr_jax.simulation.setup import Simulation

GIB = 2**30
# What compiling takes and keeps, and the rest of the runtime.
COMPILER_BYTES = 0.9 * GIB
SMALL_BLOCK = 32  # clients


@dataclass(frozen=True)
class MemoryEstimate:
    """Resident bytes of this process at the peak."""

    before: float  # resident already: program and ratings
    working: float  # clients' tables to come, server state, sums, evaluation, compiled programs
    clients_all: float  # states of all clients, as if each had been trained
    share_reached: float  # expected share of the clients that take part at least once
    adapted: float = 0.0  # states that are made for an evaluation only
    on_device: float = 0.0  # of one accelerator in a round, which is not memory of this process
    baselines: float = 0.0  # what the largest centralised one works with

    @property
    def of_run(self) -> float:
        return self.at_most - self.clients_all * (1 - self.share_reached)

    @property
    def at_most(self) -> float:
        """If every client gets sampled."""
        return self.before + self.working + self.clients_all + self.adapted + self.baselines

    def facts(self) -> dict[str, str]:
        """For people."""
        return {
            "this run": f"{self.of_run / GIB:.2f} GiB "
            f"({self.share_reached:.0%} of the clients will take part)",
            "every client sampled": f"{self.at_most / GIB:.2f} GiB",
            "of that, clients' states": f"{self.clients_all / GIB:.2f} GiB",
            **{
                name: f"{size / GIB:.2f} GiB"
                for name, size in (
                    ("of that, centralised baselines", self.baselines),
                    ("each accelerator", self.on_device),
                )
                if size
            },
        }


def estimate(simulation: Simulation, baselines: float = 0.0, alike: int = 1) -> MemoryEstimate:
    """The peak of a run of this simulation, from shapes; nothing is allocated.

    ``baselines`` are the bytes that those of the run work with, beside all that is there, and
    ``alike`` is how many simulations of such tables there will be.
    """
    model, buckets = simulation.model, simulation.population.buckets
    params = params_shapes(model, buckets[0].values.dtype)
    state = state_shapes(simulation.algorithm, model, buckets)
    # Parameters: the server's, the start, the round's sum and its optimizer's update.
    server = 4 * tree_bytes(params) + tree_bytes(state.server.opt_state)
    federation = simulation.federation
    here = on_cpu(federation.mesh)
    lazy = federation.engine.has_store and (here or federation.on_host)
    on_device = 0.0
    if not here and not simulation.spec.centralized:
        on_device = bytes_of_round(federation, state, simulation.population, simulation.cohort_size)
    adapted = 0
    for algorithm, those in (
        (simulation.adaptation, simulation.newcomers),
        (simulation.reconstruction, simulation.population),
    ):
        if algorithm and those:
            begun = jax.eval_shape(algorithm.init, params, those.buckets)
            adapted += 2 * tree_bytes(begun.clients)  # before and after
    features = simulation.population.num_users * model.feature_size * 4
    redrawn = tree_bytes(simulation.population.buckets) if simulation.config.data.redraws else 0
    return MemoryEstimate(
        before=resident_bytes(),
        working=alike * _to_come(simulation) + server + features + redrawn + COMPILER_BYTES,
        clients_all=tree_bytes(state.clients),
        share_reached=_share_reached(simulation) if lazy else 1.0,
        adapted=adapted,
        on_device=on_device,
        baselines=baselines,
    )


def _to_come(simulation: Simulation) -> float:
    """Of the tables of an outlined simulation, which are shapes still."""
    newcomers = simulation.newcomers.buckets if simulation.newcomers else ()
    tables: Any = simulation.population.buckets, newcomers
    if simulation.spec.centralized:
        tables = *tables, simulation.data
    leaves = jax.tree.leaves(tables)
    return tree_bytes([leaf for leaf in leaves if isinstance(leaf, jax.ShapeDtypeStruct)])


def _share_reached(simulation: Simulation) -> float:
    """Cohorts are drawn without replacement, independently of each other."""
    share = simulation.cohort_size / simulation.num_clients
    return 1 - (1 - share) ** simulation.config.run.rounds


def check(simulation: Simulation, needed: MemoryEstimate) -> None:
    """Raises InputError if the run cannot fit, naming the flags that would make it fit.

    Whoever gives --memory_limit is trusted to know what the devices have.
    """
    federation, of_run, where = simulation.federation, needed.of_run, ""
    asked = simulation.config.run.memory_limit * GIB
    limit = asked or needed.before + available_bytes()
    of_this_machine = asked or federation.on_host or not needed.on_device
    small = not asked and not fits(needed.on_device, federation)
    if small:
        of_run, where = needed.on_device, " on each device"
        limit = MOST_OF_A_DEVICE * device_bytes(federation.mesh) / federation.mesh.size
    elif of_run <= limit or not of_this_machine:
        return
    ways = _ways_out(simulation, small, needed.baselines)
    raise InputError(
        f"this run would need about {of_run / GIB:.1f} GiB of memory{where} and there are "
        f"{limit / GIB:.1f} GiB; try {ways}"
    )


def _ways_out(simulation: Simulation, on_device: bool, baselines: float = 0.0) -> str:
    """The flags with which less memory is needed, of a device or of this machine."""
    federation, client = simulation.federation, simulation.config.client
    shared, clients = simulation.algorithm.shared, not simulation.spec.centralized
    ways = {
        "--state_memory=host": on_device and federation.engine.has_store and not federation.on_host,
        f"--block_size={SMALL_BLOCK}": clients
        and on_device
        and max(federation.block_sizes) > SMALL_BLOCK,
        "--state_dtype=bfloat16": federation.engine.has_store and federation.side.store is None,
        "--shared_momentum=restart": clients and client.shared_momentum == "carry" and shared,
        "--private_momentum=restart": simulation.spec.has_private
        and client.private_momentum == "carry",
        "--engine=auto": clients and client.engine == "active_rows",
        "--baselines=simple": not on_device and baselines > 0,
    }
    flags = [flag for flag, applies in ways.items() if applies]
    fewer = "fewer --num_users" if on_device else "fewer --num_users, or fewer --rounds"
    return ", ".join([*flags, fewer])


def check_round(simulation: Simulation, num_bytes: float) -> None:
    """Raises InputError if a device has less than the bytes that a compiled round needs of it.

    As in ``check``, whoever gives --memory_limit is trusted.
    """
    mesh = simulation.federation.mesh
    there = device_bytes(mesh) / mesh.size
    if num_bytes > there > 0 and not simulation.config.run.memory_limit:
        said = f"it needs {num_bytes / GIB:.2f} GiB of {there / GIB:.2f}"
        raise refusal(simulation, said)


def refusal(simulation: Simulation, said: str) -> InputError:
    """What is raised where a device's compiler, or its memory, has no room for a round."""
    ways = _ways_out(simulation, on_device=True)
    return InputError(f"a round does not fit into a device: {said}; try {ways}")


@contextmanager
def refused_in_a_line(simulation: Simulation) -> Iterator[None]:
    """Makes an InputError of a device that has no memory left: JAX has no class of its own for it.

    The vector memory, which a kernel lacks, is another.
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error).strip().partition("\n")[0]
        if "RESOURCE_EXHAUSTED" not in said or "vmem" in str(error):
            raise
        raise refusal(simulation, said) from error


def resident_bytes() -> float:
    """Of this process, now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> float:
    """What this process could still take of the machine's memory, or of its container's."""
    try:
        meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(meminfo["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return math.inf
    try:
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            held = int((group / "memory.current").read_text()) - int(stat["inactive_file"])
            free = min(free, int(limit) - held)
    except (OSError, KeyError):
        pass
    return free
