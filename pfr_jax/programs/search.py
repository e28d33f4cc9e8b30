"""Searches the settings of a recipe on validation splits, of several data sets together.

    pfr search --dataset=my.csv
    pfr search --preset=default_joint --space=joint --dataset=ml100k,filmtrust.csv --trials=100

The recipe is given as for ``pfr run``; --space is what is changed in it. The first trial is the
recipe itself, the others are drawn by optuna's tree-structured Parzen estimator. A trial's figure
is how far the best validation figure is from that of the best simple baseline on the same split, as
a share of it: the mean over the data sets and over the seeds (each with a split of its own).
Negative is better than the baseline. The test split is never looked at. With five data sets or more
a trial that is behind the best one on so many that it is hardly by chance is not tried on those
that are left, so name last what trains longest.

Trials are kept in ``SPACE.sqlite3`` of --output_dir, which is of one recipe: an interrupted search
goes on where it was, and the same command started several times (best each with --num_devices=1)
searches together. ``SPACE_trials.csv`` has a row per trial.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pfr_jax.programs.flags import config_from_flags, define_config_flags, one_line_errors
from pfr_jax.programs.search_spaces import SPACES
from pfr_jax.programs.trials import Search

_SPACE = flags.DEFINE_enum(
    "space", "personalfr", list(SPACES), "What is changed (programs/search_spaces.py)."
)
_TRIALS = flags.DEFINE_integer("trials", 40, "Trials, those of earlier calls included.", 1)
_SEEDS = flags.DEFINE_integer(
    "num_seeds", 2, "Seeds of training and split, from --seed and --split_seed on.", 1
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/search", "Where trials are kept.")


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        search = Search(
            recipe=config_from_flags(flags.FLAGS),
            space=SPACES[_SPACE.value],
            seeds=_SEEDS.value,
            storage=Path(_OUTPUT_DIR.value).expanduser() / f"{_SPACE.value}.sqlite3",
        )
        search.run(_TRIALS.value)


define_config_flags()
