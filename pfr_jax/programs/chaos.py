"""Kills runs and damages checkpoints.

    pfr chaos --kills=50 --damages=300

A run that is killed again and again (SIGKILL, at random moments) and resumed must end as one that
was left alone: the same SHA-256 of the server and of all clients, in the last round and in the one
that was kept; to the byte the same metrics log, per_user.csv and summary.json (but for times and
memory); and no more than one checkpoint interval done twice. A damaged checkpoint must never be
used: the one before it is, or the program stops and names the file.
"""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from pfr_jax.errors import InputError
from pfr_jax.programs.flags import one_line_errors
from pfr_jax.runs.checkpoints import steps, store
from pfr_jax.runs.kept import BEST

_ALGORITHMS = flags.DEFINE_list("algorithms", ["personalfr", "fedavg"], "What is killed.")
_KILLS = flags.DEFINE_integer("kills", 50, "SIGKILLs for each algorithm.", 0)
_DAMAGES = flags.DEFINE_integer("damages", 300, "Damages to a step's files, in all.", 0)
_FOLDER = flags.DEFINE_string("folder", "runs/chaos", "Where the runs are; is emptied.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments and damages.")
_EXTRA = flags.DEFINE_multi_string("set", [], "A flag for every run, as in --set=rounds=80.")

VARYING = ("seconds", "peak_")  # what names in summary.json begin with
EVERY = 4  # rounds between checkpoints
RUN = (
    "--preset=quick",
    "--eval_every=1",  # a log line per round, so that the log tells how far a run was
    f"--checkpoint_every={EVERY}",
)


@dataclass(frozen=True)
class End:
    """What a finished run left."""

    digest: str  # of server and clients
    kept: str  # likewise of the selected round
    files: dict[str, bytes]  # what must be the same however often it was killed

    @classmethod
    def of(cls, folder: Path) -> "End":
        last = steps.verified(steps.step_paths(folder / "checkpoints")[-1])
        files = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "per_user.csv")}
        files["summary.json"] = without_times((folder / "summary.json").read_text()).encode()
        kept = steps.verified(steps.step_paths(folder / BEST)[-1])
        return cls(store.digest(last), store.digest(kept), files)

    def check(self, alone: "End", place: Path) -> None:
        """Raises InputError for the first thing that is not as in a run that was left ``alone``."""
        if self.kept != alone.kept:
            raise InputError(f"{place}: another model was kept than by a run left alone")
        if self.digest != alone.digest:
            raise InputError(f"{place}: another end state than that of a run left alone")
        for name, content in self.files.items():
            if content != alone.files[name]:
                raise InputError(f"{place / name}: not that of a run left alone")


def without_times(summary: str) -> str:
    """The text of a summary.json without the seconds and the memory that its run took."""
    content = json.loads(summary)
    kept = {name: v for name, v in content.items() if not name.startswith(VARYING)}
    return json.dumps(kept, indent=2)


def command(algorithm: str, folder: Path) -> list[str]:
    extra = (f"--{setting}" for setting in _EXTRA.value)
    fixed = f"--algorithm={algorithm}", f"--output_dir={folder}", "--resume"
    return [sys.executable, "-m", "pfr_jax", "run", *RUN, *fixed, *extra]


def rounds_logged(folder: Path) -> int:
    """The last round in the log that stands there whole."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return json.loads(lines[-1])["round"] if lines else 0


def rounds_saved(folder: Path) -> int:
    """The round of the last checkpoint."""
    paths = steps.step_paths(folder / "checkpoints")
    return steps.verified(paths[-1]).round if paths else 0


def kill_and_resume(
    algorithm: str, folder: Path, seconds: tuple[float, float], kills: int, draw: random.Random
) -> tuple[int, int]:
    """Runs to the end, killed up to ``kills`` times: how often, and most rounds to do again."""
    killed, again = 0, 0
    while True:
        run = subprocess.Popen(
            command(algorithm, folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            wait = draw.uniform(*seconds) if killed < kills else None
            _, error = run.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            killed += 1
            again = max(again, rounds_logged(folder) - rounds_saved(folder))
            continue
        if run.returncode:
            raise InputError(f"{folder}: a resumed run failed: {error.strip()}")
        return killed, again


def kills(algorithm: str, folder: Path, draw: random.Random) -> None:
    """Prints what became of the runs; raises InputError if one ended otherwise."""
    kill_and_resume(algorithm, folder / "first", (0, 0), 0, draw)  # compiles, for the timing below
    started = time.perf_counter()
    kill_and_resume(algorithm, folder / "alone", (0, 0), 0, draw)
    whole = time.perf_counter() - started
    alone, total, number, again = End.of(folder / "alone"), 0, 0, 0
    while total < _KILLS.value:
        place = folder / f"killed{number}"
        # Most moments are after the start-up, of which little depends on the run.
        more, rounds = kill_and_resume(
            algorithm, place, (0.35 * whole, 0.8 * whole), _KILLS.value - total, draw
        )
        End.of(place).check(alone, place)
        total, number, again = total + more, number + 1, max(again, rounds)
        print(f"{algorithm}: {total} kills, {number} runs, all as if never killed", flush=True)
        shutil.rmtree(place)
    if again > EVERY:
        raise InputError(f"{algorithm}: {again} rounds had to be done again, more than {EVERY}")
    print(f"{algorithm}: {total} kills; at most {again} rounds done again; {alone.digest}")


def damage(path: Path, kind: str, draw: random.Random) -> None:
    """Flips a bit of a file, zeroes a block, cuts it or removes it."""
    content = bytearray(path.read_bytes())
    if kind == "deleted" or not content:
        path.unlink()
        return
    at = draw.randrange(len(content))
    if kind == "bit flipped":
        content[at] ^= 1 << draw.randrange(8)
    elif kind == "block zeroed":
        end = min(len(content), at + 4096)
        # Zeros written over zeros would be no damage.
        content[at:end] = bytes(end - at) if any(content[at:end]) else b"\xff" * (end - at)
    else:
        del content[at:]
    path.write_bytes(content)


def damages(run: Path, folder: Path, draw: random.Random) -> None:
    """Damages the newest of a run's two steps; raises InputError where it would be used."""
    kinds = "bit flipped", "block zeroed", "cut off", "deleted"
    original = run / "checkpoints"
    older, newest = (path.name for path in steps.step_paths(original)[-2:])
    used_older, named = 0, 0
    for number in range(_DAMAGES.value):
        place = folder / "damaged"
        shutil.copytree(original, place)
        files = sorted(steps.files_under(place / newest)) + [
            place / newest / name
            for name in steps.verified(place / newest).sums
            if name.startswith("..")
        ]
        target = files[number % len(files)]
        kind = kinds[number // len(files) % len(kinds)]
        damage(target, kind, draw)
        told: list[str] = []
        try:
            found = store.newest_good(place, told.append)
        except InputError as error:
            told, found = [str(error)], None
        if found is not None and found.path.name == newest:
            raise InputError(f"{target}, {kind}: not noticed")
        if not any(target.name in text for text in told):
            raise InputError(f"{target}, {kind}: noticed, but not named: {told}")
        used_older += found is not None and found.path.name == older
        named += 1
        shutil.rmtree(place)
    print(
        f"{named} damages, none used, each named; {used_older} times the step before was used, "
        f"else (a slice that both need) the program stops"
    )


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        folder, draw = Path(_FOLDER.value), random.Random(_SEED.value)
        shutil.rmtree(folder, ignore_errors=True)
        for algorithm in _ALGORITHMS.value:
            kills(algorithm, folder / algorithm, draw)
        if _DAMAGES.value:
            damages(folder / _ALGORITHMS.value[0] / "alone", folder, draw)
