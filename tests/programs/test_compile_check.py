"""Rows of programs that were compiled for accelerators which are not here."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.sharding import Mesh

from pfr_jax.errors import InputError
from pfr_jax.population.devices import AXIS
from pfr_jax.programs.ahead_of_time import chips
from pfr_jax.programs.ahead_of_time.measure import Figures, measure
from pfr_jax.programs.ahead_of_time.parts import Program

ROOT = Path(__file__).parents[2]
KEY = "v5e:2x2", 1, "ml100k", "some: round", ""
CHIP = chips.Chip(bytes_per_second=1e9)


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch) -> Mesh:
    """Of a chip of 1 GiB."""
    monkeypatch.setattr("pfr_jax.programs.ahead_of_time.measure.device_bytes", lambda mesh: 2.0**30)
    return Mesh(np.array(jax.devices()[:1]), (AXIS,))


def test_an_unknown_chip_and_a_missing_compiler_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--topology=v3:2x2: want one of v4, v5e"):
        chips.chip_of("v3:2x2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"libtpu is not installed.*pfr_jax\[aot\]"):
        chips.chip_of("v5e:2x2")
    with pytest.raises(InputError, match=r"cuda.*is not installed.*pfr_jax\[aot-cuda\]"):
        chips.chip_of("h100")


def test_a_program_that_compiles(mesh: Mesh) -> None:
    """An array of a MiB, given up to its successor."""
    shape = jax.ShapeDtypeStruct((2**18,), jnp.float32)
    program = Program(jax.jit(lambda a: a + 1, donate_argnums=0), (shape,))
    row = measure(KEY, lambda: (program, 2.0**20), mesh, CHIP)
    mib = 2.0**-10
    assert (row.arguments_gib, row.outputs_gib, row.aliases_gib) == (mib, mib, mib)
    assert row.needed_gib == mib + (row.temporaries_gib or 0)
    assert row.fits and not row.error and row.operations
    launches = row.operations * chips.SECONDS_PER_KERNEL
    assert row.milliseconds == pytest.approx(1e3 * (2 * 2**20 / 1e9 + launches))
    assert row.estimate_to_needed == pytest.approx(mib / row.needed_gib)


def failing(message: str) -> Any:
    def fail() -> None:
        raise RuntimeError(message)

    return fail


def test_a_program_that_does_not(mesh: Mesh) -> None:
    too_much = "RESOURCE_EXHAUSTED: no\n memory. Used 63.08G of 15.75G hbm. Exceeded by 47.33G."
    row = measure(KEY, failing(too_much), mesh, CHIP)
    assert (row.fits, row.needed_gib) == (False, 63.08)
    assert row.error.startswith("RuntimeError: RESOURCE_EXHAUSTED: no memory.")
    of_temporaries = "memory required for HLO temporaries (57.97G) exceeds available HBM (15.75G)"
    assert measure(KEY, failing(of_temporaries), mesh, CHIP).needed_gib == 57.97
    other = measure(KEY, failing("no such operation"), mesh, CHIP)
    assert other.fits is None and other.needed_gib is None


def compile_check(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pfr_jax", "compile-check", *flags],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.slow
def test_what_is_here_is_compiled_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU, even where libtpu is installed and looks for a TPU."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    only = "--only=^small: round", "--sizes=ml100k"
    done = compile_check(tmp_path, "--topology=here", *only, "--output=table.csv")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = pd.read_csv(tmp_path / "table.csv").to_dict("records")
    assert row["needed_gib"] > 0 and row["operations"] > 0
    assert np.isnan(row["milliseconds"]) and np.isnan(row["chip_gib"])  # nothing is known of a CPU


@pytest.mark.slow
def test_wrong_flags_are_said_in_a_line(tmp_path: Path) -> None:
    for flag in ("--sizes=ml20m", "--chips=0", "--only=no such program", "--only=("):
        done = compile_check(tmp_path, flag)
        assert done.returncode == 1 and done.stderr.startswith(f"error: {flag}")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_quick_compiles_for_a_tpu(tmp_path: Path) -> None:
    done = compile_check(tmp_path, "--quick", "--output=table.csv")
    assert (done.returncode, done.stderr) == (0, "")
    rows = (tmp_path / "table.csv").read_text().splitlines()
    assert rows[0].split(",")[:4] == list(Figures.__dataclass_fields__)[:4]
    assert len(rows) > 2 and all(row.startswith("v5e:2x2,1,ml100k,") for row in rows[1:])
