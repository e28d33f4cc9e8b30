"""Two runs compared user by user."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from pfr_jax.errors import InputError
from pfr_jax.evaluation.task import Task
from pfr_jax.evaluation.tasks import TASKS

SUFFIXES = ("_retrained", "", "_last")  # of figures in per_user.csv, the one that counts first


@dataclass(frozen=True)
class Comparison:
    """The second run against the first, over the users who have the figure in both."""

    figure: str
    users: int
    better: float  # share of these users for whom the second run is better
    worse: float
    mean_difference: float  # second less first
    median_difference: float
    p_value: float  # two-sided Wilcoxon signed-rank test: differences are symmetric about 0
    by_decile: tuple[float, ...]  # mean difference by training ratings, least active users first


@dataclass(frozen=True)
class Differences:
    """The second run less the first, of every user who has the figure in both."""

    task: Task
    activity: np.ndarray  # i64[n], training ratings
    values: np.ndarray  # f64[n]


def compare(first: pd.DataFrame, second: pd.DataFrame) -> Comparison:
    """Arguments are tables like per_user.csv, of runs on one split."""
    found = differences(first, second)
    difference = found.values
    gain = difference if found.task.higher_is_better else -difference
    return Comparison(
        figure=found.task.figure,
        users=len(difference),
        better=float((gain > 0).mean()),
        worse=float((gain < 0).mean()),
        mean_difference=float(difference.mean()),
        median_difference=float(np.median(difference)),
        p_value=float(wilcoxon(difference).pvalue) if difference.any() else 1.0,
        by_decile=decile_means(found.activity, difference),
    )


def differences(first: pd.DataFrame, second: pd.DataFrame) -> Differences:
    """What ``compare`` compares.

    Args:
      first: a table like per_user.csv.
      second: likewise, of a run on the same split.

    Raises:
      InputError: the runs have other users, other test ratings or no test figure in common.
    """
    task, columns = _common_task(first, second)
    both = first.merge(second, on="user", suffixes=("_first", "_second"), validate="1:1")
    same = both["test_ratings_first"] == both["test_ratings_second"]
    if len(both) != len(first) or len(both) != len(second) or not same.all():
        raise InputError("the runs have different users or test ratings; compare runs of one split")
    names = [
        column if column in both else f"{column}{which}"
        for column, which in zip(columns, ("_first", "_second"), strict=True)
    ]
    difference = (both[names[1]] - both[names[0]]).to_numpy(float)
    has = np.isfinite(difference)
    activity, difference = both["train_ratings_first"].to_numpy()[has], difference[has]
    if not len(difference):
        raise InputError("no user has test figures in both runs")
    return Differences(task, activity, difference)


def decile_means(activity: np.ndarray, values: np.ndarray) -> tuple[float, ...]:
    """Means of values f[n] in ten groups of users of (nearly) equal size, by rising activity."""
    order = np.argsort(activity, kind="stable")
    return tuple(float(part.mean()) for part in np.array_split(values[order], 10) if len(part))


def figure_column(table: pd.DataFrame, task: Task) -> str | None:
    """The column of per_user.csv with the task's test figure; None: nobody was tested."""
    return next((c for s in SUFFIXES if (c := f"test_{task.figure}{s}") in table), None)


def _common_task(first: pd.DataFrame, second: pd.DataFrame) -> tuple[Task, list[str]]:
    """The task of both, and its figure's column in each: retrained, selected or last."""
    for task in TASKS.values():
        found = [figure_column(table, task) for table in (first, second)]
        if all(found):
            return task, [str(column) for column in found]
    raise InputError(
        f"the runs have no test figure in common: one of each of {' and '.join(TASKS)} feedback?"
    )
