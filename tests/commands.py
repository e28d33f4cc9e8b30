"""The command ``pfr`` in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def pfr(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the command, from a folder that holds nothing of the repository."""
    return subprocess.run(
        [sys.executable, "-m", "pfr_jax", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=300,
    )
