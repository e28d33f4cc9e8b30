"""Traces and layouts of the page's plots, as Plotly takes them.

The page itself adds what depends on the reader: colours of text and lines, light or dark.
"""

import html
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pfr_jax.evaluation.task import Task
from pfr_jax.report.colours import Look
from pfr_jax.report.comparison import decile_means, figure_column
from pfr_jax.report.page.finished import FinishedRun, Group

BINS = 40


class Drawn(Protocol):
    """What has a line of its own: a group of runs, or a pair of runs."""

    @property
    def name(self) -> str: ...

    @property
    def look(self) -> Look: ...

    @property
    def dash(self) -> str: ...


def layout(x: str, y: str, **more: Any) -> dict[str, Any]:
    """A layout with these titles of the axes."""
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}, **more}


def line(drawn: Drawn, x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """A line with markers, drawn as its algorithm is everywhere."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": plain(drawn.name),
        "legendgroup": drawn.name,
        "x": list(x),
        "y": list(y),
        "line": {"color": drawn.look.colour, "dash": drawn.dash, "width": 2},
        "marker": {"color": drawn.look.colour, "symbol": drawn.look.marker, "size": 8},
    }


def plain(text: str) -> str:
    """The text so that Plotly, which knows some tags of HTML, shows it as it is."""
    return html.escape(text, quote=False)


def axis_of(task: Task, of_what: str) -> str:
    """The title of an axis with the task's figure."""
    better = "higher" if task.higher_is_better else "lower"
    return f"{task.heading} {of_what} ({better} is better)"


def curves_of(group: Group) -> pd.DataFrame:
    """The validation figure over a group's seeds, a row per round that all of its runs evaluated.

    Returns:
      Columns ``round``, ``mean``, ``min``, ``max`` and ``megabytes`` (per client, both ways, so
      far, the mean over the runs); empty where there are no validation ratings.
    """
    figure = f"validation_{group.runs[0].task.figure}"
    frames = []
    for run in group.runs:
        rounds = run.rounds
        if figure not in rounds or rounds[figure].isna().all():
            return pd.DataFrame()
        sent = (rounds["bytes_up_total"] + rounds["bytes_down_total"]) / run.summary["num_clients"]
        columns = {"round": rounds["round"], "figure": rounds[figure], "megabytes": sent / 1e6}
        frames.append(pd.DataFrame(columns).dropna())
    by_round = pd.concat(frames).groupby("round")
    found = by_round["figure"].agg(["mean", "min", "max", "size"])
    found["megabytes"] = by_round["megabytes"].mean()
    return found[found["size"] == len(group.runs)].drop(columns="size").reset_index()


def curve_traces(groups: Sequence[Group], x: str) -> list[dict[str, Any]]:
    """Validation figures by column ``x`` of ``curves_of``, and the baselines to reach.

    Several seeds are a line at their mean in a band from the lowest to the highest.
    """
    traces, reach = [], 0.0
    for group in groups:
        curve = curves_of(group)
        if curve.empty or not curve[x].max() > 0:
            continue
        reach = max(reach, float(curve[x].max()))
        if len(group.runs) > 1:
            traces.append(_band(group, curve, x))
        traces.append(line(group, curve[x].tolist(), curve["mean"].tolist()))
    if not traces:
        return []
    return traces + _levels(groups, reach)


def _band(group: Group, curve: pd.DataFrame, x: str) -> dict[str, Any]:
    """From the lowest to the highest of a group's seeds."""
    red, green, blue = (int(group.look.colour[at : at + 2], 16) for at in (1, 3, 5))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{plain(group.name)}, lowest to highest of {len(group.runs)} seeds",
        "legendgroup": group.name,
        "showlegend": False,
        "hoverinfo": "skip",
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.25)",
        "line": {"width": 0},
        "x": [*curve[x], *curve[x][::-1]],
        "y": [*curve["max"], *curve["min"][::-1]],
    }


def _levels(groups: Sequence[Group], reach: float) -> list[dict[str, Any]]:
    """The baselines to be reached on validation, lines from 0 to ``reach``.

    Groups on one split have one in common, which the page draws in the colour of its text; where
    there are several, each has the colour of its first group.
    """
    groups_of: dict[tuple[str, float], list[Group]] = {}
    for group in groups:
        if found := _to_reach(group):
            groups_of.setdefault(found, []).append(group)
    levels = []
    for (name, value), same in groups_of.items():
        style: dict[str, Any] = {"dash": "dash", "width": 1.5}
        title = f"{name.replace('_', ' ')}, to be reached"
        if len(groups_of) > 1:
            title += f" by {' and '.join(group.name for group in same)}"
            style["color"] = same[0].look.colour
        ends = {"x": [0, reach], "y": [value, value]}
        levels.append(
            {"type": "scatter", "mode": "lines", "name": plain(title), "line": style, **ends}
        )
    return levels


def _to_reach(group: Group) -> tuple[str, float] | None:
    """Name and validation figure of the baseline, the mean over the group's runs."""
    task, values, name = group.runs[0].task, [], ""
    for run in group.runs:
        if baselines := run.summary["baselines_validation"]:
            name = task.to_reach(baselines)
            values.append(baselines[name][task.figure])
    return (name, float(np.mean(values))) if values and None not in values else None


def figures_of_users(run: FinishedRun) -> tuple[np.ndarray, np.ndarray]:
    """Training ratings i64[n] and test figures f64[n] of the users who have one."""
    column = figure_column(run.users, run.task)
    if column is None:
        return np.zeros(0, int), np.zeros(0)
    has = run.users[column].notna()
    return run.users["train_ratings"][has].to_numpy(), run.users[column][has].to_numpy(float)


def _pooled(group: Group) -> tuple[np.ndarray, np.ndarray]:
    """``figures_of_users`` of all of a group's runs."""
    activity, figures = zip(*map(figures_of_users, group.runs), strict=True)
    return np.concatenate(activity), np.concatenate(figures)


def activity_traces(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Means of the test figure in tenths of users by training ratings, a line per group."""
    traces = []
    for group in groups:
        activity, figures = _pooled(group)
        if len(figures):
            means = decile_means(activity, figures)
            traces.append(line(group, range(1, len(means) + 1), means))
    return traces


def distribution_traces(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Percent of users in bins of the test figure, the same bins for every group."""
    pooled = {group: figures for group in groups if len(figures := _pooled(group)[1])}
    if not pooled:
        return []
    edges = np.histogram_bin_edges(np.concatenate(list(pooled.values())), BINS)
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    traces = []
    for group, figures in pooled.items():
        percent = 100 * np.histogram(figures, edges)[0] / len(figures)
        steps = line(group, middles, percent.tolist())
        steps["line"] |= {"shape": "hvh"}
        steps["marker"] |= {"size": 5}
        traces.append(steps)
    return traces
