"""Searches settings on validation splits.

    pfr search --system=personalfr
    pfr search --system=fedavg --dataset=my.csv --trials=100 --output_dir=runs/search

Settings are drawn by optuna's tree-structured Parzen estimator; the first trial has those that the
space begins with. A trial's figure is the mean over the seeds (each with a split of its own) of the
best validation figure less that of bias-only on the same split. The test split is never looked at.

Trials are kept in ``DATASET_SYSTEM.sqlite3``: an interrupted search goes on where it was, and the
same command started several times searches together. ``DATASET_SYSTEM_trials.csv`` has a row per
trial.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pfr_jax.programs.flags import one_line_errors
from pfr_jax.programs.search_spaces import SYSTEMS
from pfr_jax.programs.trials import Search

_DATASET = flags.DEFINE_string("dataset", "ml100k", "As for pfr run.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "As for pfr run.")
_SYSTEM = flags.DEFINE_enum(
    "system", "personalfr", list(SYSTEMS), "What is searched (programs/search_spaces.py)."
)
_TRIALS = flags.DEFINE_integer("trials", 40, "Trials, those of earlier calls included.", 1)
_SEEDS = flags.DEFINE_integer("num_seeds", 2, "Seeds 0, 1, ... of training and split.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 300, "Communication rounds; joint: a third, as epochs.", 1)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/search", "Where trials are kept.")


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        search = Search(
            dataset=_DATASET.value,
            data_dir=_DATA_DIR.value,
            seeds=_SEEDS.value,
            rounds=_ROUNDS.value,
            folder=Path(_OUTPUT_DIR.value).expanduser(),
        )
        search.run(SYSTEMS[_SYSTEM.value], _TRIALS.value)
