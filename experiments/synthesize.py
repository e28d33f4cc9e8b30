"""Writes synthetic ratings as a MovieLens file: ``python -m experiments.synthesize --help``.

For trying out anything that reads MovieLens where the real ratings may not go:
``python -m experiments.synthesize --dataset=synthetic-ml10m --layout=ml-10m --data_dir=data``.
"""

import sys
from collections.abc import Sequence

from absl import app, flags

from experiments.flags import parse_flags
from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.writers import LAYOUTS, write_movielens
from pfr_jax.errors import InputError

_DATASET = flags.DEFINE_enum("dataset", "synthetic", list(PRESETS), "What to generate.")
_LAYOUT = flags.DEFINE_enum("layout", "ml-100k", list(LAYOUTS), "The data set whose format to use.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder that gets the data set's folder.")
_SEED = flags.DEFINE_integer("split_seed", 0, "Seed of the generator.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    del argv
    try:
        ratings = generate(PRESETS[_DATASET.value], _SEED.value)
        print(write_movielens(ratings, _DATA_DIR.value, _LAYOUT.value))
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or ''}: {error.strerror or error}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
