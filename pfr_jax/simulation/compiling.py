"""A round compiled: traced where it is asked for, and compiled by XLA in a thread of its own.

Until it is there, the first state, or the clients' tables, can be made.
"""

import functools
import gc
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import jax

from pfr_jax.algorithms.federated import FederationState, RoundReport
from pfr_jax.client import host_memory
from pfr_jax.errors import InputError
from pfr_jax.population.devices import on_cpu
from pfr_jax.simulation import memory
from pfr_jax.simulation.layout import LaidOutRound, jitted_round
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.shapes import arguments_of_round

CompiledRound = Callable[..., tuple[FederationState, RoundReport]]

# Seconds after which tracing lets another thread on, which asks for that after every operation on
# arrays; Python's own 0.005 would make it wait as long as it works.
LET_GO = 1e-4
_COMPILER = ThreadPoolExecutor(1, "compiler")


def compile_round(simulation: Simulation, clients: int | None = None) -> CompiledRound:
    """``Algorithm.round``, compiled; it uses up the state it is given.

    Args:
      simulation: of its data nothing but shapes is looked at.
      clients: of a cohort; None: as many as its settings say.

    Raises:
      InputError: it does not fit into the devices' memory, or it holds a kernel and the compiler
        that is here refuses it.
    """
    with _refused(simulation):
        return _begun(simulation, clients)()


def begin_compiling(simulation: Simulation) -> float:
    """Has the round compiled that ``compile_round`` will give; seconds that this took to trace it.

    Where that is refused, ``compile_round`` says so in its time: there may be more to say before.
    Nothing is begun where clients are on the host: ``compile_round`` does all of it.
    """
    begun = time.perf_counter()
    if not simulation.federation.on_host:
        with suppress(InputError), _refused(simulation), _undisturbed():
            _begun(simulation, None)
    return time.perf_counter() - begun


@contextmanager
def _refused(simulation: Simulation) -> Iterator[None]:
    """Makes InputErrors of what tracers and compilers say."""
    try:
        with memory.refused_in_a_line(simulation):
            yield
    except InputError:
        raise
    except Exception as error:  # a kernel's compiler has no errors of its own
        kernel = simulation.federation.side.kernel
        if kernel is None:
            raise
        said = str(error).strip().partition("\n")[0]
        name = kernel.name.upper()
        raise InputError(f"a round with the {name}'s kernel: {said}; try --kernel=off") from error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """While a round is traced: other threads' numpy goes on, and nobody looks for garbage.

    Tracing makes a million objects that live on, and a quarter of its time would go into looking
    through them.
    """
    interval, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(LET_GO)
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collects:
            gc.enable()


def _begun(simulation: Simulation, clients: int | None) -> Callable[[], CompiledRound]:
    """What waits for the compiled round."""
    federation, population = simulation.federation, simulation.population
    round, arguments = simulation.algorithm.round, arguments_of_round(simulation, clients)
    if federation.on_host:
        room = host_memory.capacities(
            simulation.num_clients, simulation.cohort_size, population.buckets
        )
        program = host_memory.HostRound(round, federation.block_sizes, population.mesh, room)
        return functools.partial(program.compile, *arguments)
    leaves, tree = jax.tree.flatten(arguments)
    plain = simulation.spec.centralized or on_cpu(population.mesh)
    compiling = _compiling(round, tree, tuple(leaves), not plain)

    def compiled() -> CompiledRound:
        try:
            found: CompiledRound = compiling.result()
        except Exception:
            _compiling.cache_clear()  # there may be more memory another time
            raise
        if plain:
            return found
        step = LaidOutRound(found)
        memory.check_round(simulation, step.num_bytes)
        return step

    return compiled


@functools.lru_cache(maxsize=4)  # runs that differ in nothing but seeds share a program
def _compiling(
    round: Callable[..., Any], tree: Any, shapes: tuple[Any, ...], laid_out: bool
) -> Future[Any]:
    arguments = jax.tree.unflatten(tree, shapes)
    if laid_out:
        jitted = jitted_round(round, arguments)
    else:
        jitted = jax.jit(round, donate_argnums=0)
    return _COMPILER.submit(jitted.lower(*arguments).compile)
