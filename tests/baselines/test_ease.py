"""EASE against a least-squares problem for each item, whichever Gram matrix is inverted."""

import numpy as np
import pytest
from federations import known_choices

from pfr_jax.baselines import ease
from pfr_jax.baselines.record import Known


def slow_weights(dense: np.ndarray, ridge: float) -> np.ndarray:
    """Every item from all others, by ordinary least squares on a table with the ridge as rows."""
    num_items = dense.shape[1]
    weights = np.zeros((num_items, num_items))
    for j in range(num_items):
        others = [i for i in range(num_items) if i != j]
        table = np.vstack([dense[:, others], ridge**0.5 * np.eye(num_items - 1)])
        wanted = np.append(dense[:, j], np.zeros(num_items - 1))
        weights[others, j] = np.linalg.lstsq(table, wanted, rcond=None)[0]
    return weights


@pytest.mark.parametrize("block", [256, 4])
@pytest.mark.parametrize("form", [ease.by_items, ease.by_users])
def test_it_solves_the_problem(form, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "USERS_PER_BLOCK", block)
    chosen = known_choices().chosen()
    dense = chosen.toarray()
    users = np.array([3, 0, 5])
    expected = (dense @ slow_weights(dense, 2.0))[users]
    np.testing.assert_allclose(form(chosen, 2.0)(users), expected, atol=1e-9)


@pytest.mark.parametrize("num_items", [9, 40])
def test_the_smaller_matrix_is_inverted(num_items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    known = known_choices()
    wide = Known(known.user % 20, known.item % 9, known.value, 20, num_items)
    sizes = []
    inverse = ease._inverse
    monkeypatch.setattr(
        ease, "_inverse", lambda gram, ridge: sizes.append(len(gram)) or inverse(gram, ridge)
    )
    ease.fit(wide, ridge=1.0)
    assert sizes == [min(20, num_items)]


def test_by_hand() -> None:
    """Two items, chosen together by one user, and item 0 alone by another. X'X = [[2, 1], [1, 1]];
    the weight of one item in the other is 1 / (2 + 1), 1 / (1 + 1) with a ridge of 1."""
    known = Known(np.array([0, 0, 1]), np.array([0, 1, 0]), np.ones(3), 3, 2)
    scores = ease.fit(known, ridge=1.0)(np.arange(3))
    np.testing.assert_allclose(scores[:2], [[1 / 2, 1 / 3], [0, 1 / 3]], atol=1e-12)
    np.testing.assert_allclose(scores[2], [2 / 3, 1 / 3])  # chose nothing: popularity


def test_what_does_not_fit_is_said() -> None:
    assert "12,000" in ease.too_large(20_000, 12_001)
    assert ease.too_large(100_000, 12_000) == ease.too_large(12_000, 100_000) == ""
