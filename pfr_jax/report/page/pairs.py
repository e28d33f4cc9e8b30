"""The section that compares runs user by user."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from pfr_jax.errors import InputError
from pfr_jax.report.colours import look_of
from pfr_jax.report.comparison import Differences, differences
from pfr_jax.report.page.charts import layout, plain
from pfr_jax.report.page.finished import FinishedRun
from pfr_jax.report.page.parts import Chart, Section, Table, count, digits

RESAMPLES = 2000
BATCH = 50  # resamples at a time: memory is that of so many copies of the users


@dataclass(frozen=True)
class Pair:
    """Two runs on one split; differences are the second less the first."""

    first: FinishedRun
    second: FinishedRun
    found: Differences
    low: float  # of the 95% confidence interval of the mean
    high: float

    @property
    def name(self) -> str:
        return f"{self.second.name} less {self.first.name}"

    @property
    def mean(self) -> float:
        return float(self.found.values.mean())


def interval_of_mean(values: np.ndarray) -> tuple[float, float]:
    """The 95% confidence interval of the mean of values f64[n], by resampling users.

    The seed is fixed: the same files give the same page.
    """
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=BATCH,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def pairs_of(runs: Sequence[FinishedRun]) -> list[Pair]:
    """All pairs of runs with the same users and test ratings, in the order of the runs."""
    pairs = []
    for first, second in itertools.combinations(runs, 2):
        try:
            found = differences(first.users, second.users)
        except InputError:  # of another split
            continue
        pairs.append(Pair(first, second, found, *interval_of_mean(found.values)))
    return pairs


def pairs_section(runs: Sequence[FinishedRun]) -> Section:
    """Differences of the test figure, user by user."""
    task = runs[0].task
    better = "above" if task.higher_is_better else "below"
    sentence = (
        f"The test {task.heading} of one run less that of another on the same split, user by user; "
        f"{better} 0 the run named first is better."
    )
    pairs = pairs_of(runs)
    if not pairs:
        notes = ("No two runs share users and test ratings.",)
        return Section("comparison", "Comparison", sentence, notes)
    rows = tuple(_row(pair) for pair in pairs)
    headings = "", "users", "mean", "95% from", "to", "better for", "worse for"
    table = Table("Differences between runs, over users", headings, rows)
    title = f"mean difference of a user's test {task.heading}, with 95% confidence interval"
    shown = layout(title, "", height=200 + 40 * len(pairs), showlegend=False)
    shown["xaxis"] |= {"zeroline": True, "rangemode": "tozero"}
    shown["yaxis"] |= {"automargin": True, "autorange": "reversed"}
    says = "Mean differences between runs with their confidence intervals, as in the table."
    chart = Chart("pairs", says, [_trace(pair) for pair in pairs], shown)
    notes = (f"The intervals are by bootstrap over users ({RESAMPLES:,} resamples).",)
    return Section("comparison", "Comparison", sentence, notes, (chart,), (table,))


def _row(pair: Pair) -> tuple[str, ...]:
    values, higher = pair.found.values, pair.found.task.higher_is_better
    gain = values if higher else -values
    figures = (digits(value, signed=True) for value in (pair.mean, pair.low, pair.high))
    shares = f"{(gain > 0).mean():.1%}", f"{(gain < 0).mean():.1%}"
    return pair.name, count(len(values)), *figures, *shares


def _trace(pair: Pair) -> dict[str, object]:
    """A point with its interval, drawn as the second run's algorithm."""
    look = look_of(pair.second.algorithm)
    above, below = pair.high - pair.mean, pair.mean - pair.low
    error = {"type": "data", "symmetric": False, "array": [above], "arrayminus": [below]}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(pair.name),
        "x": [pair.mean],
        "y": [f"{plain(pair.second.name)}<br>less {plain(pair.first.name)}"],
        "error_x": error | {"color": look.colour, "thickness": 2, "width": 6},
        "marker": {"color": look.colour, "symbol": look.marker, "size": 10},
    }
