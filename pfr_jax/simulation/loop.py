"""The round loop: sample a cohort, run the round, evaluate, select on validation.

A ``Simulation`` (``pfr_jax.simulation.setup``) holds what stays the same during a run; ``simulate``
yields one ``RoundRecord`` per round.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.client import host_memory
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import Evaluation, evaluate
from pfr_jax.models.model import Params
from pfr_jax.population.devices import EVERYWHERE, put
from pfr_jax.simulation import memory
from pfr_jax.simulation.compiling import begin_compiling, compile_round
from pfr_jax.simulation.costs import traffic_before, traffic_ledger
from pfr_jax.simulation.participation import fates_of_round
from pfr_jax.simulation.records import Begin, Faults, RoundRecord, Timing
from pfr_jax.simulation.redraws import Redraws
from pfr_jax.simulation.releases import noise_seed
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import initial_params, seed_keys

MOST_FRUITLESS = 3  # rounds on end in which all updates that arrived were rejected


def initial_state(simulation: Simulation, params: Params | None = None) -> FederationState:
    """The federation before its first round, from these parameters or those of its seed."""
    init = simulation.algorithm.init
    initial = host_memory.initial if simulation.federation.on_host else jax.jit
    params, population = params or initial_params(simulation), simulation.population
    if not simulation.spec.centralized:
        params = put(params, population.mesh, EVERYWHERE)
    return initial(init)(params, population.buckets)


def key_of_round(simulation: Simulation, round: int) -> jax.Array:
    """Of the random numbers of clients, and of noise, in a round (counted from 0)."""
    key = jax.random.fold_in(seed_keys(simulation.config.run.seed)[1], round)
    if simulation.plan:
        key = jax.random.fold_in(key, noise_seed(simulation.config, simulation.plan))
    return key if simulation.spec.centralized else put(key, simulation.population.mesh, EVERYWHERE)


def _what_to_lower(round: int, loss: float, rejected: list[int]) -> str:
    found = f"the training loss is {loss}"
    if sum(rejected):
        found = (
            f"for {MOST_FRUITLESS} rounds no update could be taken: in this one {rejected[0]} were "
            f"not finite and {rejected[1]} larger than --max_update_norm"
        )
    return (
        f"round {round}: {found}; lower --client_learning_rate or --server_learning_rate, or set "
        "--clip_norm"
    )


def simulate(
    simulation: Simulation, rounds: int | None = None, begin: Begin | None = None
) -> Iterator[RoundRecord]:
    """Runs the rounds one by one: cohort, local training, aggregation, evaluation.

    Args:
      simulation: what ``prepare`` made. It is not changed, and may be simulated again.
      rounds: how many, those done before included; None: --rounds.
      begin: where to go on from; None: the start.

    Yields:
      What each round did. Its ``state`` is used up by the next one.

    Raises:
      InputError: the training loss is no longer finite, or no client's update could be taken for
        MOST_FRUITLESS rounds; which rates to lower is said. Or a device has too little memory.
    """
    run, population = simulation.config.run, simulation.population
    ledger = traffic_ledger(simulation)
    block_sizes = simulation.federation.block_sizes
    redraws = Redraws(simulation) if simulation.config.data.redraws else None

    started = time.perf_counter()
    begin_compiling(simulation)
    with memory.refused_in_a_line(simulation):
        begin = begin or Begin(jax.block_until_ready(initial_state(simulation)))
    state, evaluations = begin.state, _Evaluations(simulation, begin.best)
    step = compile_round(simulation)
    key_of_round(simulation, begin.round)  # compiles that
    if isinstance(step, host_memory.HostRound):
        nobody = population.cohort(np.zeros(0, np.int64), block_sizes, simulation.room)
        step.bring_nobody(state, simulation.data, nobody)
    compile_seconds = time.perf_counter() - started

    num_rounds, fruitless = rounds or run.rounds, begin.fruitless
    for index in range(begin.round, num_rounds):
        started = time.perf_counter()
        fate = fates_of_round(simulation, index)
        cohort = population.cohort(fate.delivered, block_sizes, simulation.room)
        key = key_of_round(simulation, index)
        data = redraws.of_round(index, cohort) if redraws else simulation.data
        with memory.refused_in_a_line(simulation):
            state, report = step(state, data, cohort, key)
            jax.block_until_ready(state)
        loss, rejected = float(report.loss), [int(count) for count in report.rejected]
        train_seconds = time.perf_counter() - started
        if len(fate.delivered):
            fruitless = 0 if report.clients else fruitless + 1
        if fruitless == MOST_FRUITLESS or (report.clients and not math.isfinite(loss)):
            raise InputError(_what_to_lower(index + 1, loss, rejected))
        rows = population.rows
        traffic = ledger.round_traffic(rows[fate.asked], rows[fate.delivered])
        if index == 0 and not simulation.spec.centralized:
            traffic += traffic_before(simulation)
        evaluation, last, timing = None, index + 1 == num_rounds, Timing(train_seconds)
        if last or (index + 1) % run.eval_every == 0:
            evaluation, timing = evaluations.of_round(state, last, timing)
        if index == begin.round:
            timing = replace(timing, compile=timing.compile + compile_seconds)
        yield RoundRecord(
            round=index + 1,
            loss=loss,
            learning_rate=float(report.learning_rate),
            clients=fate.delivered,
            taken=len(fate.delivered) - sum(rejected),
            faults=Faults(fate.dropped, fate.late, fate.surplus, *rejected),
            fruitless=fruitless,
            traffic=traffic,
            evaluation=evaluation,
            timing=timing,
            state=state,
        )


class _Evaluations:
    """Of a run's rounds."""

    def __init__(self, simulation: Simulation, best: float) -> None:
        self._simulation, self._best, self._compiled = simulation, best, False

    def of_round(
        self, state: FederationState, last: bool, timing: Timing
    ) -> tuple[Evaluation, Timing]:
        """The figures of a round, and its ``timing`` with what they took.

        The first is made twice, once to compile all that evaluations run. That is not done before
        the first round, so that training begins sooner; what cannot run is found this late.
        """
        begun = time.perf_counter()
        if not self._compiled:
            with memory.refused_in_a_line(self._simulation):
                evaluate(self._simulation, state, math.inf, last=True)
            self._compiled = True
        compiled = time.perf_counter()
        found = evaluate(self._simulation, state, self._best, last)
        if found.improved and found.validation:
            self._best = self._simulation.task.criterion(found.validation)
        seconds = time.perf_counter() - compiled
        return found, replace(timing, eval=seconds, compile=compiled - begun)
