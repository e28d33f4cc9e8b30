"""Compares runs on one split user by user.

    pfr compare runs/first runs/second
    pfr compare --runs=runs/mine,runs/fedavg,runs/local --reference=fedavg

Every pair of runs is compared by the figure that selects rounds, over the users who have it in
both, and called by the names of their folders. The interval is of the mean difference, by bootstrap
over users; p is Wilcoxon's signed-rank test's, then with Holm's correction for all rows shown.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from absl import flags
from rich.console import Console

from pfr_jax.errors import InputError
from pfr_jax.evaluation.tasks import TASKS
from pfr_jax.programs.flags import one_line_errors
from pfr_jax.report.comparison import RunTable, compare, names_of
from pfr_jax.report.tables import comparisons_table, deciles_table

ARGUMENTS = ("RUN", "...")
_RUNS = flags.DEFINE_list(
    "runs", [], "Folders of runs of pfr run on one split; they may stand without this flag, too."
)
_REFERENCE = flags.DEFINE_string(
    "reference", None, "Name of the run that all others are compared with; else every pair is."
)


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        folders = [Path(name).expanduser() for name in (*_RUNS.value, *argv[1:])]
        names = names_of(folders)
        runs = [read_run(name, folder) for name, folder in zip(names, folders, strict=True)]
        found = compare(runs, _REFERENCE.value)
        task = runs[0].task
        direction = "higher" if task.higher_is_better else "lower"
        console = Console()
        console.print(
            comparisons_table(f"Test {task.heading} of users, {direction} is better", found)
        )
        console.print(
            deciles_table("Mean difference by decile of activity, least active first", found)
        )


def read_run(name: str, folder: Path) -> RunTable:
    """What a finished run left in its folder, under this name."""
    feedback = json.loads((folder / "summary.json").read_text())["feedback"]
    if feedback not in TASKS:
        raise InputError(f"{folder} is of {feedback} feedback; want one of {', '.join(TASKS)}")
    # Labels stay as they are written: 007 is not 7, and NA is somebody.
    users = pd.read_csv(folder / "per_user.csv", converters={"user": str})
    return RunTable(name, TASKS[feedback], users)
