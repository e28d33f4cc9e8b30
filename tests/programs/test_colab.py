"""The notebook's cells, executed on a CPU but for those that need Colab."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "experiments" / "colab.ipynb"
# A smaller run of the same command.
SMALLER = ("--rounds=4", "--eval_every=2", "--hidden_sizes=8,4", "--max_buckets=1")


def cells() -> list[dict]:
    return [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]


def test_it_runs(tmp_path: Path) -> None:
    """Commands as they are, and the Python cells after them as one script."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    texts = ["".join(c["source"]) for c in cells() if "colab" not in c["metadata"].get("tags", ())]
    commands = [text for text in texts if text.startswith("!python")]
    code = [text for text in texts if text not in commands]
    assert len(commands) >= 1 and len(code) >= 3
    checks = (
        "assert len(run) == 2 and run['MB per client'].gt(0).all()",
        "assert len(users) == 300 and users.activity.notna().all()",
        "named = model.recommend(model.user_ids[0], k=5).join(model.titles, on='item')",
        "assert named['title'].tolist() == named['item'].astype(str).tolist()",
    )
    script = tmp_path / "cells.py"
    script.write_text("\n".join([*code, *checks]))
    given = [shlex.split(text)[1:] for text in commands]
    runs = [[sys.executable, *one, *(SMALLER if "run" in one else ())] for one in given]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "MPLBACKEND": "agg"}
    environment["PYTHONPATH"] = str(ROOT)
    for command in (*runs, [sys.executable, str(script)]):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_the_flags_of_the_other_cells_exist() -> None:
    commands = [
        shlex.split("".join(cell["source"])[1:])
        for cell in cells()
        if "".join(cell["source"]).startswith("!python -m")
    ]
    assert len(commands) >= 4
    for command in commands:
        program = command[2:4] if command[2] == "pfr_jax" else command[2:3]
        helped = subprocess.run(
            [sys.executable, "-m", *program, "--helpfull"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for argument in command[2 + len(program) :]:
            if not argument.startswith("--"):  # a run
                continue
            name = argument.removeprefix("--").split("=")[0]
            assert f"--{name}" in helped.stdout or f"--[no]{name}" in helped.stdout, name


def test_it_has_no_outputs() -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells())
