"""Writes synthetic ratings in a known layout: ``python -m experiments.synthesize --help``.

For trying out anything that reads MovieLens or Anime where the real ratings may not go:
``python -m experiments.synthesize --dataset=synthetic-ml10m --layout=ml-10m --data_dir=data``.
"""

from collections.abc import Sequence

from absl import app, flags

from experiments.flags import one_line_errors, parse_flags
from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.writers import LAYOUTS, write_ratings, write_users

_DATASET = flags.DEFINE_enum("dataset", "synthetic", list(PRESETS), "What to generate.")
_LAYOUT = flags.DEFINE_enum("layout", "ml-100k", list(LAYOUTS), "The data set whose format to use.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder that gets the data set's folder.")
_SEED = flags.DEFINE_integer("split_seed", 0, "Seed of the generator.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors():
        ratings = generate(PRESETS[_DATASET.value], _SEED.value)
        print(write_ratings(ratings, _DATA_DIR.value, _LAYOUT.value))
        users = write_users(ratings, _DATA_DIR.value, _LAYOUT.value, _SEED.value)
        if users:
            print(users)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
