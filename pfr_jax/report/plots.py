"""Plots of a comparison of systems, from the files of their runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pfr_jax.evaluation.task import Task
from pfr_jax.report.comparison import decile_means, figure_column

matplotlib.use("agg")
plt.rcParams.update({"figure.figsize": (6.4, 4.0), "figure.dpi": 150, "axes.grid": True})


@dataclass(frozen=True)
class Runs:
    """A system's runs, one per seed."""

    name: str
    task: Task
    folders: tuple[Path, ...]

    def curves(self) -> pd.DataFrame:
        """Means over the seeds, a row per evaluated round: ``figure`` (validation, less the simple
        baseline's on the same split), ``bytes`` (per client, both ways, so far), ``ratio`` (sent up
        in that round, of what whole shared parts would be); empty without a validation split."""
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
        return pd.concat(frames).groupby("round").mean().reset_index()

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


def draw(systems: Sequence[Runs], folder: Path, stem: str) -> list[Path]:
    """All plots that these runs have data for, as ``STEM_NAME.png``; their paths."""
    task = systems[0].task
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
            made.append(_save(folder / f"{stem}_{name}.png", _lines, shown, x, y, x_label, y_label))
    users = {runs.name: runs.users() for runs in systems}
    label = f"test {task.heading} of a user"
    made.append(_save(folder / f"{stem}_users.png", _boxes, users, label))
    made.append(_save(folder / f"{stem}_activity.png", _deciles, users, label))
    return made


def _save(path: Path, paint: Any, *arguments: Any) -> Path:
    figure, axes = plt.subplots(layout="constrained")
    paint(axes, *arguments)
    figure.savefig(path)
    plt.close(figure)
    return path


def _lines(
    axes: Any, curves: dict[str, pd.DataFrame], x: str, y: str, x_label: str, y_label: str
) -> None:
    for name, curve in curves.items():
        shown = curve[curve[x] > 0]
        axes.plot(shown[x], shown[y], label=name)
    if y == "figure":
        axes.axhline(0, color="black", linewidth=0.8)
        # The first rounds are far off and would flatten the rest.
        ends = [curve[y].iloc[len(curve) // 4 :].abs().max() for curve in curves.values()]
        reach = max(0.01, 1.2 * float(np.median(ends)))
        axes.set_ylim(-reach, reach)
    if x == "bytes":
        axes.set_xscale("log")
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.legend(fontsize="small")


def _boxes(axes: Any, users: dict[str, Any], label: str) -> None:
    """Quartiles, and the 5th and 95th percentiles."""
    values = [figures for _, figures in users.values()]
    axes.boxplot(values, whis=(5, 95), showfliers=False, tick_labels=list(users))
    axes.tick_params(axis="x", rotation=30)
    axes.set(ylabel=label)


def _deciles(axes: Any, users: dict[str, Any], label: str) -> None:
    for name, (activity, figures) in users.items():
        means = decile_means(activity, figures)
        axes.plot(range(1, len(means) + 1), means, marker="o", label=name)
    axes.set(xlabel="decile of users by training ratings, least active first", ylabel=label)
    axes.legend(fontsize="small")
