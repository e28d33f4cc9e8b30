"""From settings to ratings and their split."""

from pfr_jax.config import DataConfig
from pfr_jax.data import load
from pfr_jax.data.filters import keep_active
from pfr_jax.data.formats import ReadOptions
from pfr_jax.data.formats.options import Columns
from pfr_jax.data.given_split import read_given_split
from pfr_jax.data.sources import is_known
from pfr_jax.data.splits import (
    Split,
    leave_one_out_split,
    random_split,
    temporal_split,
    user_split,
)
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError
from pfr_jax.paths import expanded


def load_ratings(config: DataConfig) -> tuple[Ratings, Split]:
    """The ratings that these settings name, filtered and reduced to a sample of users if so.

    Args:
      config: which ratings, which of them, and how they are split.

    Returns:
      The ratings, and which rows of them are for training, validation and test.

    Raises:
      InputError: no such file or data set, a faulty file, or nothing is left to train on.
    """
    if config.validation_file or config.test_file:
        return _load_given_split(config)
    ratings = load(
        config.dataset,
        data_dir=config.data_dir or None,
        options=read_options(config),
        seed=config.split_seed,
        download=config.download,
        user_profile=config.user_profile,
    )
    if max(config.min_ratings_per_user, config.min_ratings_per_item) > 1:
        ratings = keep_active(ratings, config.min_ratings_per_user, config.min_ratings_per_item)
    if config.num_users not in (0, ratings.num_users):
        ratings = ratings.take_users(config.num_users, config.split_seed)
    return ratings, split_ratings(config, ratings)


def split_ratings(config: DataConfig, ratings: Ratings) -> Split:
    """The split that these settings ask for.

    Args:
      config: how, which shares, from which seed.
      ratings: the table.

    Returns:
      Which rows are for training, validation and test.

    Raises:
      InputError: nothing is left to train on, or the ratings lack the times that the split needs.
    """
    fractions, seed = (config.validation_fraction, config.test_fraction), config.split_seed
    if config.split == "random":
        return random_split(len(ratings), *fractions, seed)
    if config.split == "user":
        return user_split(ratings.user, *fractions, seed)
    if ratings.time is None:
        raise InputError(
            f"--split={config.split}: {ratings.name} has no times of ratings; name their column "
            "fourth in --columns where a file of your own has one, or take --split=random or user"
        )
    if config.split == "temporal":
        return temporal_split(ratings.time, *fractions)
    return leave_one_out_split(ratings.user, ratings.time, *(share > 0 for share in fractions))


def _load_given_split(config: DataConfig) -> tuple[Ratings, Split]:
    """A split that comes in files of its own."""
    flag = "--test_file" if config.test_file else "--validation_file"
    if is_known(config.dataset):
        raise InputError(
            f"{flag} goes with a training file of your own: give its path as --dataset, not "
            f"{config.dataset}"
        )
    if config.split != "random":
        raise InputError(f"--split={config.split}: {flag} gives the split; leave it out")
    for name in ("num_users", "min_ratings_per_user", "min_ratings_per_item"):
        if getattr(config, name):
            raise InputError(f"--{name} cannot change a split of one's own ({flag}); leave it out")
    validation, test = (
        expanded(path) if path else None for path in (config.validation_file, config.test_file)
    )
    return read_given_split(expanded(config.dataset), validation, test, read_options(config))


def read_options(config: DataConfig) -> ReadOptions:
    """What these settings say about a file of ratings."""
    return ReadOptions(
        columns=_columns(config.columns),
        separator={"": None, r"\t": "\t"}.get(config.separator, config.separator),
        header={"auto": None, "yes": True, "no": False}[config.header],
        scale=Scale(*config.scale) if config.scale else None,
        rating_range=(config.rating_range[0], config.rating_range[1])
        if config.rating_range
        else None,
        duplicates=config.duplicates,
        times=config.split in ("temporal", "leave_one_out"),
    )


def _columns(texts: tuple[str, ...]) -> Columns | None:
    """Names, or positions where all are numbers."""
    if not texts:
        return None
    return tuple(map(int, texts)) if all(text.isdecimal() for text in texts) else texts
