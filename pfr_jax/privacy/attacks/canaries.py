"""Who took part at all: canaries in the run's own mechanism, and what they say of epsilon."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.aggregation import empty_sum, noised_sum
from pfr_jax.client.fixed_point import to_fixed
from pfr_jax.models.item_rows import flatten, nest
from pfr_jax.privacy.audit import Audited, audit
from pfr_jax.simulation.loop import initial_state, key_of_round
from pfr_jax.simulation.setup import Simulation

CANARIES = 5000  # at most; of one number each
TOO_LARGE = 10.0  # times the clipping norm: what a canary would like to upload


def audit_of(simulation: Simulation, rounds: int) -> Audited:
    """A lower bound on the epsilon of so many rounds, by the noise that the server really gets.

    A canary's upload is clipped as a client's is, and what the server is told of the sum is what it
    is told of a cohort's. The releases before the first round are not attacked, so that a bound is
    for less than is paid. Of few clients, whose delta is large, no bound is large (of 943: at most
    2.7), so that it cannot tell whether a large epsilon is true.

    Args:
      simulation: of a run under differential privacy.
      rounds: how many.

    Returns:
      The bound, and the guesses that it is of.
    """
    mechanism, plan = simulation.federation.side.mechanism, simulation.plan
    expected, dtype = simulation.federation.expected, np.float32
    assert mechanism is not None and plan is not None and expected is not None
    shared = initial_state(simulation).server.shared
    zeros = {path: jnp.zeros_like(leaf) for path, leaf in flatten(shared).items()}
    heavy = {path: leaf for path, leaf in zeros.items() if mechanism.weight(path) == 1}
    where = max(heavy, key=lambda path: heavy[path].size)
    clip, fixed_point = jnp.float32(mechanism.clip), mechanism.fixed_point
    nothing = empty_sum(shared, simulation.model.num_items, dtype, fixed_point, clipped=True)

    def holding(numbers: jax.Array) -> dict[str, jax.Array]:
        leaf = zeros[where].reshape(-1).at[: len(numbers)].set(numbers)
        return {**zeros, where: leaf.reshape(zeros[where].shape)}

    one = nest(holding(jnp.full(1, TOO_LARGE * clip, dtype)))
    uploaded = flatten(mechanism.clipped(one, None, clip)[0])[where].reshape(-1)[0]
    in_sum = to_fixed(uploaded, fixed_point) if fixed_point else uploaded

    @jax.jit
    def told(asked: jax.Array, key: jax.Array) -> jax.Array:
        summed = {**flatten(nothing.delta), where: holding(asked)[where].astype(in_sum.dtype)}
        summed[where] = summed[where] * in_sum
        total = dataclasses.replace(nothing, delta=nest(summed))
        received = noised_sum(total, fixed_point, expected, mechanism, clip, key)
        return flatten(received.delta)[where].reshape(-1)[: len(asked)]

    def release(uploads: np.ndarray, round: int) -> np.ndarray:
        asked = jnp.asarray(uploads / mechanism.clip, dtype)
        return np.asarray(told(asked, key_of_round(simulation, round)))

    return audit(
        release,
        rounds=rounds,
        rate=plan.rate,
        clip=mechanism.clip,
        canaries=min(CANARIES, zeros[where].size),
        delta=plan.delta,
        seed=simulation.config.run.seed,
    )
