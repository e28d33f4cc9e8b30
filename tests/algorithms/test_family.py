"""The federations that PersonalFR belongs to: what moves when, and what is kept."""

from typing import Any

import jax
import numpy as np
import pytest
from federations import COHORT, client_state, everything, run_rounds, small_simulation

from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.setup import Simulation


def after_a_round(**changes: Any) -> tuple[Simulation, Any]:
    simulation = small_simulation(**changes)
    return simulation, run_rounds(simulation, [COHORT])


def largest(tree: Any) -> float:
    return max(float(np.abs(leaf).max(initial=0)) for leaf in jax.tree.leaves(tree))


def largest_difference(one: Any, other: Any) -> float:
    return largest(jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), one, other))


def test_fedsim_is_personalfr() -> None:
    one, other = (everything(*after_a_round(algorithm=name)) for name in ("personalfr", "fedsim"))
    assert largest_difference(one, other) == 0


@pytest.mark.parametrize("engine", ["factored", "active_rows"])
def test_alternating_clients_learn_their_private_part_first(engine: str) -> None:
    """FedAlt: their private parts do not depend on what the shared part does afterwards."""
    common = {"algorithm": "fedalt", "engine": engine, "private_epochs": 2}
    rounds = [after_a_round(**common, local_epochs=epochs) for epochs in (1, 4)]
    for client in COHORT:
        private = [client_state(s, state, client).private for s, state in rounds]
        assert largest(private[0]) > 0
        assert largest_difference(*private) < 1e-6
    shared = [state.server.shared for _, state in rounds]
    assert largest_difference(*shared) > 1e-4


def test_shared_steps_start_from_the_private_part_just_learned() -> None:
    shared = [
        after_a_round(algorithm="fedalt", private_epochs=epochs, local_epochs=1)[1].server.shared
        for epochs in (1, 6)
    ]
    assert largest_difference(*shared) > 1e-6


@pytest.mark.parametrize("engine", ["factored", "active_rows"])
def test_reconstructing_clients_keep_nothing(engine: str) -> None:
    """FedRecon's first round is FedAlt's; in a second one its clients begin as in the first."""
    simulation, state = after_a_round(algorithm="fedrecon", engine=engine)
    assert not jax.tree.leaves([(c.private, c.private_opt, c.shared_opt) for c in state.clients])
    _, alternating = after_a_round(algorithm="fedalt", engine=engine)
    assert largest_difference(state.server.shared, alternating.server.shared) < 1e-6
    start = initial_state(simulation)
    assert largest_difference(state.server.shared, start.server.shared) > 1e-4
    two = run_rounds(simulation, [COHORT, COHORT])
    kept = run_rounds(small_simulation(algorithm="fedalt", engine=engine), [COHORT, COHORT])
    assert largest_difference(two.server.shared, kept.server.shared) > 1e-6


def test_reconstruction_serves_evaluation() -> None:
    """Users are evaluated by private parts learned anew, which more epochs fit better."""
    last = [
        list(simulate(small_simulation(algorithm="fedrecon", private_epochs=epochs, dropout=0.0)))[
            -1
        ]
        for epochs in (1, 30)
    ]
    assert all(record.evaluation and record.evaluation.test for record in last)
    assert last[1].loss < last[0].loss


def test_the_proximal_term_holds_the_shared_part_back() -> None:
    moved = []
    for mu in (0.0, 1.0, 5.0):
        simulation, state = after_a_round(proximal=mu, local_epochs=8)
        start = initial_state(simulation).server.shared
        change = jax.tree.map(lambda a, b: np.asarray(a - b), state.server.shared, start)
        moved.append(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(change)))
    assert moved[2] < moved[1] < moved[0]
