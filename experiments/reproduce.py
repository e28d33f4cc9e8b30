"""Makes the paper's table on one data set: ``python -m experiments.reproduce --dataset=ml100k``.

A cell is a run of ``experiments.run`` with one of the paper presets, feedback and seed, in a
folder of its own under ``--output_dir``. A finished run of the same settings is not made again,
so an interrupted table goes on where it was. At the end ``DATASET_table.csv`` has a row per run and
``DATASET_table.md`` the means over the seeds.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from absl import app, flags

from experiments.flags import one_line_errors, parse_flags
from pfr_jax.errors import InputError
from pfr_jax.report.paper_table import markdown, table_figures

_DATASET = flags.DEFINE_enum("dataset", "ml100k", ["ml100k", "ml1m", "ml10m", "anime"], "Ratings.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "As for experiments.run.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/reproduce", "Folder of the runs.")
_SEEDS = flags.DEFINE_integer("num_seeds", 4, "Seeds 0, 1, ... of training and split.", 1)
_PARALLEL = flags.DEFINE_integer("parallel_runs", 1, "Runs made at the same time.", 1)
_EXTRA = flags.DEFINE_multi_string("set", [], "A flag for every run, as in --set=rounds=80.")


@dataclass(frozen=True)
class System:
    """A row of the paper's table."""

    name: str
    preset: str  # after paper_DATASET
    flags: tuple[str, ...] = ()


SYSTEMS = (
    System("joint", "_joint"),
    System("fedavg-100", "_fedavg"),
    System("fedavg-300", "_fedavg", ("--num_clients=300",)),
    System("personalfr-100", "", ("--num_clients=100",)),
    System("personalfr-300", "", ("--num_clients=300",)),
    System("personalfr-user", ""),
    System("local", "", ("--algorithm=local",)),
)
PRESETS = Path("experiments/presets")
FEEDBACK = ("explicit", "implicit")


def run_cell(system: System, feedback: str, seed: int) -> dict[str, Any]:
    """A row of the table, from an earlier run if there is one."""
    folder = Path(_OUTPUT_DIR.value) / f"{_DATASET.value}-{feedback}-{system.name}-{seed}"
    arguments = [
        f"--flagfile={PRESETS}/paper_{_DATASET.value}{system.preset}.flags",
        *system.flags,
        *(f"--feedback={feedback}", f"--seed={seed}", f"--split_seed={seed}"),
        *(f"--{setting}" for setting in _EXTRA.value),
    ]
    # What the run is of: its flags, and the presets as they stand.
    presets = "".join(path.read_text() for path in sorted(PRESETS.glob("paper_*.flags")))
    made_of = json.dumps(arguments) + "\n" + presets
    stamp, summary = folder / "reproduce.txt", folder / "summary.json"
    if not (summary.is_file() and stamp.is_file() and stamp.read_text() == made_of):
        where = f"--data_dir={_DATA_DIR.value}", f"--output_dir={folder}", "--overwrite"
        command = [sys.executable, "-m", "experiments.run", *arguments, *where]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"{folder.name}: {done.stderr.strip()}")
        stamp.write_text(made_of)
        print(f"{folder.name}: done", flush=True)
    return {
        "feedback": feedback,
        "system": system.name,
        "seed": seed,
        **table_figures(json.loads(summary.read_text()), feedback),
    }


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        cells = [
            (system, feedback, seed)
            for feedback in FEEDBACK
            for system in SYSTEMS
            for seed in range(_SEEDS.value)
        ]
        with ThreadPoolExecutor(_PARALLEL.value) as pool:
            table = pd.DataFrame(pool.map(lambda cell: run_cell(*cell), cells))
        name = Path(_OUTPUT_DIR.value) / f"{_DATASET.value}_table"
        table.to_csv(name.with_suffix(".csv"), index=False, float_format="%.6g")
        name.with_suffix(".md").write_text(markdown(table))
        print(markdown(table))


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
