"""The notebook's cells, executed on a CPU but for those that need Colab."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "experiments" / "colab.ipynb"
# A smaller run of the same command.
SMALLER = ("--rounds=4", "--eval_every=2", "--hidden_sizes=8,4", "--max_buckets=1")


def cells() -> list[dict]:
    return [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("agg")
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    names: dict = {}
    executed = 0
    for cell in cells():
        if "colab" in cell["metadata"].get("tags", ()):
            continue
        text = "".join(cell["source"])
        if text.startswith("!python"):
            arguments = [sys.executable, *shlex.split(text)[1:], *SMALLER]
            environment = os.environ | {"JAX_PLATFORMS": "cpu"}
            subprocess.run(arguments, check=True, capture_output=True, env=environment)
        else:
            exec(text, names)
        executed += 1
    assert executed >= 4 and len(names["run"]) == 2 and names["run"]["MB per client"].gt(0).all()
    assert len(names["users"]) == 300


def test_the_flags_of_the_other_cells_exist() -> None:
    commands = [
        shlex.split("".join(cell["source"])[1:])
        for cell in cells()
        if "".join(cell["source"]).startswith("!python -m experiments")
    ]
    assert len(commands) >= 4
    for command in commands:
        helped = subprocess.run(
            [sys.executable, "-m", command[2], "--helpfull"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for argument in command[3:]:
            name = argument.removeprefix("--").split("=")[0]
            assert f"--{name}" in helped.stdout or f"--[no]{name}" in helped.stdout, name


def test_it_has_no_outputs() -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells())
