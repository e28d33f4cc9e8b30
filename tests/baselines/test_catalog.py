"""What all centralised baselines have in common."""

import tracemalloc

import numpy as np
import pytest

from pfr_jax.baselines.catalog import CHOICES, STARS
from pfr_jax.baselines.record import Baseline, Known


@pytest.mark.parametrize("shape", [(3000, 1200), (900, 2000)])
@pytest.mark.parametrize("baseline", [*STARS, *CHOICES], ids=lambda one: one.label)
def test_fitting_takes_the_memory_that_is_told(baseline: Baseline, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    pairs = np.sort(random.choice(shape[0] * shape[1], 60_000, replace=False))
    user, item = np.divmod(pairs, shape[1])
    stars = random.integers(1, 6, len(pairs)) if baseline in STARS else np.ones(len(pairs))
    known = Known(user, item, stars.astype(np.float64), *shape)
    tracemalloc.start()
    try:
        fitted = baseline.fit(known, **baseline.settings[0])
        if baseline in STARS:
            fitted(user[:2000], item[:2000])
        else:
            fitted(np.arange(256))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    told = baseline.bytes_needed(len(pairs), *shape)
    assert 0.3 * told < peak < 1.1 * told
