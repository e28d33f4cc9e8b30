"""Writes the parts of a split as files, for other tools or to be read again.

    pfr split --dataset=ml100k --split=temporal --output_dir=runs/split

The settings of data say which ratings and how they are split, as for pfr run. train.csv,
validation.csv and test.csv have the columns user, item and rating (user and item alone where every
row is a choice).
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pfr_jax.data.given_split import flags_to_read, write_split
from pfr_jax.errors import InputError
from pfr_jax.programs.flags import config_from_flags, define_config_flags, one_line_errors
from pfr_jax.simulation.loading import load_ratings

_OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Folder for the files; it is made.")


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        if not _OUTPUT_DIR.value:
            raise InputError("say --output_dir=FOLDER, where the parts are written")
        config, folder = config_from_flags(flags.FLAGS), Path(_OUTPUT_DIR.value).expanduser()
        ratings, split = load_ratings(config.data)
        for path, number in write_split(ratings, split, folder).items():
            print(f"{path}: {number:,} ratings")
        print(f"pfr run {' '.join(flags_to_read(ratings, split, folder))}")


define_config_flags()
