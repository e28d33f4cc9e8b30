"""Nearest neighbours against loops over lists, and by hand."""

import numpy as np
import pytest
from federations import known_choices, known_stars
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.baselines import neighbours
from pfr_jax.baselines.effects import bias_only
from pfr_jax.baselines.record import Known


def slow_stars(known: Known, user: int, item: int, damping: float, nearest: int) -> float:
    """One prediction, by the formula."""
    bias = bias_only(known)
    left: dict[int, dict[int, float]] = {i: {} for i in range(known.num_items)}
    for u, i, stars in zip(known.user, known.item, known.value, strict=True):
        left[i][u] = stars - float(bias(np.array([u]), np.array([i]))[0])
    found = []
    for other in range(known.num_items):
        if other == item or user not in left[other]:
            continue
        common = left[item].keys() & left[other].keys()
        product = sum(left[item][u] * left[other][u] for u in common)
        norms = sum(left[item][u] ** 2 for u in common) * sum(left[other][u] ** 2 for u in common)
        correlation = product / norms**0.5 if norms > 0 else 0.0
        similarity = max(0.0, correlation * len(common) / (len(common) + 100))
        found.append((similarity, -other))
    best = [(weight, left[-other][user]) for weight, other in sorted(found, reverse=True)[:nearest]]
    total, weights = sum(w * r for w, r in best), sum(w for w, _ in best)
    return float(bias(np.array([user]), np.array([item]))[0]) + total / (weights + damping)


@pytest.mark.parametrize(("nearest", "block"), [(40, 512), (2, 7)])
def test_stars_agree_with_loops(nearest: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "NEIGHBOURS_OF_STARS", nearest)
    monkeypatch.setattr(neighbours, "PAIRS_PER_BLOCK", block)
    known = known_stars()
    user, item = (axis.ravel() for axis in np.mgrid[: known.num_users, : known.num_items])
    found = neighbours.fit_stars(known, damping=0.1)(user, item)
    pairs = zip(user.tolist(), item.tolist(), strict=True)
    expected = [slow_stars(known, u, i, 0.1, nearest) for u, i in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_user_or_item_without_ratings_has_what_bias_only_says() -> None:
    known = known_stars()
    user, item = np.array([known.num_users - 1, 0]), np.array([0, known.num_items - 1])
    found = neighbours.fit_stars(known, damping=0.5)(user, item)
    np.testing.assert_array_equal(found, bias_only(known)(user, item))


def slow_choices(known: Known, nearest: int) -> np.ndarray:
    """Scores of all pairs but for the order among items without a chosen neighbour."""
    users: list[set[int]] = [set() for _ in range(known.num_items)]
    items: list[set[int]] = [set() for _ in range(known.num_users)]
    for u, i, value in zip(known.user, known.item, known.value, strict=True):
        if value:
            users[i].add(int(u))
            items[u].add(int(i))
    scores = np.zeros((known.num_users, known.num_items))
    for i in range(known.num_items):
        cosine = [
            len(users[i] & users[j]) / ((len(users[i]) * len(users[j])) ** 0.5 + 10)
            if j != i
            else 0
            for j in range(known.num_items)
        ]
        last = sorted(cosine, reverse=True)[min(nearest, known.num_items) - 1]
        for u in range(known.num_users):
            scores[u, i] = sum(cosine[j] for j in items[u] if cosine[j] >= last)
    return scores


@pytest.mark.parametrize(("nearest", "block"), [(100, 512), (3, 4)])
def test_choices_agree_with_loops(
    nearest: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "NEIGHBOURS_OF_CHOICES", nearest)
    monkeypatch.setattr(neighbours, "ITEMS_PER_BLOCK", block)
    known = known_choices()
    found = neighbours.fit_choices(known)(np.arange(known.num_users))
    expected = slow_choices(known, nearest)
    counts = np.bincount(known.item, known.value, minlength=known.num_items)
    np.testing.assert_allclose(found, expected + 1e-6 * counts / counts.sum(), rtol=1e-10)


def test_choices_by_hand() -> None:
    """Users 0 and 1 chose items 0 and 1; user 2 chose item 0 and disliked item 2."""
    user, item = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 0, 2])
    known = Known(user, item, np.array([1.0, 1, 1, 1, 1, 0]), 4, 3)
    found = neighbours.fit_choices(known)(np.array([2, 3]))
    cosine = 2 / (6**0.5 + 10)
    popular = 1e-6 * np.array([3, 2, 0]) / 5
    np.testing.assert_allclose(found, [popular + [0, cosine, 0], popular], rtol=1e-12)


@given(st.integers(0, 1000), st.sampled_from([20.0, 0.25]), st.floats(-5, 5))
def test_another_unit_of_stars_is_the_same_prediction(seed: int, times: float, plus: float) -> None:
    known = known_stars(seed)
    other = Known(
        known.user, known.item, known.value * times + plus, known.num_users, known.num_items
    )
    pairs = np.arange(6), np.arange(6)
    one, two = (neighbours.fit_stars(some, 0.5)(*pairs) for some in (known, other))
    np.testing.assert_allclose(two, one * times + plus, rtol=1e-8, atol=1e-8)
