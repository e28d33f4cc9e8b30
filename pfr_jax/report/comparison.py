"""Runs on one split compared user by user, a pair at a time.

Legend: n users, those who have the figure in both runs of a pair; m comparisons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from pfr_jax.errors import InputError
from pfr_jax.evaluation.task import Task

SUFFIXES = ("_retrained", "", "_last")  # of figures in per_user.csv, the one that counts first
CONFIDENCE = 0.95
RESAMPLES = 2000  # of the users; for 70,000 of them it takes a few seconds
TENTHS = tuple(n / 10 for n in range(1, 10))
BATCH = 1_000_000  # users that are drawn at a time


@dataclass(frozen=True)
class RunTable:
    """What is compared of a run."""

    name: str
    task: Task
    users: pd.DataFrame  # per_user.csv


@dataclass(frozen=True)
class Comparison:
    """One run against another, over the users who have the figure in both."""

    run: str
    other: str
    users: int  # n
    better: float  # share of these users for whom the run is better than the other
    worse: float
    mean_difference: float  # run less other
    interval: tuple[float, float]  # of the mean difference, see ``mean_interval``
    p_value: float  # see ``signed_rank_p``
    p_holm: float  # the same, for all comparisons that were made together: see ``holm``
    by_decile: tuple[float, ...]  # mean difference by training ratings, least active users first
    deciles: tuple[float, ...]  # 10 %, 20 %, ... 90 % of the users have a lower difference


def compare(runs: Sequence[RunTable], reference: str | None = None) -> tuple[Comparison, ...]:
    """Compares every pair of runs by their task's figure, or all with one of them.

    Args:
      runs: at least two, of one split.
      reference: name of the run that all others are compared with; None: each run is compared
        with those before it.

    Raises:
      InputError: too few runs, an unknown reference, runs that cannot be compared.
    """
    figures = _figures_of_users(runs)
    activity = runs[0].users.set_index("user")["train_ratings"]
    pairs = _pairs([run.name for run in runs], reference)
    differences = [(figures[run] - figures[other]).dropna() for other, run in pairs]
    for pair, difference in zip(pairs, differences, strict=True):
        if difference.empty:
            raise InputError(f"{' and '.join(pair)} have test figures of no user in common")
    p_values = np.array([signed_rank_p(one.to_numpy()) for one in differences])
    gain = 1 if runs[0].task.higher_is_better else -1
    return tuple(
        Comparison(
            run=run,
            other=other,
            users=len(difference),
            better=float((gain * difference > 0).mean()),
            worse=float((gain * difference < 0).mean()),
            mean_difference=float(difference.mean()),
            interval=mean_interval(difference.to_numpy()),
            p_value=float(p_value),
            p_holm=float(p_holm),
            by_decile=decile_means(activity[difference.index].to_numpy(), difference.to_numpy()),
            deciles=tuple(difference.quantile(TENTHS).tolist()),
        )
        for (other, run), difference, p_value, p_holm in zip(
            pairs, differences, p_values, holm(p_values), strict=True
        )
    )


def signed_rank_p(difference: np.ndarray) -> float:
    """Two-sided Wilcoxon signed-rank test that differences f64[n] are symmetric about 0.

    Users without a difference say nothing of its direction and are left out; 1 if all are.
    """
    # Here, since it takes half a second to import, and this module is part of every command.
    from scipy.stats import wilcoxon

    return float(wilcoxon(difference).pvalue) if difference.any() else 1.0


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % confidence interval of the mean of values f64[n], by bootstrap over users.

    It has the percentiles of the means of as many users, drawn with replacement RESAMPLES times,
    always the same ones. NaN, NaN for a single user, who does not tell how users differ.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    from scipy.stats import bootstrap  # here: see above

    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH // len(values)),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(0),
    )
    low, high = found.confidence_interval
    return float(low), float(high)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p f64[m]: below a level with that chance for any false one.

    The i-th smallest becomes (m - i + 1) times itself, at least what the one before it became, and
    at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.arange(len(p_values), 0, -1) * p_values[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected


def decile_means(activity: np.ndarray, values: np.ndarray) -> tuple[float, ...]:
    """Means of values f[n] in ten groups of users of (nearly) equal size, by rising activity."""
    order = np.argsort(activity, kind="stable")
    return tuple(float(part.mean()) for part in np.array_split(values[order], 10) if len(part))


def names_of(folders: Sequence[Path]) -> list[str]:
    """What to call each run: its folder's name, and as many folders above as tell it from others.

    Raises InputError where a folder is there twice.
    """
    paths = [folder.expanduser().resolve() for folder in folders]
    if again := [path for path in paths if paths.count(path) > 1]:
        raise InputError(f"{again[0]} is named twice; name every run once")
    ends = [
        [str(Path(*path.parts[-depth:])) for depth in range(1, len(path.parts) + 1)]
        for path in paths
    ]
    taken = [end for one in ends for end in one]
    return [next((end for end in one if taken.count(end) == 1), one[-1]) for one in ends]


def _pairs(names: Sequence[str], reference: str | None) -> list[tuple[str, str]]:
    """The comparisons to make, each as (the other run, the run that is compared with it)."""
    if len(names) < 2:
        raise InputError("name the folders of at least two runs to compare")
    if reference is None:
        return list(combinations(names, 2))
    if reference not in names:
        raise InputError(f"--reference={reference}: want one of {', '.join(names)}")
    return [(reference, name) for name in names if name != reference]


def _figures_of_users(runs: Sequence[RunTable]) -> pd.DataFrame:
    """The task's figure of every user (rows, by label) in every run (columns, by name), f64."""
    figures = {}
    for run in runs:
        _check_comparable(runs[0], run)
        column = figure_column(run.users, run.task)
        if column is None:
            raise InputError(f"{run.name} has no test figures of users")
        figures[run.name] = run.users.set_index("user")[column].astype(float)
    return pd.DataFrame(figures)


def _check_comparable(first: RunTable, run: RunTable) -> None:
    """Raises InputError, with both names, where the runs are not of one task and split."""
    both = f"{first.name} and {run.name}"
    if run.task.name != first.task.name:
        raise InputError(
            f"{both} are of {first.task.name} and {run.task.name} feedback; compare runs of one"
        )
    tested = (one.users.set_index("user")["test_ratings"].sort_index() for one in (first, run))
    if not next(tested).equals(next(tested)):
        raise InputError(f"{both} have different users or test ratings; compare runs of one split")


def figure_column(table: pd.DataFrame, task: Task) -> str | None:
    """The column of per_user.csv with the task's test figure; None: nobody was tested."""
    names = [f"test_{task.figure}{suffix}" for suffix in SUFFIXES]
    return next((name for name in names if name in table), None)
