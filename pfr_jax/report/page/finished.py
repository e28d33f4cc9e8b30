"""Finished runs, read from their folders, and groups of runs that differ by their seeds alone."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pfr_jax.errors import InputError
from pfr_jax.evaluation.task import Task
from pfr_jax.evaluation.tasks import TASKS
from pfr_jax.report.colours import Look, look_of
from pfr_jax.report.comparison import names_of
from pfr_jax.runs.folder import NOT_CHOSEN

# What summary.json of this version always has, and earlier ones may lack.
NEEDED = (
    *("baselines", "baselines_validation", "centralised_baselines", "clients_not_taken"),
    *("cohort_size", "num_clients", "privacy", "reached", "seconds", "selected_round", "test_last"),
)
SEEDS = ("seed", "split_seed")
DASHES = ("solid", "dash", "dot", "dashdot")  # of groups with the same algorithm


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """What a run has left."""

    folder: Path
    name: str  # what the page calls it
    task: Task
    summary: dict[str, Any]
    settings: dict[str, Any]  # flag -> value
    rounds: pd.DataFrame  # metrics.jsonl, a row per evaluated round
    users: pd.DataFrame  # per_user.csv, a row per user
    attacks: list[dict[str, Any]]  # a row per figure

    @property
    def algorithm(self) -> str:
        return str(self.summary["algorithm"])


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one algorithm with the same settings but for their seeds."""

    name: str
    runs: tuple[FinishedRun, ...]
    dash: str

    @property
    def look(self) -> Look:
        return look_of(self.runs[0].algorithm)


def read_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """Reads folders of finished runs.

    Args:
      folders: at least one; runs of one task.

    Returns:
      The runs, each with a name of its own.

    Raises:
      InputError: a folder is named twice, holds no finished run or files that cannot be read, or
        the runs' figures are not the same ones.
    """
    names = names_of(folders)
    runs = [_read(folder, name) for folder, name in zip(folders, names, strict=True)]
    if len(tasks := {run.task.name for run in runs}) > 1:
        raise InputError(
            f"the runs are of {' and '.join(sorted(tasks))} feedback, whose figures do not "
            "compare; make a page of each"
        )
    return runs


def _read(folder: Path, name: str) -> FinishedRun:
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    if not (folder / "summary.json").is_file():
        raise InputError(
            f"{folder} has no summary.json: the run has not finished; pfr run --resume "
            f"--output_dir={folder} with its flags goes on with it"
        )
    summary, config = _json(folder / "summary.json"), _json(folder / "config.json")
    if missing := [name for name in NEEDED if name not in summary]:
        raise InputError(
            f"{folder / 'summary.json'} has no {', '.join(missing)}: the run was made by another "
            "version of this program"
        )
    if summary["feedback"] not in TASKS:
        raise InputError(f"{folder}: {summary['feedback']} is no task of this package")
    return FinishedRun(
        folder=folder,
        name=name,
        task=TASKS[summary["feedback"]],
        summary=summary,
        settings={k: v for k, v in config.items() if k not in (*NOT_CHOSEN, "earlier")},
        rounds=pd.DataFrame(_lines(folder / "metrics.jsonl")),
        users=pd.read_csv(folder / "per_user.csv"),
        attacks=_attacks(folder),
    )


def _attacks(folder: Path) -> list[dict[str, Any]]:
    """Those of pfr attack, else those made while the run trained, else none."""
    if (path := folder / "attacks.json").is_file():
        found: list[dict[str, Any]] = _json(path)
        return found
    path = folder / "attacks.jsonl"
    return _lines(path) if path.is_file() else []


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from None


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise InputError(f"{path}: is not a line of JSON per round: {error}") from None


def group_runs(runs: Sequence[FinishedRun]) -> list[Group]:
    """Puts runs together that differ by their seeds alone.

    A group is called by its algorithm; where several groups have it, by its runs as well.
    """
    members: dict[str, list[FinishedRun]] = {}
    for run in runs:
        settings = {name: value for name, value in run.settings.items() if name not in SEEDS}
        key = json.dumps([run.algorithm, run.summary["dataset"], settings], sort_keys=True)
        members.setdefault(key, []).append(run)
    groups: list[Group] = []
    total = Counter(same[0].algorithm for same in members.values())
    for same in members.values():
        algorithm = same[0].algorithm
        names = ", ".join(run.name for run in same)
        name = algorithm if total[algorithm] == 1 else f"{algorithm} ({names})"
        before = sum(group.runs[0].algorithm == algorithm for group in groups)
        groups.append(Group(name, tuple(same), DASHES[before % len(DASHES)]))
    return groups
