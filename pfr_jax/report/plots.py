"""Plots of a comparison of systems, from the files of their runs.

An algorithm has the same colour and marker in all of them (``colours``); systems of one algorithm
differ by their lines. Bands are from the lowest to the highest seed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pfr_jax.evaluation.task import Task
from pfr_jax.report.colours import Look, look_of
from pfr_jax.report.comparison import decile_means, figure_column

matplotlib.use("agg")
plt.rcParams.update({"figure.figsize": (6.4, 4.0), "figure.dpi": 150, "axes.grid": True})
FORMATS = "png", "svg"
DASHES = "-", "--", ":", "-."
FAR = 5.0  # a curve that ends so many times as far off as the median one is not drawn whole
NEAR = 0.01  # what is nearer than this is never far


@dataclass(frozen=True)
class Runs:
    """A system's runs, one per seed."""

    name: str
    task: Task
    folders: tuple[Path, ...]

    @property
    def look(self) -> Look:
        """That of its algorithm."""
        summary = json.loads((self.folders[0] / "summary.json").read_text())
        return look_of(summary["algorithm"])

    def curves(self) -> pd.DataFrame:
        """Means over the seeds, a row per evaluated round: ``figure`` (validation, less the simple
        baseline's on the same split), ``bytes`` (per client, both ways, so far), ``ratio`` (sent up
        in that round, of what whole shared parts would be), and the lowest and highest seed's of
        each, as ``figure_low`` and ``figure_high``; empty without a validation split."""
        frames = []
        for folder in self.folders:
            lines = pd.read_json(folder / "metrics.jsonl", lines=True)
            column = f"validation_{self.task.figure}"
            if column not in lines:
                return pd.DataFrame()
            summary = json.loads((folder / "summary.json").read_text())
            baselines = summary["baselines_validation"]
            reference = baselines[self.task.to_reach(baselines)]
            clients = summary["num_clients"]
            frame = pd.DataFrame({"round": lines["round"]})
            frame["figure"] = lines[column] - reference[self.task.figure]
            frame["bytes"] = (lines["bytes_up_total"] + lines["bytes_down_total"]) / clients
            if summary["client_costs"]:
                whole = summary["client_costs"]["ranking_download_bytes"] * summary["cohort_size"]
                sent = lines["payload_bytes_up"] + lines["index_bytes_up"]
                frame["ratio"] = sent / whole if whole else np.nan
            frames.append(frame)
        of_round = pd.concat(frames).groupby("round")
        low, high = of_round.min().add_suffix("_low"), of_round.max().add_suffix("_high")
        return pd.concat([of_round.mean(), low, high], axis=1).reset_index()

    def users(self) -> tuple[np.ndarray, np.ndarray]:
        """Training ratings and test figure of every user who has one, all seeds' together."""
        activity, values = [], []
        for folder in self.folders:
            table = pd.read_csv(folder / "per_user.csv")
            column = figure_column(table, self.task)
            assert column is not None
            has = table[column].notna()
            activity.append(table["train_ratings"][has].to_numpy())
            values.append(table[column][has].to_numpy())
        return np.concatenate(activity), np.concatenate(values)


@dataclass(frozen=True)
class Line:
    """How a system is drawn."""

    look: Look
    dash: str

    @property
    def settings(self) -> dict[str, Any]:
        """For Matplotlib."""
        face = "none" if self.look.hollow else self.look.colour
        return {
            "color": self.look.colour,
            "linestyle": self.dash,
            "marker": self.look.plain_marker,
            "markerfacecolor": face,
            "markersize": 4,
        }


def lines_of(systems: Sequence[Runs]) -> dict[str, Line]:
    """Name of each system -> how it is drawn; systems of one algorithm differ."""
    lines: dict[str, Line] = {}
    for runs in systems:
        look = runs.look
        before = sum(line.look.colour == look.colour for line in lines.values())
        lines[runs.name] = Line(look, DASHES[before % len(DASHES)])
    return lines


def draw(systems: Sequence[Runs], folder: Path, stem: str) -> list[Path]:
    """All plots that these runs have data for, as ``STEM_NAME.png`` and ``.svg``; their paths."""
    task, lines = systems[0].task, lines_of(systems)
    *others, last = (name.replace("_", "-") for name in task.references)
    of_what = (task.milestone or "").replace(
        "_", "-"
    ) or f"the best of {', '.join(others)} and {last}"
    less = f"validation {task.heading} less {of_what}"
    plots = (
        ("curves", "round", "figure", "round", less),
        ("bytes", "bytes", "figure", "bytes per client, up and down, so far", less),
        ("ratio", "round", "ratio", "round", "bytes sent up, of the whole shared part"),
    )
    curves = {runs.name: runs.curves() for runs in systems}
    made = []
    for name, x, y, x_label, y_label in plots:
        shown = {n: c for n, c in curves.items() if y in c and (c[x] > 0).any()}
        if shown:
            made += _save(folder / f"{stem}_{name}", _curves, shown, lines, x, y, x_label, y_label)
    users = {runs.name: runs.users() for runs in systems}
    label = f"test {task.heading} of a user"
    made += _save(folder / f"{stem}_users", _boxes, users, label)
    made += _save(folder / f"{stem}_activity", _deciles, users, lines, label)
    return made


def _save(place: Path, paint: Any, *arguments: Any) -> list[Path]:
    figure, axes = plt.subplots(layout="constrained")
    paint(axes, *arguments)
    paths = [place.with_name(f"{place.name}.{ending}") for ending in FORMATS]
    for path in paths:
        figure.savefig(path)
    plt.close(figure)
    return paths


def _curves(
    axes: Any,
    curves: Mapping[str, pd.DataFrame],
    lines: Mapping[str, Line],
    x: str,
    y: str,
    x_label: str,
    y_label: str,
) -> None:
    low, high, outside = limits(curves, y)
    for name, curve in curves.items():
        shown, line = curve[curve[x] > 0], lines[name]
        label = f"{name} (ends outside, at {shown[y].iloc[-1]:+.3g})" if name in outside else name
        axes.plot(shown[x], shown[y], label=label, **line.settings)
        band = shown[f"{y}_low"], shown[f"{y}_high"]
        axes.fill_between(shown[x], *band, color=line.look.colour, alpha=0.15, linewidth=0)
    if y == "figure":
        axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylim(low, high)
    if x == "bytes":
        axes.set_xscale("log")
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.legend(fontsize="small")


def limits(curves: Mapping[str, pd.DataFrame], y: str) -> tuple[float, float, set[str]]:
    """Of an axis on which curves can be told apart.

    Args:
      curves: name -> a table with the columns ``y``, ``y_low`` and ``y_high``.
      y: what is drawn.

    Returns:
      The lowest and the highest value of the axis, which has 0 on it, and the names of curves that
      end so far off that they would squash the others. The first quarter of a curve, which is far
      off with everybody, does not count.
    """
    ends = {name: abs(float(curve[y].iloc[-1])) for name, curve in curves.items()}
    far = max(NEAR, FAR * float(np.median(list(ends.values()))))
    outside = {name for name, end in ends.items() if end > far}
    later = [curve.iloc[len(curve) // 4 :] for name, curve in curves.items() if name not in outside]
    low = min(0.0, *(float(curve[f"{y}_low"].min()) for curve in later))
    high = max(0.0, *(float(curve[f"{y}_high"].max()) for curve in later))
    room = 0.05 * (high - low) or NEAR
    return low - room, high + room, outside


def _boxes(axes: Any, users: Mapping[str, Any], label: str) -> None:
    """Quartiles, and the 5th and 95th percentiles."""
    values = [figures for _, figures in users.values()]
    axes.boxplot(values, whis=(5, 95), showfliers=False, tick_labels=list(users))
    axes.tick_params(axis="x", rotation=30)
    axes.set(ylabel=label)


def _deciles(axes: Any, users: Mapping[str, Any], lines: Mapping[str, Line], label: str) -> None:
    for name, (activity, figures) in users.items():
        means = decile_means(activity, figures)
        axes.plot(range(1, len(means) + 1), means, label=name, **lines[name].settings)
    axes.set(xlabel="tenth of users by training ratings, least active first", ylabel=label)
    axes.legend(fontsize="small")
