"""Who took part at all: canaries in the run's own mechanism, and what they say of epsilon."""

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.models.item_rows import flatten, nest
from pfr_jax.privacy.audit import Audited, audit
from pfr_jax.simulation.loop import initial_state, key_of_round
from pfr_jax.simulation.setup import Simulation

CANARIES = 5000  # at most; of one number each


def audit_of(simulation: Simulation, rounds: int) -> Audited:
    """A lower bound on the epsilon of so many rounds, by the noise that the server really gets.

    The releases before the first round are not attacked, so that a bound is for less than is paid.
    """
    mechanism, plan = simulation.federation.side.mechanism, simulation.plan
    assert mechanism is not None and plan is not None
    shared = flatten(initial_state(simulation).server.shared)
    zeros = {path: jnp.zeros_like(leaf) for path, leaf in shared.items()}
    heavy = {path: leaf for path, leaf in zeros.items() if mechanism.weight(path) == 1}
    where = max(heavy, key=lambda path: heavy[path].size)
    clip = jnp.float32(mechanism.clip)

    @jax.jit
    def noised(numbers: jax.Array, key: jax.Array) -> jax.Array:
        leaf = zeros[where].reshape(-1).at[: len(numbers)].set(numbers).reshape(zeros[where].shape)
        received = flatten(mechanism.noised(nest({**zeros, where: leaf}), clip, key))[where]
        return received.reshape(-1)[: len(numbers)]

    def release(uploads: np.ndarray, round: int) -> np.ndarray:
        numbers = jnp.asarray(uploads, zeros[where].dtype)
        return np.asarray(noised(numbers, key_of_round(simulation, round)))

    return audit(
        release,
        rounds=rounds,
        rate=plan.rate,
        clip=mechanism.clip,
        canaries=min(CANARIES, zeros[where].size),
        delta=plan.delta,
        seed=simulation.config.run.seed,
    )
