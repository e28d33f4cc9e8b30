"""The sections with plots of one run's figures: by round, by bytes, over users."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pfr_jax.report.comparison import SUFFIXES
from pfr_jax.report.page.charts import (
    activity_traces,
    axis_of,
    curve_traces,
    distribution_traces,
    layout,
)
from pfr_jax.report.page.finished import FinishedRun, Group
from pfr_jax.report.page.parts import Chart, Section, Table, count, digits


def curves_section(groups: Sequence[Group]) -> Section:
    """Validation figures by round and by megabytes."""
    task = groups[0].runs[0].task
    y = axis_of(task, "on validation ratings")
    charts = []
    for x, title in (("round", "round"), ("megabytes", "megabytes per client, up and down")):
        if traces := curve_traces(groups, x):
            shown = layout(title, y)
            shown["yaxis"]["range"] = _range(traces)
            says = f"{task.heading} on validation ratings by {title}, a line per algorithm."
            charts.append(Chart(f"curve-{x}", says, traces, shown))
    sentence = (
        "The figure on validation ratings after each evaluated round, by rounds and by what has "
        "travelled; dashed: the simple baseline to be reached."
    )
    notes = [] if charts else ["There are no validation ratings, so there are no curves."]
    if charts and _have_seeds(groups):
        notes.append(
            "Runs that differ by their seeds alone are a line at their mean, in a band from the "
            "lowest to the highest."
        )
    return Section("curves", "Learning curves", sentence, tuple(notes), tuple(charts))


def _have_seeds(groups: Sequence[Group]) -> bool:
    return any(len(group.runs) > 1 for group in groups)


def _range(traces: Sequence[dict[str, Any]]) -> list[float]:
    """Of the axis: the first quarter of a curve may be far off and would flatten the rest."""
    ends = np.concatenate([np.asarray(t["y"])[len(t["y"]) // 4 :] for t in traces])
    low, high = float(ends.min()), float(ends.max())
    room = 0.1 * max(high - low, 1e-3)
    return [low - room, high + room]


def users_section(runs: Sequence[FinishedRun], groups: Sequence[Group]) -> Section:
    """The test figure by activity, and its distribution over users."""
    task = runs[0].task
    sentence = (
        "How the test figure differs between users: the mean in each tenth of users by training "
        "ratings, and how many users have which figure."
    )
    if not (by_activity := activity_traces(groups)):
        return Section("users", "Users", sentence, ("No user has a test figure.",))
    mean = axis_of(task, "on test ratings, mean of users")
    tenths = layout("tenth of users by training ratings, least active first", mean)
    tenths["xaxis"]["dtick"] = 1
    spread = layout(axis_of(task, "of a user on test ratings"), "percent of users")
    spread["yaxis"]["rangemode"] = "tozero"
    charts = (
        Chart("activity", f"{task.heading} by activity of users.", by_activity, tenths),
        Chart(
            "distribution",
            f"Distribution of {task.heading} over users.",
            distribution_traces(groups),
            spread,
        ),
    )
    notes = ("Users of runs that differ by their seeds alone are taken together.",)
    shown = notes if _have_seeds(groups) else ()
    return Section("users", "Users", sentence, shown, charts, _quantiles(runs))


def _quantiles(runs: Sequence[FinishedRun]) -> tuple[Table, ...]:
    """A row per run: the users who have the figure, its mean and quantiles."""
    spreads = {run.name: spread for run in runs if (spread := _spread(run))}
    if not spreads:
        return ()
    names = list(next(iter(spreads.values())))[2:]
    headings = "", "users", "mean", *(f"{int(name[1:])} % are below" for name in names)
    rows = tuple(
        (run, count(spread["users"]), digits(spread["mean"]), *(digits(spread[n]) for n in names))
        for run, spread in spreads.items()
    )
    return (Table(f"{runs[0].task.heading} over users", headings, rows),)


def _spread(run: FinishedRun) -> dict[str, float]:
    """Users, mean and quantiles (p05, ...) of the figures that count; {} where there are none."""
    for suffix in SUFFIXES:
        if found := run.summary.get(f"test_over_users{suffix}"):
            return dict(found.get(run.task.figure, {}))
    return {}
