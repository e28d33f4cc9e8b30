"""The centralised baselines, and the settings that each chooses among on validation ratings."""

from pfr_jax.baselines import ease, factors, ials, neighbours
from pfr_jax.baselines.record import Baseline

STARS = (
    Baseline(
        name="item_knn",
        label="item-kNN",
        version=1,
        settings=({"damping": 0.5}, {"damping": 0.1}, {"damping": 2.0}),
        fit=neighbours.fit_stars,
        bytes_needed=neighbours.bytes_needed,
    ),
    Baseline(
        name="bayesian_mf",
        label="Bayesian factorisation",
        version=1,
        settings=({},),  # nothing to choose: its variances are estimated
        fit=factors.fit_factors,
        bytes_needed=factors.bytes_needed,
    ),
)
CHOICES = (
    Baseline(
        name="item_knn",
        label="item-kNN",
        version=1,
        settings=({},),
        fit=neighbours.fit_choices,
        bytes_needed=neighbours.bytes_needed,
    ),
    Baseline(
        name="ease",
        label="EASE",
        version=1,
        settings=({"ridge": 300.0}, {"ridge": 100.0}, {"ridge": 1000.0}),
        fit=ease.fit,
        bytes_needed=ease.bytes_needed,
        too_large=ease.too_large,
    ),
    Baseline(
        name="ials",
        label="iALS",
        version=1,
        settings=({"ridge": 50.0}, {"ridge": 15.0}, {"ridge": 150.0}),
        fit=ials.fit,
        bytes_needed=ials.bytes_needed,
    ),
)
LABELS = {baseline.name: baseline.label for baseline in (*STARS, *CHOICES)}
