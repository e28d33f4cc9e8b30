"""--matmul_precision: what a round's products are traced with."""

import re

import jax
import pytest
from federations import small_simulation

from pfr_jax.simulation.loop import initial_state, key_of_round


@pytest.mark.parametrize("engine", ["factored", "active_rows"])
@pytest.mark.parametrize("precision", ["highest", "high", "default"])
def test_every_product_of_a_round_has_it(engine: str, precision: str) -> None:
    """Also those of the way back."""
    simulation = small_simulation(engine=engine, matmul_precision=precision)
    state = initial_state(simulation)
    cohort = simulation.population.cohort(
        simulation.population.trainable, simulation.federation.block_sizes
    )
    key = key_of_round(simulation, 0)
    traced = jax.make_jaxpr(simulation.algorithm.round)(state, simulation.data, cohort, key)
    found = re.findall(r"precision=(\S+)", str(traced))
    assert len(found) > 3
    named = {text for text in found if text != "None"}
    wanted = {"highest": "HIGHEST", "high": "HIGH", "default": "DEFAULT"}[precision]
    assert all(re.search(rf"\b{wanted}\b", text) for text in named) and "None" not in found
