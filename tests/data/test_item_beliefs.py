"""What a server believes of items: against what was planted, and weights against other weights."""

import numpy as np
import pytest

from pfr_jax.data.item_beliefs import Belief, Release, believe

ITEMS, NOISE, COUNT_NOISE = 4_000, 3.0, 8.0


def planted(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Counts and effects: popular items are liked."""
    count = np.exp(random.normal(1.5, 1.5, ITEMS))
    return count, -0.3 + 0.15 * np.log(count) + random.normal(0, 0.4, ITEMS)


def released(
    count: np.ndarray,
    effect: np.ndarray,
    taken: np.ndarray,
    weight: np.ndarray,
    random: np.random.Generator,
) -> Release:
    residual = weight * count * (effect - taken) + NOISE * random.normal(size=ITEMS)
    counts = weight * count + COUNT_NOISE * random.normal(size=ITEMS)
    return Release(weight, taken, residual, counts)


def test_beliefs_are_as_sure_as_they_may_be() -> None:
    random = np.random.default_rng(0)
    count, effect = planted(random)
    first = released(count, effect, np.zeros(ITEMS), np.ones(ITEMS), random)
    # As many clients as leave no chance in what raters say.
    once = believe([first], NOISE, COUNT_NOISE, num_clients=0)
    weight = once.next_weight(1 / NOISE**2, 0.3, 8.0)
    second = released(count, effect, once.effect, weight, random)
    twice = believe([first, second], NOISE, COUNT_NOISE, num_clients=0)
    for found in (once, twice):
        error = found.effect - effect
        assert np.mean(error**2) == pytest.approx(found.variance.mean(), rel=0.1)
        assert np.mean(error**2 / found.variance) == pytest.approx(1, abs=0.1)
    assert np.mean((twice.effect - effect) ** 2) < np.mean((once.effect - effect) ** 2)
    # Better than to divide the sums, shrunken by the true variance.
    total = np.maximum(first.count, 0)
    naive = total * first.residual / (total**2 + NOISE**2 / np.var(effect))
    assert np.mean((once.effect - effect) ** 2) < 0.85 * np.mean((naive - effect) ** 2)


def test_chance_in_ratings_is_not_believed() -> None:
    """With little noise shrinkage is variance / (variance + chance), also after four releases."""
    random = np.random.default_rng(1)
    count = np.full(ITEMS, 4.0)
    effect = random.normal(0, 0.5, ITEMS)
    said = effect + random.normal(0, 0.5, ITEMS)
    # Its variance is clients / sum of counts / count = 0.25.
    clients = round(0.25 * 4 * count.sum())
    releases = []
    for _ in range(4):
        residual = count * said + 0.01 * random.normal(size=ITEMS)
        counts = count + 0.02 * random.normal(size=ITEMS)
        releases.append(Release(np.ones(ITEMS), np.zeros(ITEMS), residual, counts))
    found = believe(releases, 0.01, 0.02, clients)
    slope = np.polyfit(said, found.effect, 1)[0]
    assert slope == pytest.approx(0.5, abs=0.04)
    assert np.mean((found.effect - effect) ** 2) == pytest.approx(0.125, rel=0.06)


def test_no_other_weights_are_better() -> None:
    """Those that spend as much leave a larger squared error, which is the sum of B / precision."""
    random = np.random.default_rng(2)
    count = np.exp(random.normal(1, 1.5, 50))
    variance = random.uniform(0.05, 0.3, 50)
    belief, budget = Belief(np.zeros(50), variance, count), 0.01
    best = belief.next_weight(budget, 0.0, np.inf)
    spent = np.sum(best**2 * count)
    assert spent == pytest.approx(count.sum())

    def error(weight: np.ndarray) -> float:
        return float(np.sum(count / (1 / variance + budget * (weight * count) ** 2)))

    for _ in range(200):
        other = best * np.exp(0.2 * random.normal(size=50)) + 0.05 * (random.random(50) < 0.1)
        other *= np.sqrt(spent / np.sum(other**2 * count))
        assert error(other) > error(best)
    assert error(best) < 0.95 * error(np.ones(50))
    clipped = belief.next_weight(budget, 0.3, 1.2)
    np.testing.assert_array_equal(clipped, np.clip(best, 0.3, 1.2))


def test_one_factor_is_heard_in_the_counts() -> None:
    random = np.random.default_rng(3)
    count, weight = np.exp(random.normal(1, 1, ITEMS)), random.uniform(0.3, 3, ITEMS)
    belief = Belief(np.zeros(ITEMS), np.ones(ITEMS), count)
    heard = belief.heard(weight, 1.25 * weight * count + random.normal(size=ITEMS))
    np.testing.assert_allclose(heard, 1.25 * weight, rtol=0.01)
    assert (belief.heard(weight, -count) > 0).all()  # whatever the noise says
