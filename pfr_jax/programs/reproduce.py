"""Makes the tables and plots: the paper's, and our own.

    pfr reproduce --dataset=ml100k --num_seeds=4 --parts=paper
    pfr reproduce --dataset=ml100k,synthetic,my.csv --parts=default --feedback=explicit,ranking

A cell is a call of ``pfr run`` with one of the presets, all seeds in one process, in a
folder of its own under ``--runs_dir``. A finished cell of the same settings is not made again, so
an interrupted table goes on where it was. At the end ``--output_dir`` has, for each feedback, a
``DATASET_PARTS_FEEDBACK_table.csv`` with a row per run, a
``.md`` with means over the seeds, and plots; of several data sets also an
``overview_PARTS_FEEDBACK.md`` with a column each.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags

import pfr_jax
from pfr_jax.config import Config
from pfr_jax.errors import InputError
from pfr_jax.evaluation.tasks import TASKS
from pfr_jax.programs.flags import PRESETS, one_line_errors
from pfr_jax.programs.systems import SYSTEMS, System
from pfr_jax.report.paper_table import baseline_figures, markdown, overview, table_figures
from pfr_jax.report.plots import Runs, draw

NAMED = ["ml100k", "ml1m", "ml10m", "anime"]
SCALES = {
    "smoke": ("--num_users=400", "--rounds=4", "--eval_every=2", "--local_epochs=1"),
    "quick": ("--rounds=60",),
    "full": (),
}
_DATASETS = flags.DEFINE_list(
    "dataset", ["ml100k"], f"One of {', '.join(NAMED)}, or as for pfr run; several: a table each."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "As for pfr run.")
_SCALE = flags.DEFINE_enum(
    "scale", "full", list(SCALES), "smoke: 4 rounds of 400 users; quick: 60 rounds; full: all."
)
_PARTS = flags.DEFINE_list(
    "parts",
    ["paper", "recipes"],
    "paper: the paper's table; recipes: those tuned on ML-100K; default: the recipe for any data; "
    "retrained: it, trained again with the validation ratings; "
    "effects: the tuned one with one setting changed at a time; compressors: it with smaller "
    "uploads; private: the recipe under differential privacy, by epsilon.",
)
_FEEDBACK = flags.DEFINE_list("feedback", ["explicit", "implicit"], "Which feedback.")
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs/reproduce", "Folder of the runs.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "experiments/results", "Tables and plots.")
_SEEDS = flags.DEFINE_integer("num_seeds", 4, "Seeds 0, 1, ... of training and split.", 1)
_FIRST = flags.DEFINE_integer("first_seed", 0, "The first of these seeds.", 0)
_PARALLEL = flags.DEFINE_integer("parallel_runs", 1, "Cells made at the same time.", 1)
_EXTRA = flags.DEFINE_multi_string("set", [], "A flag for every run, as in --set=rounds=80.")


def cell_arguments(system: System, feedback: str, dataset: str) -> list[str]:
    """The flags of a cell, but for where its files are."""
    return [
        f"--preset={_preset(system, feedback, dataset)}",
        f"--dataset={dataset}",
        *system.flags,
        *SCALES[_SCALE.value],
        f"--feedback={feedback}",
        *(f"--seed={_FIRST.value}", f"--split_seed={_FIRST.value}"),
        f"--num_seeds={_SEEDS.value}",
        *(f"--{setting}" for setting in _EXTRA.value),
    ]


def _preset(system: System, feedback: str, dataset: str) -> str:
    """The name of a system's preset."""
    if system.part in ("default", "retrained"):
        return f"{'ranking' if feedback == 'ranking' else 'default'}{system.preset}"
    if system.part == "private":
        return "private_ranking" if feedback == "ranking" else "private"
    known = dataset if dataset in NAMED and system.part == "paper" else "ml100k"
    return f"{'paper' if system.part == 'paper' else 'best'}_{known}{system.preset}"


def _texts(preset: str) -> list[str]:
    """A preset, and those it begins with."""
    text = (PRESETS / f"{preset}.flags").read_text()
    begins_with = re.findall(r"^--preset=(\w+)", text, re.MULTILINE)
    return [text, *(more for name in begins_with for more in _texts(name))]


@cache
def _digest(dataset: str) -> str:
    """Of a ratings file; "" of a source by name, whose files have digests of their own."""
    if not Path(dataset).is_file():
        return ""
    with open(dataset, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_cell(system: System, feedback: str, dataset: str) -> Runs:
    """The runs of a cell, made now if they are not there."""
    label = re.sub(r"\W+", "-", system.name)
    folder = Path(_RUNS_DIR.value) / f"{Path(dataset).stem}-{feedback}-{system.part}-{label}"
    arguments = cell_arguments(system, feedback, dataset)
    # What the runs are of: their flags, the presets as they stand, the defaults, the file.
    texts = _texts(_preset(system, feedback, dataset))
    texts += [json.dumps(Config().flat()), pfr_jax.__version__, _digest(dataset)]
    made_of = "\n".join([json.dumps(arguments), *texts])
    seeds = range(_FIRST.value, _FIRST.value + _SEEDS.value)
    folders = tuple(folder / f"seed{seed}" for seed in seeds) if len(seeds) > 1 else (folder,)
    stamp = folder / "reproduce.txt"
    finished = all((one / "summary.json").is_file() for one in folders)
    if not (finished and stamp.is_file() and stamp.read_text() == made_of):
        where = f"--data_dir={_DATA_DIR.value}", f"--output_dir={folder}", "--overwrite"
        command = [sys.executable, "-m", "pfr_jax", "run", *arguments, *where]
        command.append("--nocheckpoints")  # a cell that was interrupted is made again
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"{folder.name}: {done.stderr.strip()}")
        stamp.write_text(made_of)
        print(f"{folder.name}: done", flush=True)
    return Runs(system.name, TASKS[feedback], folders)


def rows_of(runs: Runs) -> list[dict[str, Any]]:
    """A row of the table per seed."""
    return [
        {
            "feedback": runs.task.name,
            "system": runs.name,
            "seed": seed,
            **table_figures(summary, runs.task),
        }
        for seed, summary in _summaries(runs)
    ]


def rows_of_baselines(systems: Sequence[Runs]) -> list[dict[str, Any]]:
    """Likewise of the simple baselines, which all systems on the same ratings have in common."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for runs in systems:
        for seed, summary in _summaries(runs):
            for name, figures in baseline_figures(summary, runs.task).items():
                known = {"feedback": runs.task.name, "system": name, "seed": seed}
                rows.setdefault((name, seed), {**known, **figures})
    return [rows[key] for key in sorted(rows)]


def _summaries(runs: Runs) -> list[tuple[int, dict[str, Any]]]:
    """Of each run: its seed, and what its summary.json holds."""
    return [
        (_FIRST.value + index, json.loads((folder / "summary.json").read_text()))
        for index, folder in enumerate(runs.folders)
    ]


def write_table(dataset: str, feedback: str, shown: Sequence[Runs], output: Path) -> pd.DataFrame:
    """The table of these systems on a data set, and its plots; a row per run and baseline."""
    name = "_".join([Path(dataset).stem, *_PARTS.value, feedback])
    name += f"_seeds_from_{_FIRST.value}" if _FIRST.value else ""
    rows = [row for runs in shown for row in rows_of(runs)]
    table = pd.DataFrame(rows + rows_of_baselines(shown))
    table.to_csv(output / f"{name}_table.csv", index=False, float_format="%.6g")
    (output / f"{name}_table.md").write_text(markdown(table))
    print(markdown(table))
    if _PARTS.value != ["effects"]:  # too many lines for a plot
        print("\n".join(map(str, draw(shown, output, name))))
    return table


def _require_different(flag: str, names: Sequence[str]) -> None:
    """Folders and rows of tables are called by these names."""
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"{flag}: two are called {', '.join(twice)}; make them one at a time")


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        cells = [
            (system, feedback, dataset)
            for dataset in _DATASETS.value
            for feedback in _FEEDBACK.value
            for system in SYSTEMS
            if system.part in _PARTS.value and feedback in system.feedback
        ]
        if not cells:
            parts = ", ".join(sorted({system.part for system in SYSTEMS}))
            raise InputError(f"--parts={','.join(_PARTS.value)}: want {parts}")
        chosen = [system.name for system in SYSTEMS if system.part in _PARTS.value]
        _require_different("--parts", chosen)
        _require_different("--dataset", [Path(dataset).stem for dataset in _DATASETS.value])
        with ThreadPoolExecutor(_PARALLEL.value) as pool:
            made = list(pool.map(lambda cell: run_cell(*cell), cells))
        output = Path(_OUTPUT_DIR.value)
        output.mkdir(parents=True, exist_ok=True)
        for feedback in _FEEDBACK.value:
            tables = {
                Path(dataset).stem: write_table(
                    *(dataset, feedback),
                    [
                        runs
                        for runs, cell in zip(made, cells, strict=True)
                        if cell[1:] == (feedback, dataset)
                    ],
                    output,
                )
                for dataset in _DATASETS.value
            }
            if len(tables) > 1:
                of_all = overview(tables, TASKS[feedback])
                (output / f"overview_{'_'.join(_PARTS.value)}_{feedback}.md").write_text(of_all)
                print(of_all)
