"""Trains one federation and reports its figures.

pfr run --dataset=ml100k --algorithm=fedavg --num_clients=100
pfr run --preset=paper_ml100k --num_seeds=4
pfr run --dataset=my.csv --columns=user,movie,stars --output_dir=runs/mine --resume
"""

import datetime
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from rich.console import Console

from pfr_jax.config import Config
from pfr_jax.errors import InputError
from pfr_jax.jax_setup import set_up_jax
from pfr_jax.programs.flags import (
    config_from_flags,
    define_config_flags,
    one_line_errors,
)
from pfr_jax.runs.experiment import train_alike
from pfr_jax.runs.folder import RunFolder, new_folder
from pfr_jax.simulation.loading import load_ratings

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Folder for the run's files; empty: a new one under runs/."
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds",
    1,
    "Runs from as many seeds, --seed and --split_seed counted up together, each in a folder of "
    "its own (seed0, seed1, ...), without compiling again.",
    1,
)
_RESUME = flags.DEFINE_bool(
    "resume",
    False,
    "Go on with the run in --output_dir from its last good checkpoint; begin it if there is none. "
    "From there on --eval_every, --top_k and --model_shrinkage may be others, and with "
    "--schedule=constant --rounds.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "Several processes: host:port of the first, for the others to find it."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes",
    1,
    "Processes that simulate together, all with a common --output_dir; 0: as many as the platform "
    "(a TPU slice, Slurm) says.",
    0,
)
_PROCESS = flags.DEFINE_integer("process", -1, "Number of this one, from 0; -1: as it says.", -1)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an earlier run in --output_dir.")


def _with_seed(config: Config, more: int) -> Config:
    """Both seeds raised by ``more``."""
    seed, split_seed = config.run.seed + more, config.data.split_seed + more
    return config.with_settings(seed=seed, split_seed=split_seed)


def _output_dir(config: Config) -> Path:
    """The folder of --output_dir, or a new one, which is made here."""
    if _OUTPUT_DIR.value:
        return Path(_OUTPUT_DIR.value).expanduser()
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    name = Path(config.data.dataset).stem
    return new_folder(Path("runs") / f"{name}-{config.run.algorithm}-{moment}")


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        config = config_from_flags(flags.FLAGS)
        if not _OUTPUT_DIR.value and (_RESUME.value or _NUM_PROCESSES.value != 1):
            raise InputError("--resume and --num_processes: say --output_dir, always the same")
        set_up_jax(config.run.num_devices, _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS.value)
        configs = [_with_seed(config, more) for more in range(_NUM_SEEDS.value)]
        first = jax.process_index() == 0
        output, console = _output_dir(config), Console(quiet=not first)
        places = [output / f"seed{one.run.seed}" for one in configs]
        folders: list[RunFolder] = []
        try:
            for place in places if len(configs) > 1 else [output]:
                switches = _OVERWRITE.value, _RESUME.value, first
                folders.append(RunFolder(place, *switches, output, made=not _OUTPUT_DIR.value))
            console.print(f"reading {config.data.dataset} ...", soft_wrap=True)
            started = time.perf_counter()
            runs = [(one, *load_ratings(one.data)) for one in configs]
            seconds = time.perf_counter() - started
            train_alike(runs, folders, console, read_seconds=seconds)
        finally:
            for folder in reversed(folders):
                folder.release()
        console.print(f"Files in {output}", soft_wrap=True)


define_config_flags()
