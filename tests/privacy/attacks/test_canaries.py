"""A run's own mechanism: a bound below what is paid, and far above where something is wrong."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from federations import ragged_ratings, simulation_of, small_config

from pfr_jax.privacy.accounting import epsilon_after
from pfr_jax.privacy.attacks.canaries import audit_of
from pfr_jax.privacy.mechanism import Mechanism
from pfr_jax.simulation.setup import Simulation

ROUNDS = 6
SETTINGS: dict[str, Any] = {
    "upload": "dp",
    "denominator": "expected",
    "sampling": "poisson",
    "hidden_sizes": (40, 8),
    "delta": 1e-5,
    "rounds": ROUNDS,
}


def run(**changes: Any) -> Simulation:
    config = small_config(**{**SETTINGS, **changes})
    return simulation_of(config, ragged_ratings(num_users=20, num_items=60))


@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("deterministic", [False, True])
def test_below_what_is_paid(fraction: float, deterministic: bool) -> None:
    simulation = run(cohort_fraction=fraction, epsilon=3.0, deterministic_sum=deterministic)
    assert simulation.plan is not None
    found = audit_of(simulation, ROUNDS)
    assert 0 < found.epsilon < epsilon_after(simulation.plan, ROUNDS)
    assert found.canaries == 60 * 40


def test_less_noise_than_was_paid_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = run(cohort_fraction=1.0, epsilon=1.0)
    noised = Mechanism.noised

    def tenth(self: Mechanism, *given: Any) -> Any:
        less = self.noise_multiplier / 10
        return noised(dataclasses.replace(self, noise_multiplier=less), *given)

    monkeypatch.setattr(Mechanism, "noised", tenth)
    assert audit_of(simulation, ROUNDS).epsilon > 2


def test_a_client_that_is_not_clipped_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = run(cohort_fraction=1.0, epsilon=1.0)
    monkeypatch.setattr(Mechanism, "clipped", lambda self, delta, *_: (delta, np.float32(1)))
    assert audit_of(simulation, ROUNDS).epsilon > 2
