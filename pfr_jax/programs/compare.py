"""Compares two runs user by user.

pfr compare --runs=runs/first,runs/second
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from absl import flags
from rich.console import Console

from pfr_jax.errors import InputError
from pfr_jax.programs.flags import one_line_errors
from pfr_jax.report.comparison import compare
from pfr_jax.report.tables import facts_table

_RUNS = flags.DEFINE_list("runs", [], "Folders of two runs of pfr run on one split.")


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        if len(_RUNS.value) != 2:
            raise InputError(f"--runs={','.join(_RUNS.value)}: want two folders")
        found = compare(*(pd.read_csv(Path(run) / "per_user.csv") for run in _RUNS.value))
        facts = {
            "users with the figure in both": found.users,
            "better in the second": f"{found.better:.1%}",
            "worse": f"{found.worse:.1%}",
            "mean difference": f"{found.mean_difference:+.4f}",
            "median difference": f"{found.median_difference:+.4f}",
            "Wilcoxon signed-rank, two-sided p": f"{found.p_value:.2g}",
            "mean by decile of activity": " ".join(f"{value:+.3f}" for value in found.by_decile),
        }
        Console().print(facts_table(f"{found.figure}, second run less first", facts))
