"""Everything to look at on a machine with an accelerator, in less than ten minutes.

    python -m experiments.on_accelerator

Runs, each in a process of its own and only as long as there is time: rounds of MovieLens-10M's
sizes with evaluation, what the compiler says of such a round, the benchmark, beside PyTorch where
that is installed, and on an accelerator the same rounds where clients stay in the machine's memory,
and twenty rounds with the kernel and without.

Writes ``on_NAME.json`` with the device's name: milliseconds of a round (median, without compiling),
seconds of each part, peak memory, the losses of rounds that were evaluated (with the kernel and
without, the same but for rounding), the compiler's memory and milliseconds and the simulator's own
estimate, and the benchmark's rows; what did not end in time, or failed, says so. ``--scale=smoke``
is a few minutes on any machine.
"""

import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import app, flags


@dataclass(frozen=True)
class Scale:
    like: str  # of pfr benchmark
    dataset: str
    rounds: int
    every: int  # rounds between evaluations


SCALES = {
    "full": Scale("ml10m", "synthetic-ml10m", 800, 100),
    "smoke": Scale("ml100k", "synthetic", 8, 4),
}
LONGEST = 0.45  # share of the time that one part may take
_SCALE = flags.DEFINE_enum("scale", "full", list(SCALES), "How much.")
_SECONDS = flags.DEFINE_float("seconds", 570, "For all of it.", 1)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "experiments/results", "Where the JSON goes.")


def ended(program: Sequence[str], deadline: float, most: float = math.inf) -> str:
    """Runs ``pfr PROGRAM`` until it ends or time is up, its own (``most`` seconds) or all: "" or
    what went wrong."""
    left = deadline - time.monotonic()
    if left < 10:
        return "not begun: no time was left"
    left = min(left, most)
    command = [sys.executable, "-m", "pfr_jax", *program]
    # A session of its own: what it has started ends with it, or it would keep the device.
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            _, said = running.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            return f"cut off after {left:.0f} s"
    last = (said.strip().splitlines() or ["no message"])[-1]
    return f"status {running.returncode}: {last}" if running.returncode else ""


def timed_run(
    folder: Path, settings: Sequence[str], deadline: float, most: float = math.inf
) -> dict[str, Any]:
    """Facts of ``pfr run`` with these flags."""
    output = f"--output_dir={folder}", "--baselines=simple", "--checkpoint_every=1000000"
    failure = ended(["run", *settings, *output], deadline, most)
    found: dict[str, Any] = {"settings": list(settings), **({"failed": failure} if failure else {})}
    timings, summary = folder / "timings.jsonl", folder / "summary.json"
    log = folder / "metrics.jsonl"
    if log.is_file():
        found["losses"] = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    if timings.is_file():  # sums so far, a line per evaluation
        lines = [json.loads(line) for line in timings.read_text().splitlines()]
        rounds, train = ([line[name] for line in lines] for name in ("round", "train"))
        found["seconds_so_far"] = lines[-1]
        if len(lines) > 1:
            found["milliseconds_per_round"] = float(
                1e3 * np.median(np.diff(train) / np.diff(rounds))
            )
    if summary.is_file():
        known = json.loads(summary.read_text())
        found |= {name: known[name] for name in ("peak_rss_bytes", "peak_device_bytes")}
    return found


def expected(path: Path, like: str, chips: int, deadline: float, most: float) -> dict[str, Any]:
    """What the compiler that is here says of a round, without running it: ``pfr compile-check``."""
    failure = ended(
        [
            *("compile-check", "--topology=here", f"--chips={chips}", f"--sizes={like}"),
            *("--only=^personalfr: round", f"--output={path}"),
        ],
        *(deadline, most),
    )
    if failure or not path.is_file():
        return {"failed": failure or "nothing was written"}
    (row,) = pd.read_csv(path).to_dict("records")
    return {str(name): None if pd.isna(value) else value for name, value in row.items()}


def device() -> tuple[str, str, int]:
    """The devices' platform as ``pfr benchmark`` calls it, their name, fit for a file's, and how
    many there are; asked in a process of its own."""
    ask = "import jax; all = jax.devices(); print(all[0].platform); print(all[0].device_kind)"
    ask += "; print(len(all))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    platform, kind, count = done.stdout.strip().splitlines()[-3:]
    name = re.sub(r"\W+", "-", kind).lower()
    return {"gpu": "cuda"}.get(platform, platform), name, int(count)


def main(argv: Sequence[str]) -> None:
    del argv
    deadline, how = time.monotonic() + _SECONDS.value, SCALES[_SCALE.value]
    platform, name, count = device()
    common = f"--dataset={how.dataset}", f"--eval_every={how.every}"
    contestants = ["active_rows", "factored"]
    if platform in ("cpu", "cuda") and importlib.util.find_spec("torch"):
        contestants.insert(0, "torch_batched")
    found: dict[str, Any] = {"device": name, "devices": count}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        most = LONGEST * _SECONDS.value
        found["run"] = timed_run(
            folder / "run", [*common, f"--rounds={how.rounds}"], deadline, most
        )
        place = folder / "expected.csv"
        found["expected"] = expected(place, how.like, count, deadline, most / 2)
        failure = ended(
            [
                *("benchmark", f"--like={how.like}", "--rounds=5", f"--device={platform}"),
                *(f"--contestants={','.join(contestants)}", f"--output_dir={folder}"),
                "--noroofline",
            ],
            *(deadline, most),
        )
        found["benchmark"] = [json.loads(path.read_text()) for path in folder.glob("bench*.json")]
        if failure:
            found["benchmark_failed"] = failure
        if platform != "cpu":
            fewer = [*common, f"--rounds={how.rounds // 4}", "--state_memory=host"]
            found["host_store"] = timed_run(folder / "host", fewer, deadline)
            few = f"--dataset={how.dataset}", "--rounds=20", "--eval_every=5"
            for kernel in ("auto", "off"):
                place, chosen = folder / kernel, f"--kernel={kernel}"
                found[f"kernel_{kernel}"] = timed_run(place, [*few, chosen], deadline)
    path = Path(_OUTPUT_DIR.value) / f"on_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    print(f"Written to {path}")


if __name__ == "__main__":
    app.run(main)
