"""The section that compares runs user by user."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from pfr_jax.errors import InputError
from pfr_jax.report.colours import look_of
from pfr_jax.report.comparison import RESAMPLES, Comparison, RunTable, compare
from pfr_jax.report.page.charts import layout, plain
from pfr_jax.report.page.finished import FinishedRun
from pfr_jax.report.page.parts import Chart, Section, Table, count, digits


@dataclass(frozen=True)
class Pair:
    """Two runs on one split; differences are the second less the first."""

    first: FinishedRun
    second: FinishedRun
    found: Comparison

    @property
    def name(self) -> str:
        return f"{self.second.name} less {self.first.name}"


def pairs_of(runs: Sequence[FinishedRun]) -> list[Pair]:
    """All pairs of runs with the same users and test ratings, in the order of the runs."""
    pairs = []
    for first, second in itertools.combinations(runs, 2):
        tables = [RunTable(run.name, run.task, run.users) for run in (first, second)]
        try:
            (found,) = compare(tables)
        except InputError:  # of another split
            continue
        pairs.append(Pair(first, second, found))
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
    found = pair.found
    figures = (digits(value, signed=True) for value in (found.mean_difference, *found.interval))
    return pair.name, count(found.users), *figures, f"{found.better:.1%}", f"{found.worse:.1%}"


def _trace(pair: Pair) -> dict[str, object]:
    """A point with its interval, drawn as the second run's algorithm."""
    look = look_of(pair.second.algorithm)
    mean, (low, high) = pair.found.mean_difference, pair.found.interval
    above, below = high - mean, mean - low
    error = {"type": "data", "symmetric": False, "array": [above], "arrayminus": [below]}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(pair.name),
        "x": [mean],
        "y": [f"{plain(pair.second.name)}<br>less {plain(pair.first.name)}"],
        "error_x": error | {"color": look.colour, "thickness": 2, "width": 6},
        "marker": {"color": look.colour, "symbol": look.marker, "size": 10},
    }
