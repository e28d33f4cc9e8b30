"""Measures the throughput of federated training against PyTorch.

    pfr benchmark --like=ml10m --rounds=7

Every contestant runs in a process of its own, in turn, on the same synthetic ratings and local
steps. First all of them compute two rounds of one small cohort, without dropout; only those that
agree on the change of every leaf are timed. Nothing but rounds is inside the clock.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console

from pfr_jax.data.synthetic import PRESETS
from pfr_jax.errors import InputError
from pfr_jax.programs.contestants.figures import show, summarise
from pfr_jax.programs.contestants.roofline import measure
from pfr_jax.programs.contestants.sizes import make_workload, scaling_specs, small_part
from pfr_jax.programs.contestants.workload import Workload
from pfr_jax.programs.flags import one_line_errors
from pfr_jax.runs.environment import environment

LIKE = {"ml100k": "synthetic", "ml1m": "synthetic-ml1m", "ml10m": "synthetic-ml10m"}
CONTESTANTS = ("torch_loop", "torch_batched", "active_rows", "factored")
TOLERANCE = 1e-3  # of the largest change of a leaf, in float32

_LIKE = flags.DEFINE_enum("like", "ml10m", list(LIKE), "Sizes of the synthetic ratings.")
_CONTESTANTS = flags.DEFINE_list("contestants", list(CONTESTANTS), "Who takes part.")
_COHORT = flags.DEFINE_float("cohort_fraction", 0.1, "Share of the clients in a round.", 1e-6, 1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed rounds; the median is reported.", 1)
_SAMPLE = flags.DEFINE_integer("loop_sample", 8, "Clients of a round that torch_loop trains.", 1)
_DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "cuda", "tpu"], "Where to compute.")
_MOMENTUM = ["carry", "restart"]
_PRIVATE = flags.DEFINE_enum("private_momentum", "carry", _MOMENTUM, "As in a run.")
_SHARED = flags.DEFINE_enum("shared_momentum", "restart", _MOMENTUM, "As in a run.")
_BLOCK = flags.DEFINE_integer("block_size", 0, "Clients of a block; 0: each contestant's own.", 0)
_ROOFLINE = flags.DEFINE_bool("roofline", True, "Measure the machine, for the floors.")
_SCALING = flags.DEFINE_bool("scaling", False, "Time 'factored' on more users and items instead.")
_SETTINGS = _LIKE, _CONTESTANTS, _COHORT, _ROUNDS, _SAMPLE, _PRIVATE, _SHARED, _BLOCK, _DEVICE
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "experiments/results", "Where the JSON goes.")


def work(contestant: str, workload: Path, result: Path, warm_up: int, rounds: int) -> None:
    """Runs the contestant in a process of its own."""
    sample = _SAMPLE.value if contestant == "torch_loop" and result.suffix == ".json" else 0
    numbers = _BLOCK.value, warm_up, rounds, sample
    command = [
        *(sys.executable, "-m", "pfr_jax.programs.contestants.worker"),
        *(contestant, str(workload), str(result), _DEVICE.value, *map(str, numbers)),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message; memory may have run out"]
        raise InputError(f"{contestant} ended with status {done.returncode}: {last[0]}")


def disagreement(workload: Workload, one: Path, other: Path) -> float:
    """Largest difference of two contestants' changes, relative to the largest change of a leaf."""
    with np.load(one) as a, np.load(other) as b:
        if set(a.files) != set(b.files):
            return float("inf")
        found = []
        for key in a.files:
            owner, _, name = key.partition(":")
            start = workload.initial[name]
            if owner != "shared" and name.endswith("/item_kernel"):
                start = start[workload.client(int(owner))[0]]
            change, difference = a[key] - start, np.abs(a[key] - b[key]).max()
            found.append(difference / np.abs(change).max())
    return float(np.max(found))  # NaN if anything is not a number


def check_agreement(
    names: Sequence[str], workload: Workload, folder: Path, console: Console
) -> tuple[list[str], dict[str, str]]:
    """The contestants that can be run, and of the others why not.

    Raises InputError unless all of them compute the same, or if there are none.
    """
    part = small_part(workload)
    part.save(folder / "small.npz")
    ran, failed = list[str](), dict[str, str]()
    for name in names:
        try:
            work(name, folder / "small.npz", folder / f"{name}.npz", 0, 0)
        except InputError as error:
            failed[name] = str(error)
            console.print(f"{error}", soft_wrap=True)
            continue
        ran.append(name)
        if name == ran[0]:
            continue
        worst = disagreement(part, folder / f"{ran[0]}.npz", folder / f"{name}.npz")
        console.print(f"{name} agrees with {ran[0]} to {worst:.1e} of the largest change.")
        if not worst < TOLERANCE:
            raise InputError(f"{name} does not compute what {ran[0]} does; it is not timed")
    if not ran:
        raise InputError("; ".join(failed.values()))
    return ran, failed


def race(
    names: Sequence[str], workload: Workload, folder: Path, limits: Any, console: Any
) -> tuple[list, dict[str, str]]:
    """A row per contestant; and of those that failed why, which keeps nobody else's from being
    written. Raises InputError if all did."""
    workload.save(folder / "workload.npz")
    rows, failed = [], dict[str, str]()
    for name in names:
        try:
            work(name, folder / "workload.npz", folder / "timings.json", 2, _ROUNDS.value)
        except InputError as error:
            failed[name] = str(error)
            console.print(f"{error}", soft_wrap=True)
            continue
        timings = json.loads((folder / "timings.json").read_text())
        if not timings["compiled"]:
            raise InputError(f"{name}: torch.compile failed, which would not be a fair race")
        rows.append(summarise(name, timings, workload.local_steps, limits))
        console.print(f"{name}: {rows[-1]['microseconds_per_client_step']:,.1f} us per client-step")
    if not rows:
        raise InputError("; ".join(failed.values()))
    return rows, failed


def run(console: Console) -> None:
    names = _CONTESTANTS.value
    if _DEVICE.value == "tpu" and not _CONTESTANTS.present:  # PyTorch has none
        names = [name for name in names if not name.startswith("torch")]
    if not names or set(names) - set(CONTESTANTS):
        raise InputError(f"--contestants={','.join(names)}: want some of {','.join(CONTESTANTS)}")
    output = Path(_OUTPUT_DIR.value)
    output.mkdir(parents=True, exist_ok=True)
    carried = _PRIVATE.value == "carry", _SHARED.value == "carry"
    limits = measure(os.cpu_count() or 1) if _ROOFLINE.value else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if _SCALING.value:
            rows = []
            for name, spec in scaling_specs().items():
                workload = make_workload(spec, _COHORT.value, carried)
                ((row,), failed) = race(["factored"], workload, folder, limits, console)
                rows.append({**row, "contestant": f"factored, {name}"})
        else:
            workload = make_workload(PRESETS[LIKE[_LIKE.value]], _COHORT.value, carried)
            able, unable = check_agreement(names, workload, folder, console)
            rows, failed = race(able, workload, folder, limits, console)
            failed |= unable
    show(rows, limits, console)
    path = output / f"benchmark_{kind_of_race()}_{_DEVICE.value}.json"
    content = {
        "machine": {**machine(), **limits},
        "versions": versions(),
        "settings": {flag.name: flag.value for flag in _SETTINGS},
        "results": rows,
        "failed": failed,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    console.print(f"Written to {path}")


def kind_of_race() -> str:
    """What a result is of, as its file is called."""
    if _SCALING.value:
        return "scaling"
    private = "" if _PRIVATE.value == "carry" else "_private_restart"
    return f"{_LIKE.value}_{_SHARED.value}{private}"


def machine() -> dict[str, Any]:
    facts = environment()
    return {"cores": os.cpu_count(), "platform": facts["platform"]}


def versions() -> dict[str, str]:
    facts = {
        name: text for name, text in environment().items() if name not in ("platform", "devices")
    }
    try:
        facts["torch"] = version("torch")
    except PackageNotFoundError:
        facts["torch"] = "not installed"
    return facts


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        run(Console())
