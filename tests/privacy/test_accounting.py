"""Costs against dp-accounting called by hand and Gaussian privacy's closed form; found noise."""

import builtins
import json
import math
from dataclasses import replace

import dp_accounting
import pytest
from dp_accounting import pld
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from pfr_jax.errors import InputError
from pfr_jax.privacy.accounting import Plan, epsilon_after, facts, find_plan
from pfr_jax.seeding import cohort_size

# clients, rate, capacity, rounds, noise of sums, of counts, releases, their noise, delta
PLANS = [
    Plan(6040, 0.1, 715, 800, 2.0, 0.0, 0, 0.0, 6040**-1.1),
    Plan(6040, 0.1, 715, 800, 9.34, 0.0, 0, 0.0, 6040**-1.1),
    Plan(6040, 0.1, 715, 800, 4.0, 60.4, 3, 3.0, 6040**-1.1),
    Plan(6040, 0.1, 715, 800, 4.0, 12.0, 3, 3.0, 6040**-1.1),
    Plan(6040, 0.02, 159, 300, 1.5, 0.0, 1, 8.0, 1e-5),
    Plan(6040, 0.02, 125, 300, 1.5, 0.0, 1, 8.0, 1e-5),  # cut so often that it matters
    Plan(6040, 1.0, 6040, 50, 20.0, 0.0, 0, 0.0, 1e-5),
    Plan(6040, 1.0, 6040, 50, 20.0, 604.0, 3, 5.0, 1e-5),
    Plan(943, 0.1, 129, 100, 3.0, 0.0, 0, 0.0, 943**-1.1),
    Plan(943, 0.1, 129, 100, 3.0, 9.43, 3, 9.0, 943**-1.1),
    Plan(943, 0.5, 563, 20, 5.0, 0.0, 2, 4.0, 1e-4),
    Plan(943, 0.01, 31, 1000, 1.0, 3.0, 1, 6.0, 1e-4),
    Plan(69878, 0.01, 824, 800, 2.0, 0.0, 0, 0.0, 69878**-1.1),
    Plan(69878, 0.01, 824, 800, 1.36, 69.9, 3, 12.0, 69878**-1.1),
    Plan(69878, 0.1, 8056, 800, 3.3, 0.0, 3, 4.0, 69878**-1.1),
    Plan(69878, 0.1, 8056, 1, 3.3, 0.0, 3, 4.0, 69878**-1.1),
    Plan(100, 0.5, 78, 10, 3.0, 0.0, 0, 0.0, 1e-3),
    Plan(100, 0.05, 26, 10, 1.0, 3.0, 1, 2.0, 1e-3),
    Plan(138493, 0.005, 817, 5000, 1.9, 69.0, 3, 13.0, 138493**-1.1),
    Plan(138493, 1.0, 138493, 5000, 300.0, 0.0, 0, 0.0, 138493**-1.1),
]
SLOW = {0, 3, 4, 5, 8, 9, 11, 12, 13, 16, 17, 18}  # a second or more


def by_hand(plan: Plan) -> float:
    accountant = pld.PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    noise = plan.noise_multiplier
    if plan.quantile_multiplier:
        noise = (noise**-2 + plan.quantile_multiplier**-2) ** -0.5
    one_round: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(noise)
    if plan.rate < 1:
        one_round = dp_accounting.TruncatedSubsampledGaussianDpEvent(
            dataset_size=plan.clients,
            sampling_probability=plan.rate,
            truncated_batch_size=plan.capacity,
            noise_multiplier=noise,
        )
    accountant.compose(dp_accounting.SelfComposedDpEvent(one_round, plan.rounds))
    for _ in range(plan.releases):
        accountant.compose(dp_accounting.GaussianDpEvent(plan.release_multiplier))
    return accountant.get_epsilon(plan.delta)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Of mu-Gaussian privacy: Dong, Roth and Su 2019, Corollary 1 (2.13 of the journal)."""

    def excess(epsilon: float) -> float:
        first = norm.cdf(-epsilon / mu + mu / 2)
        return first - math.exp(epsilon + norm.logcdf(-epsilon / mu - mu / 2)) - delta

    return brentq(excess, 0, mu**2 + 20 * mu, xtol=1e-10)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(plan, marks=pytest.mark.slow if place in SLOW else ())
        for place, plan in enumerate(PLANS)
    ],
)
def test_equals_dp_accounting_by_hand(plan: Plan) -> None:
    assert epsilon_after(plan, plan.rounds) == pytest.approx(by_hand(plan), abs=1e-3)


@pytest.mark.slow
def test_equals_dp_accounting_where_little_noise_widens_the_steps() -> None:
    plan = Plan(69878, 0.01, 824, 800, 0.58, 0.0, 3, 2.0, 69878**-1.1)
    assert epsilon_after(plan, plan.rounds) == pytest.approx(by_hand(plan), abs=1e-3)


@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan.rate == 1])
def test_of_everybody_equals_the_closed_form(plan: Plan) -> None:
    squares = [plan.rounds / plan.noise_multiplier**2]
    if plan.quantile_multiplier:
        squares.append(plan.rounds / plan.quantile_multiplier**2)
    if plan.releases:
        squares.append(plan.releases / plan.release_multiplier**2)
    expected = gaussian_epsilon(math.sqrt(sum(squares)), plan.delta)
    assert epsilon_after(plan, plan.rounds) == pytest.approx(expected, abs=1e-3)


def test_a_round_in_numbers() -> None:
    """ML-1M's figure for Poisson cohorts of a tenth, from before this code."""
    assert epsilon_after(PLANS[0], 800) == pytest.approx(6.51, abs=0.005)
    assert cohort_size(6040, 0.1, "poisson") == 715  # 1.15 x 604 is 694.6
    assert cohort_size(100, 0.9, "poisson") == 100
    assert cohort_size(943, 1, "poisson") == 943
    assert Plan(1, 1, 1, 1, 3.0, 4.0, 0, 0.0, 0.1).round_multiplier == pytest.approx(2.4)


@pytest.mark.parametrize("quantile", [False, True])
@pytest.mark.parametrize("releases", [0, 3])
@pytest.mark.parametrize(
    ("clients", "rate", "rounds", "epsilon"),
    [
        (6040, 0.1, 800, 1.0),
        (943, 0.1, 100, 0.1),
        (943, 1.0, 100, 4.0),
        pytest.param(6040, 0.1, 800, 8.0, marks=pytest.mark.slow),
        pytest.param(69878, 0.01, 800, 1.0, marks=pytest.mark.slow),
        pytest.param(69878, 0.01, 800, 8.0, marks=pytest.mark.slow),
        pytest.param(138493, 0.005, 5000, 4.0, marks=pytest.mark.slow),
        pytest.param(100, 0.5, 10, 30.0, marks=pytest.mark.slow),
        pytest.param(943, 1.0, 1, 0.01, marks=pytest.mark.slow),
    ],
)
def test_found_noise_costs_what_was_given(
    clients: int, rate: float, rounds: int, epsilon: float, releases: int, quantile: bool
) -> None:
    plan = find_plan(
        clients=clients,
        rate=rate,
        rounds=rounds,
        releases=releases,
        share=0.3,
        epsilon=epsilon,
        quantile=quantile,
    )
    assert 0.99 * epsilon <= epsilon_after(plan, rounds) <= epsilon
    assert plan.delta == clients**-1.1
    if releases:  # 0.3 of the squared mu of the Gaussian with this cost
        mu_squared = releases / plan.release_multiplier**2
        assert gaussian_epsilon(math.sqrt(mu_squared / 0.3), plan.delta) == pytest.approx(epsilon)
    else:
        assert plan.release_multiplier == 0
    if not quantile:
        assert plan.quantile_multiplier == 0
        return
    most = plan.round_multiplier**2 / plan.quantile_multiplier**2
    assert most <= 0.1 + 1e-9
    assert plan.quantile_multiplier >= rate * clients / 10
    assert most == pytest.approx(0.1) or plan.quantile_multiplier == rate * clients / 10


@pytest.mark.parametrize("quantile", [False, True])
def test_noise_given_is_noise_found(quantile: bool) -> None:
    """Both ways of asking for a run lead to nearly the same one."""
    setting = dict(clients=943, rate=0.1, rounds=100, releases=3, share=0.3, quantile=quantile)
    found = find_plan(**setting, epsilon=1.0)  # type: ignore[arg-type]
    given_back = find_plan(**setting, noise_multiplier=found.noise_multiplier)  # type: ignore[arg-type]
    assert given_back.release_multiplier == pytest.approx(found.release_multiplier, rel=0.01)
    assert given_back.quantile_multiplier == pytest.approx(found.quantile_multiplier)
    assert replace(given_back, release_multiplier=0.0, quantile_multiplier=0.0) == replace(
        found, release_multiplier=0.0, quantile_multiplier=0.0
    )


@settings(max_examples=3)
@given(
    st.integers(300, 5000),
    st.sampled_from([0.05, 0.3, 1.0]),
    st.integers(1, 100),
    st.floats(8.0, 30.0),
    st.integers(0, 3),
)
def test_more_is_dearer(
    clients: int, rate: float, rounds: int, noise: float, releases: int
) -> None:
    plan = Plan(
        clients,
        rate,
        cohort_size(clients, rate, "poisson"),
        rounds,
        noise,
        0.0,
        releases,
        5.0,
        clients**-1.1,
    )
    cost = epsilon_after(plan, rounds)
    assert 0 <= epsilon_after(plan, rounds - 1) <= cost <= epsilon_after(plan, 2 * rounds)
    rounding = 1e-4
    for dearer in (
        replace(plan, noise_multiplier=noise / 1.5),
        replace(plan, quantile_multiplier=10.0),
        replace(plan, releases=releases + 1),
        replace(plan, release_multiplier=4.0),
        replace(plan, delta=plan.delta / 10),
        replace(plan, rate=min(1.0, 2 * rate), capacity=clients),
    ):
        assert epsilon_after(dearer, rounds) >= cost - rounding


def test_more_rounds_cost_more() -> None:
    costs = [epsilon_after(PLANS[9], rounds) for rounds in (0, 1, 10, 100, 200)]
    assert costs == sorted(set(costs))
    assert costs[0] > 0  # the releases
    assert epsilon_after(replace(PLANS[9], releases=0), 0) == 0


def test_without_noise_there_is_no_bound() -> None:
    plan = find_plan(
        clients=943,
        rate=0.1,
        rounds=10,
        releases=3,
        share=0.3,
        noise_multiplier=0.0,
        quantile=True,
    )
    assert plan == Plan(943, 0.1, 129, 10, 0.0, 0.0, 3, 0.0, 943**-1.1)
    assert epsilon_after(plan, 0) == epsilon_after(plan, 10) == math.inf
    assert epsilon_after(replace(plan, release_multiplier=9.0), 1) == math.inf
    assert epsilon_after(replace(plan, noise_multiplier=9.0), 1) == math.inf
    assert epsilon_after(replace(plan, noise_multiplier=1e-9, releases=0), 10) == math.inf
    assert json.loads(json.dumps(facts(plan, 10), allow_nan=False))["epsilon"] is None


def test_facts() -> None:
    plan = PLANS[9]
    known = replace(plan, rate=1.0, capacity=plan.clients)
    assert facts(plan, 100) == {
        "epsilon_if_cohorts_are_known": epsilon_after(known, math.ceil(100 * plan.rate)),
        "epsilon": epsilon_after(PLANS[9], 100),
        "delta": 943**-1.1,
        "relation": "one client's uploads replaced by nothing",
        "sampler": "Poisson, cut at capacity",
        "accountant": "PLD (dp-accounting)",
        "rounds": 100,
        "clients": 943,
        "rate": 0.1,
        "capacity": 129,
        "noise_multiplier": 3.0,
        "quantile_multiplier": 9.43,
        "releases": 3,
        "release_multiplier": 9.0,
    }
    assert facts(PLANS[6], 50)["sampler"] == "everybody"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"epsilon": 1.0, "delta": 1 / 943}, "--delta=0.00106045: must be below 1 / 943"),
        ({"epsilon": 1e-6, "delta": 1e-12}, "--epsilon=1e-06: no noise multiplier"),
        ({"epsilon": 1e8}, r"--epsilon=1e\+08: no noise multiplier"),
        ({"noise_multiplier": 1e-6}, "--noise_multiplier=1e-06: too little"),
    ],
)
def test_what_cannot_be(asked: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_plan(clients=943, rate=1.0, rounds=10, releases=1, share=0.3, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("both", [{}, {"epsilon": 1.0, "noise_multiplier": 1.0}])
def test_one_of_cost_and_noise(both: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either"):
        find_plan(clients=943, rate=0.1, rounds=10, releases=1, share=0.3, **both)  # type: ignore[arg-type]


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **named: object) -> object:
        if name == "dp_accounting":
            raise ModuleNotFoundError(name)
        return real(name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r'pip install "pfr_jax\[privacy\]"'):
        epsilon_after(replace(PLANS[0], delta=1.23e-5), 7)
