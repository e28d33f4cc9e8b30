"""Writes synthetic ratings in a known layout.

    pfr synthesize --dataset=synthetic-ml10m --layout=ml-10m --data_dir=data

For trying out anything that reads MovieLens or Anime where the real ratings may not go.
"""

from collections.abc import Sequence

from absl import flags

from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.writers import LAYOUTS, write_ratings, write_users
from pfr_jax.programs.flags import one_line_errors

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
