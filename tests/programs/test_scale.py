"""What is foretold of a federation's size, against a federation of that size."""

import numpy as np
import pandas as pd
import pytest

import pfr_jax
from experiments.scale import Size, bare, cohort_facts, terms
from pfr_jax.data.splits import random_split
from pfr_jax.data.synthetic import generate

SIZE = Size(users=400, items=300, ratings=40, devices=1)


def test_shapes_alone_tell_what_a_federation_has() -> None:
    ratings, data = generate(SIZE.spec), SIZE.config.data
    split = random_split(len(ratings), data.validation_fraction, data.test_fraction, 0)
    real = cohort_facts(SIZE, pfr_jax.prepare(SIZE.config, ratings, split))
    foretold = cohort_facts(SIZE, bare(SIZE))
    assert foretold["clients"] == real["clients"] == 100
    assert foretold["state_gib"] == pytest.approx(real["state_gib"], rel=0.02)
    for name in ("rows", "traffic_mib"):
        assert foretold[name] == pytest.approx(real[name], rel=0.001)


def test_milliseconds_are_a_sum_of_these() -> None:
    table = pd.DataFrame({"clients": [100], "rows": [900.0], "devices": [2], "items": [30]})
    np.testing.assert_array_equal(terms(table), [[1, 50, 450, 30]])
