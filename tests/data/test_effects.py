"""Effects of users and items whose shrinkage is learned: by loops, and where it is known."""

import numpy as np
import pytest

from pfr_jax.data.effects import ITEM_SHRINKAGE, SWEEPS, USER_SHRINKAGE, Residuals, adaptive_effects


def slow_effects(rows: list[tuple[int, int, float]]) -> tuple[dict, dict, float, float]:
    """Mean-field expectation maximisation by loops over lists, in precisions."""
    users, items = {u for u, _, _ in rows}, {i for _, i, _ in rows}
    of_user, of_item = dict.fromkeys(users, 0.0), dict.fromkeys(items, 0.0)
    noise = sum(r * r for _, _, r in rows) / len(rows)
    prior_user, prior_item = noise / USER_SHRINKAGE, noise / ITEM_SHRINKAGE  # variances
    for _ in range(SWEEPS):
        var_user, var_item = {}, {}
        for i in items:
            rest = [r - of_user[u] for u, item, r in rows if item == i]
            var_item[i] = 1 / (len(rest) / noise + 1 / prior_item)
            of_item[i] = var_item[i] * sum(rest) / noise
        for u in users:
            rest = [r - of_item[i] for user, i, r in rows if user == u]
            var_user[u] = 1 / (len(rest) / noise + 1 / prior_user)
            of_user[u] = var_user[u] * sum(rest) / noise
        squared = [
            (r - of_user[u] - of_item[i]) ** 2 + var_user[u] + var_item[i] for u, i, r in rows
        ]
        noise = sum(squared) / len(rows)
        prior_user = sum(of_user[u] ** 2 + var_user[u] for u in users) / len(users)
        prior_item = sum(of_item[i] ** 2 + var_item[i] for i in items) / len(items)
    for u in users:  # once more, with the variances found last
        rest = [r - of_item[i] for user, i, r in rows if user == u]
        of_user[u] = sum(rest) / (len(rest) + noise / prior_user)
    return of_user, of_item, noise / prior_user, noise / prior_item


@pytest.mark.parametrize("in_order", [False, True])
def test_they_agree_with_loops(in_order: bool) -> None:
    random = np.random.default_rng(0)
    drawn = random.choice(12 * 9, 60, replace=False)
    user, item = np.divmod(np.sort(drawn) if in_order else drawn, 9)
    residual = random.normal(size=60) + 0.5 * user - 0.2 * item
    # Two users and an item have nothing.
    found = adaptive_effects(Residuals.of(user, item, residual, 14, 10))
    slow = slow_effects(list(zip(user.tolist(), item.tolist(), residual.tolist(), strict=True)))
    expected_user, expected_item, user_shrinkage, item_shrinkage = slow
    for index in range(14):
        assert found.user[index] == pytest.approx(expected_user.get(index, 0.0), rel=1e-10)
    for index in range(10):
        assert found.item[index] == pytest.approx(expected_item.get(index, 0.0), rel=1e-10)
    assert found.user_shrinkage == pytest.approx(user_shrinkage)
    assert found.item_shrinkage == pytest.approx(item_shrinkage)


@pytest.mark.parametrize(("spread_user", "spread_item"), [(2.0, 0.5), (0.5, 2.0)])
def test_they_find_the_shrinkage_that_was_planted(spread_user: float, spread_item: float) -> None:
    """noise variance / effects' variance, from 300 x 200 pairs of which a quarter is seen."""
    random = np.random.default_rng(1)
    seen = random.random((300, 200)) < 0.25
    user, item = np.nonzero(seen)
    effects = random.normal(size=300) * spread_user, random.normal(size=200) * spread_item
    residual = effects[0][user] + effects[1][item] + random.normal(size=len(user))
    found = adaptive_effects(Residuals.of(user, item, residual - residual.mean(), 300, 200))
    assert found.user_shrinkage == pytest.approx(1 / spread_user**2, rel=0.2)
    assert found.item_shrinkage == pytest.approx(1 / spread_item**2, rel=0.2)


def test_a_pair_that_is_there_twice_counts_twice() -> None:
    user, item, residual = np.array([0, 0, 1]), np.array([1, 1, 0]), np.array([1.0, 2.0, 4.0])
    found = Residuals.of(user, item, residual, 3, 2)
    assert found.users.count.tolist() == [2, 1, 0] and found.items.count.tolist() == [1, 2]
    assert found.users.total.tolist() == [3, 4, 0]
    assert found.users.left(np.array([1.0, 0.5])).tolist() == [2, 3, 0]


def test_nothing_to_explain() -> None:
    pairs = np.array([0, 0, 1]), np.array([0, 1, 0])
    found = adaptive_effects(Residuals.of(*pairs, np.zeros(3), 2, 2))
    assert not found.user.any() and not found.item.any()
    assert np.isfinite([found.user_shrinkage, found.item_shrinkage]).all()


def test_what_is_noise_is_shrunk_away() -> None:
    """Items differ, users do not: theirs is shrunk by more ratings than they have."""
    random = np.random.default_rng(2)
    user, item = np.nonzero(random.random((200, 40)) < 0.3)
    residual = np.linspace(-1, 1, 40)[item] + random.normal(size=len(user))
    found = adaptive_effects(Residuals.of(user, item, residual - residual.mean(), 200, 40))
    assert found.item_shrinkage < 5 and found.user_shrinkage > 25
