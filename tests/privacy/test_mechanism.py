"""The Gaussian mechanism on the arrays that the server receives: sensitivity, noise, cohorts."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from federations import COHORT, leaves_by_name, small_simulation
from hypothesis import given, settings
from hypothesis import strategies as st

from pfr_jax.algorithms import federated
from pfr_jax.models.item_rows import of_items
from pfr_jax.privacy.mechanism import Mechanism
from pfr_jax.server import CohortSum, ServerState
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.participation import poisson_cohort
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import seed_keys

CLIP, BIAS, HIDDEN = 0.05, 2.0, 0.5
WEIGHTS = {"upload_clip": CLIP, "bias_weight": BIAS, "hidden_weight": HIDDEN}
PRIVATE = {
    "upload": "dp",
    "denominator": "expected",
    "sampling": "poisson",
    "noise_multiplier": 0.0,
    "client_learning_rate": 3.0,  # so that some clients are clipped, and others not
    "clip_norm": 0.0,
    **WEIGHTS,
}


def private(**changes: Any) -> Simulation:
    return small_simulation(**{**PRIVATE, **changes})


@pytest.fixture
def keep_sums(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rounds whose new server state is what the server was told."""

    def keep(state: ServerState, total: CohortSum, *_: Any) -> ServerState:
        return ServerState(total, state.opt_state, state.clip)

    monkeypatch.setattr(federated, "server_step", keep)
    yield


def told(simulation: Simulation, clients: np.ndarray, round: int = 0) -> CohortSum:
    """What the server is told of a first round of these clients."""
    population, state = simulation.population, initial_state(simulation)
    cohort = population.cohort(clients, simulation.federation.block_sizes, population.num_clients)
    key = jax.random.fold_in(seed_keys(0)[1], round)
    return jax.jit(simulation.algorithm.round)(state, population.buckets, cohort, key)[
        0
    ].server.shared


def weighted_norm(simulation: Simulation, a: CohortSum, b: CohortSum) -> float:
    """Of the difference of two sums; the weights written down once more."""
    squares = 0.0
    for name, leaf in leaves_by_name(a.delta).items():
        weight = HIDDEN
        if of_items(name):
            weight = 1.0 if name.endswith("item_kernel") else BIAS
        other = leaves_by_name(b.delta)[name]
        squares += float(np.square(weight * (leaf.astype(np.float64) - other)).sum())
    return float(np.sqrt(squares))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"engine": "active_rows"},
        pytest.param({"members": 2}, marks=pytest.mark.slow),
        pytest.param({"algorithm": "fedavg"}, marks=pytest.mark.slow),
        {"deterministic_sum": True},
        {"algorithm": "fedalt", "private_epochs": 2},  # the recipe's
        pytest.param({"partial_compression": False}, marks=pytest.mark.slow),
        pytest.param({"num_clients": 6, "cohort_fraction": 1.0}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_no_client_moves_the_sum_by_more_than_the_clip(
    keep_sums: None, changes: dict[str, Any]
) -> None:
    """Brute force: every client left out once, all groups of numbers together."""
    simulation = private(**changes)
    clients = simulation.population.trainable
    whole = told(simulation, clients)
    moved = [
        weighted_norm(simulation, whole, told(simulation, np.delete(clients, at)))
        for at in range(len(clients))
    ]
    assert max(moved) <= CLIP * (1 + 1e-5)
    assert max(moved) > 0.95 * CLIP  # it does clip
    assert whole.holders is None and float(whole.clients) == pytest.approx(
        simulation.config.run.cohort_fraction * len(clients)
    )


@pytest.mark.slow
def test_absurd_clients_do_not_move_it_either(keep_sums: None) -> None:
    """Changes that overflow are not taken; huge ones are clipped."""
    for rate in (1e3, 1e30):
        simulation = private(client_learning_rate=rate)
        clients = simulation.population.trainable
        whole = told(simulation, clients)
        for at in (0, len(clients) - 1):
            less = told(simulation, np.delete(clients, at))
            assert weighted_norm(simulation, whole, less) <= CLIP * (1 + 1e-5)


CHANGES = st.lists(
    st.floats(-1e6, 1e6, width=32) | st.just(0.0) | st.sampled_from([1e-30, -1e-6]),
    min_size=11,
    max_size=11,
)


@settings(max_examples=60, deadline=None)
@given(CHANGES, st.sampled_from([None, 2.0**12, 2.0**20]), st.integers(0, 3))
def test_worst_case_of_one_client(
    numbers: list[float], fixed_point: float | None, rows: int
) -> None:
    """Any change at all, also after rounding to the fixed point; padding rows count nothing."""
    mechanism = Mechanism(1.0, 0.0, BIAS, HIDDEN, fixed_point=fixed_point)
    flat = np.array(numbers, np.float32)
    delta = {
        "output": {"item_kernel": flat[:6].reshape(3, 2), "item_bias": flat[6:9]},
        "norm": {"scale": flat[9:]},
    }
    clipped, within = mechanism.clipped(delta, np.arange(3) < rows, np.float32(0.7))
    weights = np.repeat([1.0, BIAS, HIDDEN], [6, 3, 2])
    order = ("output/item_kernel", "output/item_bias", "norm/scale")
    sent = np.concatenate([leaves_by_name(clipped)[name].reshape(-1) for name in order])
    if fixed_point:
        sent = np.round(sent.astype(np.float64) * fixed_point) / fixed_point
    assert np.linalg.norm(weights * sent.astype(np.float64)) <= 0.7
    real = np.concatenate([np.repeat(np.arange(3) < rows, 2), np.arange(3) < rows, [True, True]])
    assert not sent[~real].any()
    exact = np.linalg.norm(weights * np.where(real, flat, 0).astype(np.float64))
    if abs(exact - 0.7) > 1e-4:
        assert float(within) == (exact < 0.7)


def test_noise_is_as_large_as_paid_for(keep_sums: None) -> None:
    """On the arrays that the server receives, by group; the same key gives the same noise."""
    clients = private().population.trainable
    clean, noisy = private(), private(noise_multiplier=3.0)
    before, after = told(clean, clients), told(noisy, clients)
    again, other = told(noisy, clients), told(noisy, clients, round=1)
    jax.tree.map(np.testing.assert_array_equal, after, again)
    many = [told(noisy, clients, round) for round in range(40)]
    none = [told(clean, clients, round) for round in range(40)]
    for name, leaf in leaves_by_name(before.delta).items():
        weight = HIDDEN
        if of_items(name):
            weight = 1.0 if name.endswith("item_kernel") else BIAS
        noise = np.stack(
            [
                leaves_by_name(a.delta)[name] - leaves_by_name(b.delta)[name]
                for a, b in zip(many, none, strict=True)
            ]
        )
        assert noise.std() == pytest.approx(3.0 * CLIP / weight, rel=6 / np.sqrt(noise.size)), name
        assert abs(noise.mean()) < 5 * noise.std() / np.sqrt(noise.size)
        assert (leaf != leaves_by_name(other.delta)[name]).all()


def test_groups_without_weight_stay_at_home(keep_sums: None) -> None:
    simulation = private(bias_weight=0.0, hidden_weight=0.0, noise_multiplier=1.0)
    sums = leaves_by_name(told(simulation, simulation.population.trainable).delta)
    still = {name for name, leaf in sums.items() if not leaf.any()}
    assert still == {name for name in sums if not name.endswith("item_kernel")}


@pytest.mark.slow
def test_a_wide_clip_without_noise_is_the_plain_federation() -> None:
    """And both engines agree with noise."""

    def after(**changes: Any) -> dict[str, np.ndarray]:
        simulation = small_simulation(**changes)
        state = initial_state(simulation)
        for round in range(2):
            cohort = simulation.population.cohort(COHORT, simulation.federation.block_sizes)
            key = jax.random.fold_in(seed_keys(0)[1], round)
            state, _ = jax.jit(simulation.algorithm.round)(state, simulation.data, cohort, key)
        return leaves_by_name(state.server.shared)

    wide = {"upload": "dp", "noise_multiplier": 0.0, "upload_clip": 1e6, "sampling": "poisson"}
    both = {"denominator": "expected"}
    plain, clipped = after(**both), after(**both, **wide, bias_weight=1.0, hidden_weight=1.0)
    noisy = {**PRIVATE, "noise_multiplier": 0.5}
    pairs = [(plain, clipped), (after(**noisy), after(**noisy, engine="active_rows"))]
    for a, b in pairs:
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_the_norm_follows_the_quantile() -> None:
    """Without noise on the counts, half of the clients end within it."""
    simulation = private(
        clip_quantile=0.5,
        upload_clip=100.0,
        cohort_fraction=1.0,
        client_learning_rate=0.1,
        server_learning_rate=1e-6,
        schedule="constant",
    )
    state, population = initial_state(simulation), simulation.population
    cohort = population.cohort(population.trainable, simulation.federation.block_sizes)
    step = jax.jit(simulation.algorithm.round)
    clips = []
    for round in range(130):
        key = jax.random.fold_in(seed_keys(0)[1], round)
        state, _ = step(state, simulation.data, cohort, key)
        clips.append(float(state.server.clip))
    assert clips[0] == pytest.approx(100 * np.exp(-0.2 * 0.5))
    assert clips[-1] < 20 and np.ptp(np.log(clips[-15:])) < 0.7


@pytest.mark.parametrize(("chance", "room"), [(0.1, 139), (0.5, 595), (0.9, 1000)])
def test_every_client_is_in_a_cohort_by_itself(chance: float, room: int) -> None:
    """Rates of clients, of pairs of them and sizes of cohorts are those of coins."""
    rounds, clients = 600, 1000
    drawn = np.zeros((rounds, clients))
    for round in range(rounds):
        cohort = poisson_cohort(clients, chance, room, 0, round)
        assert len(set(cohort.tolist())) == len(cohort) <= room
        drawn[round, cohort] = 1
    rate = drawn.mean(axis=0)
    spread = np.sqrt(chance * (1 - chance) / rounds)
    assert abs(rate - chance).max() < 5 * spread
    assert rate.std() == pytest.approx(spread, rel=0.15)
    sizes = drawn.sum(axis=1)
    assert sizes.std() == pytest.approx(np.sqrt(clients * chance * (1 - chance)), rel=0.15)
    together = (drawn[:, ::2] * drawn[:, 1::2]).mean()
    assert together == pytest.approx(chance**2, abs=6 * chance / np.sqrt(rounds * clients / 2))


def test_a_cohort_that_is_too_large_is_cut_at_random() -> None:
    cut = [poisson_cohort(200, 0.5, 50, 0, round) for round in range(400)]
    assert {len(cohort) for cohort in cut} == {50}
    counts = np.bincount(np.concatenate(cut), minlength=200)
    assert counts.std() < 2 * np.sqrt(100 * 0.75)
