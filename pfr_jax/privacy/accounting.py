"""What a run of differential privacy costs a client, by the package dp-accounting.

Relation: two runs are neighbours if one client's uploads are replaced by nothing (zero-out) in one
of them; how many clients there are is no secret. Under it a sum of clipped uploads has
sensitivity ``--upload_clip``. Where everybody takes part, all releases together are one Gaussian
mechanism, whose cost is exact; else costs are upper bounds from privacy loss distributions (PLD).

A round's cohort is a Poisson sample, cut at ``capacity`` at random so that shapes are fixed, which
is accounted for (arXiv 2508.15089). Counts for the clip are of the same cohort, so sum and counts
are one Gaussian release: multipliers z and y are together (z^-2 + y^-2)^(-1/2).

A share of a budget is a share of mu^2, where mu is that of the one Gaussian release
(multiplier 1 / mu) with the same epsilon at the same delta. What is released before the rounds
gets ``share`` of it, whether the whole is given (epsilon) or the rounds' part (their noise).
"""

import functools
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pfr_jax.config.settings import require
from pfr_jax.errors import InputError
from pfr_jax.seeding import cohort_size

RELATION = "one client's uploads replaced by nothing"
LEAST_NOISE, MOST_NOISE = 1e-3, 1e4  # multipliers that an epsilon is searched between
_STEP = 1e-4  # privacy losses are rounded up to multiples of this, dp-accounting's own choice
_CELLS = 4e6  # as many of them fit into memory; with little noise, wider ones
_WIDEST = 100.0  # e to the width must be a number


@dataclass(frozen=True)
class Plan:
    """What a run under --upload=dp releases.

    Multipliers are standard deviations of noise over the sensitivity of what they are added to.
    """

    clients: int
    rate: float  # chance of a client to be in a round's cohort; 1: everybody
    capacity: int  # most clients of a cohort
    rounds: int
    noise_multiplier: float  # of a round's sum; 0: no noise
    quantile_multiplier: float  # of a round's count of clients below the clip; 0: no such counts
    releases: int  # sums over all clients before the first round (mean, item effects)
    release_multiplier: float  # of each of these
    delta: float

    @property
    def round_multiplier(self) -> float:
        """Of a round's sum and count together; 0: no noise."""
        if not self.noise_multiplier or not self.quantile_multiplier:
            return self.noise_multiplier
        return 1 / math.hypot(1 / self.noise_multiplier, 1 / self.quantile_multiplier)


def find_plan(
    *,
    clients: int,
    rate: float,
    rounds: int,
    releases: int,
    share: float,
    epsilon: float | None = None,
    noise_multiplier: float | None = None,
    release_multiplier: float | None = None,
    delta: float = 0.0,
    quantile: bool = False,
) -> Plan:
    """The noise of a run of which either the cost or the noise of its rounds' sums is given.

    Args:
        clients: how many there are.
        rate: chance of a client to be in a round's cohort, in (0, 1].
        rounds: how many, 1 or more.
        releases: sums over all clients before the first round.
        share: of the budget for these, in (0, 1); without any, rounds have it all.
        epsilon: the most that the run may cost; it will cost 99 % of it or more.
        noise_multiplier: instead of ``epsilon``; 0: there is no noise anywhere.
        release_multiplier: beside ``noise_multiplier``: of the releases; None: so that they cost
            ``share`` of the whole.
        delta: 0: clients^-1.1.
        quantile: rounds also release how many of the cohort's clients are below the clip. The
            noise on that count is a twentieth of the expected cohort (Andrew et al. 2021, arXiv
            1905.03871), or as much more as keeps it to a tenth of a round's 1 / multiplier^2.

    Returns:
        The plan; ``epsilon_after(plan, rounds)`` is what it costs.

    Raises:
        InputError: delta is not below 1 / clients; no noise leads to epsilon; dp-accounting is
            not installed.
        ValueError: not one of ``epsilon`` and ``noise_multiplier`` is given.
    """
    if (epsilon is None) == (noise_multiplier is None):
        raise ValueError("give either epsilon or noise_multiplier")
    chance = delta or clients**-1.1
    require(
        chance < 1 / clients,
        f"--delta={delta:g}: must be below 1 / {clients} (there are so many clients): at that "
        "chance, to publish all of one client's data would count as private",
    )
    plan = Plan(
        clients,
        rate,
        cohort_size(clients, rate, "poisson"),
        rounds,
        0.0,
        0.0,
        releases,
        0.0,
        delta=chance,
    )
    count = rate * clients / 20 / 0.5 if quantile else 0.0  # bits are +-1/2: sensitivity 1/2
    if epsilon is not None:
        return _calibrated(plan, epsilon, share if releases else 0.0, count)
    if not noise_multiplier:
        return plan
    # y^-2 is a tenth of z^-2 + y^-2 at y = 3 z.
    plan = replace(
        plan,
        noise_multiplier=noise_multiplier,
        quantile_multiplier=max(count, 3 * noise_multiplier) if quantile else 0.0,
    )
    if not releases:
        return plan
    if release_multiplier is not None:
        return replace(plan, release_multiplier=release_multiplier)
    spent = _spent(replace(plan, releases=0), rounds, _STEP)
    require(
        math.isfinite(spent),
        f"--noise_multiplier={noise_multiplier:g}: too little to account for; 0 says that it "
        "protects nobody",
    )
    mu = _mu(spent, chance)
    return replace(plan, release_multiplier=math.sqrt(releases * (1 - share) / share) / mu)


@functools.lru_cache(maxsize=4096)
def epsilon_after(plan: Plan, rounds: int) -> float:
    """What a client has paid after the first releases and so many rounds, at ``plan.delta``.

    Infinite where something was released without noise. With cohorts it takes some seconds the
    first time, and about one after more rounds.

    Raises:
        InputError: dp-accounting is not installed.
    """
    return _spent(plan, rounds, _STEP)


def facts(plan: Plan, rounds: int) -> dict[str, Any]:
    """What to write of a run that is ``rounds`` rounds old, for JSON; epsilon None: no bound."""
    known = replace(plan, rate=1.0, capacity=plan.clients)
    mean_rounds = math.ceil(plan.rate * rounds)
    return asdict(plan) | {
        "rounds": rounds,
        "epsilon": _finite(epsilon_after(plan, rounds)),
        # Of a client in as many rounds as the mean client, to whoever knows that it was in these.
        "epsilon_if_cohorts_are_known": _finite(epsilon_after(known, mean_rounds)),
        "relation": RELATION,
        "sampler": "everybody" if plan.rate == 1 else "Poisson, cut at capacity",
        "accountant": f"{'Gaussian' if plan.rate == 1 else 'PLD'} (dp-accounting)",
    }


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None


def _calibrated(plan: Plan, epsilon: float, share: float, count: float) -> Plan:
    """The plan with the noise that costs ``epsilon``; ``count`` as in find_plan, 0: no counts."""
    mu = _mu(epsilon, plan.delta)
    if plan.releases:
        plan = replace(plan, release_multiplier=math.sqrt(plan.releases / share) / mu)
    # As coarse as 1 % of epsilon allows: errors of steps add up like their squares.
    step = min(max(_STEP, epsilon / (100 * math.sqrt(plan.rounds))), _WIDEST)

    @functools.cache
    def excess(log_noise: float) -> float:
        """Logarithm of the cost of rounds whose sums and counts together have this noise."""
        spent = _spent(replace(plan, noise_multiplier=math.exp(log_noise)), plan.rounds, step)
        return math.log(min(max(spent, 1e-12), 1e12) / epsilon)

    # Enough noise if cohorts were everybody; less costs more time, so it is approached from above.
    high = math.log(math.sqrt(plan.rounds / (1 - share)) / mu)
    while excess(high) > 0 and high < math.log(MOST_NOISE):
        high += math.log(2)
    low = high
    while excess(low) <= 0 and low > math.log(LEAST_NOISE):
        low, high = low - math.log(2), low
    if not math.log(LEAST_NOISE) < low < high < math.log(MOST_NOISE):
        raise InputError(
            f"--epsilon={epsilon:g}: no noise multiplier from {LEAST_NOISE:g} to {MOST_NOISE:g} "
            f"leads to it in {plan.rounds} rounds at --delta={plan.delta:g}; give another epsilon, "
            "a larger delta, or --noise_multiplier"
        )
    from scipy.optimize import brentq  # here, since every command imports this module

    together = math.exp(brentq(excess, low, high, xtol=2e-4))
    while True:
        counts = max(count, math.sqrt(10) * together) if count else 0.0  # a tenth at most
        sums = 1 / math.sqrt(together**-2 - counts**-2) if count else together
        found = replace(plan, noise_multiplier=sums, quantile_multiplier=counts)
        if epsilon_after(found, plan.rounds) <= epsilon:
            return found
        together *= 1.0005


def _mu(epsilon: float, delta: float) -> float:
    """1 / multiplier of the one Gaussian release that costs this."""
    with np.errstate(divide="ignore"):  # far off the solution
        return 1 / float(_dp_accounting().get_sigma_gaussian(epsilon, delta))


def _spent(plan: Plan, rounds: int, step: float) -> float:
    """As ``epsilon_after``, with privacy losses rounded up to multiples of ``step`` or more."""
    noises = [(plan.release_multiplier, plan.releases), (plan.round_multiplier, rounds)]
    noises = [(noise, count) for noise, count in noises if count]
    if not noises:
        return 0.0
    if not all(noise for noise, _ in noises):
        return math.inf
    mu = math.hypot(*(math.sqrt(count) / noise for noise, count in noises))
    with np.errstate(divide="ignore"):
        of_everybody = float(_dp_accounting().get_epsilon_gaussian(1 / mu, plan.delta))
    if of_everybody > _WIDEST * _CELLS:
        return math.inf  # true, and as good as the figure
    if plan.rate == 1 or not rounds:  # Gaussian releases together are one: exact
        return of_everybody
    step = max(step, of_everybody / _CELLS)
    cohort = plan.clients, plan.rate, plan.capacity, plan.round_multiplier
    losses = _of_one_round(*cohort, step).self_compose(rounds)
    if plan.releases:
        noise = plan.release_multiplier / math.sqrt(plan.releases)
        losses = losses.compose(_of_releases(noise, step))
    return float(losses.get_epsilon_for_delta(plan.delta))


@functools.lru_cache(maxsize=2)  # a run asks at every evaluation, and this takes most of the time
def _of_one_round(clients: int, rate: float, capacity: int, noise: float, step: float) -> Any:
    """The privacy loss distribution of one round."""
    make = _distributions().from_truncated_subsampled_gaussian_mechanism
    return make(clients, rate, capacity, noise, **_as(step))


@functools.lru_cache(maxsize=2)
def _of_releases(noise: float, step: float) -> Any:
    """Likewise of all releases together."""
    return _distributions().from_gaussian_mechanism(noise, **_as(step))


def _as(step: float) -> dict[str, Any]:
    """How distributions are made, which is how dp-accounting's own accountant does."""
    relation = _dp_accounting().NeighboringRelation.REPLACE_SPECIAL
    return {"value_discretization_interval": step, "neighboring_relation": relation}


def _distributions() -> Any:
    return _dp_accounting().pld.privacy_loss_distribution


def _dp_accounting() -> Any:
    """The package, which only --upload=dp needs."""
    try:
        import dp_accounting
    except ModuleNotFoundError as error:
        raise InputError(
            '--upload=dp needs the package dp-accounting: pip install "pfr_jax[privacy]"'
        ) from error
    return dp_accounting
