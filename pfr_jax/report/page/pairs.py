"""The section that compares runs user by user."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pfr_jax.errors import InputError
from pfr_jax.evaluation.task import Task
from pfr_jax.report.colours import Look, look_of
from pfr_jax.report.comparison import RESAMPLES, TENTHS, Comparison, RunTable, compare, holm
from pfr_jax.report.page.charts import layout, line, plain
from pfr_jax.report.page.finished import DASHES, FinishedRun
from pfr_jax.report.page.parts import Chart, Section, Table, chance, count, digits

LEVEL = 0.05  # of Holm's p, below which a difference may be called clear


@dataclass(frozen=True)
class Pair:
    """Two runs on one split; differences are the second less the first."""

    first: FinishedRun
    second: FinishedRun
    found: Comparison
    dash: str = DASHES[0]

    @property
    def name(self) -> str:
        return f"{self.second.name} less {self.first.name}"

    @property
    def look(self) -> Look:
        return look_of(self.second.algorithm)

    @property
    def verdict(self) -> str:
        """Which run is better, where mean, interval, test and most users say the same."""
        found = self.found
        low, high = found.interval
        if found.p_holm < LEVEL and (low > 0 or high < 0):
            second = (low > 0) == self.first.task.higher_is_better
            if second and found.better > found.worse:
                return f"{self.second.name} is better"
            if not second and found.worse > found.better:
                return f"{self.first.name} is better"
        return "not clear"


def pairs_of(runs: Sequence[FinishedRun]) -> list[Pair]:
    """All pairs of runs with the same users and test ratings, in the order of the runs.

    Holm's correction is for all of them; pairs that are drawn in one colour differ in their dashes.
    """
    pairs: list[Pair] = []
    for first, second in itertools.combinations(runs, 2):
        tables = [RunTable(run.name, run.task, run.users) for run in (first, second)]
        try:
            (found,) = compare(tables)
        except InputError:  # of another split
            continue
        before = sum(pair.look == look_of(second.algorithm) for pair in pairs)
        pairs.append(Pair(first, second, found, DASHES[before % len(DASHES)]))
    corrected = holm(np.array([pair.found.p_value for pair in pairs]))
    return [
        replace(pair, found=replace(pair.found, p_holm=float(p)))
        for pair, p in zip(pairs, corrected, strict=True)
    ]


def pairs_section(runs: Sequence[FinishedRun]) -> Section:
    """Differences of the test figure, user by user."""
    task = runs[0].task
    sentence = (
        f"The test {task.heading} of one run less that of another on the same split, user by user; "
        f"where it is {_better(task)} the run named first is better."
    )
    pairs = pairs_of(runs)
    if not pairs:
        notes = ("No two runs share users and test ratings.",)
        return Section("comparison", "Comparison", sentence, notes)
    rows = tuple(_row(pair) for pair in pairs)
    headings = "", "in a word", "users", "mean", "95% from", "to", "better for", "worse for"
    table = Table("Differences between runs, over users", (*headings, "p", "Holm's p"), rows)
    charts = _means(pairs), _by_activity(pairs), _deciles(pairs)
    return Section("comparison", "Comparison", sentence, _notes(pairs), charts, (table,))


def _notes(pairs: Sequence[Pair]) -> tuple[str, ...]:
    counts = f"also counts that all {len(pairs)} pairs were looked at"
    if len(pairs) == 1:
        counts = "is the same for a single pair"
    return (
        "p is the chance of differences as one-sided as these if neither run were better "
        f"(Wilcoxon's signed-rank test); Holm's p {counts}. The "
        f"intervals are by bootstrap over users ({RESAMPLES:,} resamples).",
        f"A run is called better where Holm's p is below {LEVEL}, the interval lies on its side of "
        "0 and it is better for more users than the other; else the difference is not clear.",
    )


def _better(task: Task) -> str:
    """Where differences lie if the run named first is better."""
    return f"{'above' if task.higher_is_better else 'below'} 0"


def _row(pair: Pair) -> tuple[str, ...]:
    found = pair.found
    figures = (digits(value, signed=True) for value in (found.mean_difference, *found.interval))
    shares = f"{found.better:.1%}", f"{found.worse:.1%}"
    p_values = chance(found.p_value), chance(found.p_holm)
    return pair.name, pair.verdict, count(found.users), *figures, *shares, *p_values


def _means(pairs: Sequence[Pair]) -> Chart:
    """A point with its interval for each pair."""
    heading = pairs[0].first.task.heading
    title = f"mean difference of a user's test {heading}, with 95% confidence interval"
    shown = layout(title, "", height=200 + 40 * len(pairs), showlegend=False)
    shown["xaxis"] |= {"zeroline": True, "rangemode": "tozero"}
    shown["yaxis"] |= {"automargin": True, "range": [len(pairs) - 0.5, -0.5]}
    says = "Mean differences between runs with their confidence intervals, as in the table."
    return Chart("pairs", says, [_point(pair) for pair in pairs], shown)


def _point(pair: Pair) -> dict[str, Any]:
    """Drawn as the second run's algorithm."""
    mean, (low, high) = pair.found.mean_difference, pair.found.interval
    above, below = high - mean, mean - low
    error = {"type": "data", "symmetric": False, "array": [above], "arrayminus": [below]}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(pair.name),
        "x": [mean],
        "y": [f"{plain(pair.second.name)}<br>less {plain(pair.first.name)}"],
        "error_x": error | {"color": pair.look.colour, "thickness": 2, "width": 6},
        "marker": {"color": pair.look.colour, "symbol": pair.look.marker, "size": 10},
    }


def _by_activity(pairs: Sequence[Pair]) -> Chart:
    """Who gains: users with few ratings, or with many."""
    task = pairs[0].first.task
    title = "tenth of users by training ratings, least active first"
    shown = layout(title, f"mean difference of {task.heading} ({_better(task)} is better)")
    shown["xaxis"]["dtick"] = 1
    shown["yaxis"]["zeroline"] = True
    means = [pair.found.by_decile for pair in pairs]
    traces = [
        line(pair, range(1, len(own) + 1), own) for pair, own in zip(pairs, means, strict=True)
    ]
    says = f"Who gains and who loses: {task.heading} of users with few ratings and with many."
    return Chart("pairs-activity", says, traces, shown)


def _deciles(pairs: Sequence[Pair]) -> Chart:
    """How much users gain and lose."""
    task = pairs[0].first.task
    percent = [round(100 * tenth) for tenth in TENTHS]
    y = f"difference of {task.heading} ({_better(task)} is better)"
    shown = layout("percent of users whose difference is lower", y)
    shown["xaxis"] |= {"dtick": 10, "range": [5, 95]}
    shown["yaxis"]["zeroline"] = True
    says = f"How many gain and lose how much: deciles of users' differences of {task.heading}."
    traces = [line(pair, percent, pair.found.deciles) for pair in pairs]
    return Chart("pairs-deciles", says, traces, shown)
