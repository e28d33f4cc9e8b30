"""Workloads of the benchmark: synthetic ratings of the sizes that matter."""

import dataclasses

import numpy as np

from pfr_jax.data.splits import random_split
from pfr_jax.data.synthetic import PRESETS, SyntheticSpec, generate
from pfr_jax.programs.contestants.workload import Workload, random_initial


def make_workload(
    spec: SyntheticSpec, cohort_fraction: float, carried: tuple[bool, bool], num_cohorts: int = 2
) -> Workload:
    """A workload on 90 % of the synthetic ratings of ``spec``; ``carried``: whether private and
    shared momenta are."""
    ratings = generate(spec)
    rows = random_split(len(ratings), 0.0, 0.1, 0).train
    user, item = ratings.user[rows], ratings.item[rows]
    order = np.lexsort((item, user))
    values = ratings.rating[rows][order] - np.float32(spec.mean)
    counts = np.bincount(user, minlength=spec.num_users)
    random = np.random.default_rng(0)
    size = max(1, round(cohort_fraction * spec.num_users))
    # Clients without a training rating take part in nothing.
    able = np.flatnonzero(counts)
    cohorts = [random.choice(able, min(size, len(able)), replace=False) for _ in range(num_cohorts)]
    return Workload(
        num_items=spec.num_items,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        items=item[order].astype(np.int32),
        values=values,
        initial=random_initial(spec.num_items, (256, 128), random),
        cohorts=cohorts,
        carry_private_momentum=carried[0],
        carry_shared_momentum=carried[1],
    )


def small_part(workload: Workload, clients: int = 24) -> Workload:
    """Some clients, from the shortest to nearly the longest, in two rounds, without dropout."""
    able = np.flatnonzero(workload.lengths > 0)
    by_length = able[np.argsort(workload.lengths[able], kind="stable")]
    chosen = by_length[:: max(1, len(able) // clients)][:clients]
    part = workload.of_clients(np.sort(chosen))
    return dataclasses.replace(part, cohorts=[np.arange(len(chosen))] * 2, dropout=0.0)


def scaling_specs() -> dict[str, SyntheticSpec]:
    """More users of one catalogue, and larger catalogues of users with as many ratings."""
    base = PRESETS["synthetic-ml10m"]

    def spec(users: int, items: int, longest: int) -> SyntheticSpec:
        return dataclasses.replace(
            base,
            num_users=users,
            num_items=items,
            num_ratings=round(users * base.num_ratings / base.num_users),
            max_per_user=longest,
            max_per_item=users,
        )

    users = {f"{n} users": spec(n, 10_677, 7_359) for n in (1_000, 4_000, 16_000, 69_878)}
    items = {f"{n} items": spec(69_878, n, 1_500) for n in (2_000, 10_000, 50_000)}
    return users | items
