"""Variational factorisation against loops over ratings, and what must hold of any."""

import numpy as np
import pytest
from federations import known_stars
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.baselines import factors
from pfr_jax.baselines.effects import bias_only
from pfr_jax.baselines.record import Known, small_numbers
from pfr_jax.data.sources import load
from pfr_jax.data.splits import random_split

Moments = tuple[np.ndarray, np.ndarray]  # mean f64[F], covariance f64[F, F]


def multiplier(other: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E[z], E[z z'] and E[effect z] of z = (1, factors), for the other (effect, factors)."""
    mean, covariance = other
    one, effect = np.eye(len(mean))[0], np.eye(len(mean))[0]
    keep = np.diag(1 - one)  # factors of the vector
    second = np.outer(mean, mean) + covariance
    z = keep @ mean + one
    zz = keep @ second @ keep + np.outer(one, keep @ mean) + np.outer(keep @ mean, one)
    zz = zz + np.outer(one, one)
    return z, zz, keep @ second @ effect + mean[0] * one


def slow_side(
    ratings: list[list[tuple[int, float]]], others: list[Moments], noise: float, prior: np.ndarray
) -> list[Moments]:
    found = []
    for own in ratings:
        precision, pull = np.diag(1 / prior), np.zeros(len(prior))
        for other, stars in own:
            z, zz, effect_z = multiplier(others[other])
            precision = precision + zz / noise
            pull = pull + (stars * z - effect_z) / noise
        covariance = np.linalg.inv(precision)
        found.append((covariance @ pull, covariance))
    return found


def expected_square(user: Moments, item: Moments, stars: float) -> float:
    """E[(stars - b_u - b_i - p . q)^2], the two being independent, term by term."""
    z, zz, effect_z = multiplier(user)
    mean, covariance = item
    predicted = user[0][0] + z @ mean
    squares = user[0][0] ** 2 + user[1][0, 0] + 2 * effect_z @ mean
    squares += np.trace(zz @ (np.outer(mean, mean) + covariance))
    return stars**2 - 2 * stars * predicted + squares


def mean_squares(beliefs: list[Moments], floor: float) -> np.ndarray:
    squares = [mean**2 + np.diag(covariance) for mean, covariance in beliefs]
    return np.maximum(np.mean(squares, axis=0), floor)


def slow_factors(known: Known, size: int, sweeps: int) -> np.ndarray:
    """Predictions of all pairs, f64[U, I]."""
    mean = float(np.mean(known.value))
    of_user: list[list[tuple[int, float]]] = [[] for _ in range(known.num_users)]
    of_item: list[list[tuple[int, float]]] = [[] for _ in range(known.num_items)]
    for u, i, stars in zip(known.user, known.item, known.value - mean, strict=True):
        of_user[u].append((int(i), float(stars)))
        of_item[i].append((int(u), float(stars)))
    noise = spread = float(np.mean((known.value - mean) ** 2))
    first = small_numbers(known.num_items, size)
    items = [(np.append(0.0, row), np.zeros((1 + size, 1 + size))) for row in first]
    user_prior = np.array([spread / 4] + [1.0] * size)
    item_prior = np.array([spread / 4] + [spread / 4 / size] * size)
    for _ in range(sweeps):
        users = slow_side(of_user, items, noise, user_prior)
        user_prior = mean_squares(users, 1e-9 * spread)
        items = slow_side(of_item, users, noise, item_prior)
        item_prior = mean_squares(items, 1e-9 * spread)
        squares = [
            expected_square(users[u], items[i], stars)
            for u, own in enumerate(of_user)
            for i, stars in own
        ]
        noise = float(np.mean(squares))
    return np.array([[mean + p[0] + q[0] + p[1:] @ q[1:] for q, _ in items] for p, _ in users])


def test_it_agrees_with_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "FACTORS", 3)
    monkeypatch.setattr(factors, "SWEEPS", 4)
    known = known_stars()
    user, item = np.mgrid[: known.num_users, : known.num_items]
    found = factors.fit_factors(known)(user.ravel(), item.ravel()).reshape(user.shape)
    np.testing.assert_allclose(found, slow_factors(known, 3, 4), rtol=1e-8)


def test_the_expected_square_is_that_of_draws() -> None:
    """The twin's own formula, and so the fast one, against sampling."""
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(2):
        root = rng.standard_normal((3, 3)) / 2
        sides.append((rng.standard_normal(3), root @ root.T))
    (b, p), (c, q) = (
        (draws[:, 0], draws[:, 1:])
        for draws in (rng.multivariate_normal(*side, 400_000) for side in sides)
    )
    sampled = np.mean((0.7 - b - c - (p * q).sum(axis=1)) ** 2)
    assert expected_square(sides[0], sides[1], 0.7) == pytest.approx(sampled, rel=0.02)


def test_a_user_and_an_item_without_ratings_have_the_mean() -> None:
    known = known_stars()
    predict = factors.fit_factors(known)
    nobody, nothing = np.array([known.num_users - 1]), np.array([known.num_items - 1])
    assert predict(nobody, nothing) == pytest.approx([known.value.mean()])


@given(st.floats(1, 5))
def test_ratings_that_are_all_alike_are_predicted(stars: float) -> None:
    known = known_stars()
    same = Known(
        known.user, known.item, np.full(len(known.user), stars), known.num_users, known.num_items
    )
    predicted = factors.fit_factors(same)(known.user, known.item)
    np.testing.assert_allclose(predicted, stars, rtol=1e-6)


def test_it_finds_taste_that_bias_only_cannot_see() -> None:
    ratings = load("synthetic")
    split = random_split(len(ratings), 0.05, 0.1, seed=0)
    known = Known.of(ratings, split.train, ratings.rating.astype(np.float64))
    user, item, stars = (a[split.test] for a in (ratings.user, ratings.item, ratings.rating))
    rmse = [
        np.sqrt(np.mean((predict(user, item) - stars) ** 2))
        for predict in (factors.fit_factors(known), bias_only(known))
    ]
    assert rmse[0] < rmse[1] - 0.01
