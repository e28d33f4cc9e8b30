"""Implicit least squares against the weighted problem of each user and item, written out."""

import numpy as np
import pytest
from federations import known_choices

from pfr_jax.baselines import ials
from pfr_jax.baselines.record import small_numbers


def slow_side(dense: np.ndarray, other: np.ndarray, ridge: float) -> np.ndarray:
    """Per row: ordinary least squares over all columns, weighted by roots, the ridge as rows."""
    found = []
    for wanted in dense:
        root = np.sqrt(1 + 10 * wanted)
        table = np.vstack([root[:, None] * other, ridge**0.5 * np.eye(other.shape[1])])
        right = np.append(root * wanted, np.zeros(other.shape[1]))
        found.append(np.linalg.lstsq(table, right, rcond=None)[0])
    return np.array(found)


@pytest.mark.parametrize("block", [2048, 4])
def test_it_agrees_with_the_problem_written_out(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ials, "FACTORS", 3)
    monkeypatch.setattr(ials, "ROWS_PER_BLOCK", block)
    known = known_choices()
    dense = known.chosen().toarray()
    item = small_numbers(known.num_items, 3)
    for _ in range(ials.SWEEPS):
        user = slow_side(dense, item, 2.0)
        item = slow_side(dense.T, user, 2.0)
    users = np.flatnonzero(dense.any(axis=1))
    found = ials.fit(known, ridge=2.0)(users)
    np.testing.assert_allclose(found, (user @ item.T)[users], atol=1e-8)


def test_who_chose_nothing_gets_popularity() -> None:
    known = known_choices()
    counts = known.chosen().sum(axis=0)
    scores = ials.fit(known, ridge=2.0)(np.array([known.num_users - 1]))
    np.testing.assert_allclose(scores[0], counts / counts.sum())
