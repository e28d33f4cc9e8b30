"""Where ratings come from: a data set by its name, or a file of one's own."""

import dataclasses
import difflib
import os
import re
from pathlib import Path
from typing import Any

import platformdirs

from pfr_jax.data import profiles
from pfr_jax.data.cache import read_cached
from pfr_jax.data.catalog import SOURCES, Source
from pfr_jax.data.download import by_hand, fetch
from pfr_jax.data.formats import ReadOptions, read_ratings
from pfr_jax.data.profiles import read_profiles
from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError
from pfr_jax.paths import expanded, is_file


def load(
    dataset: str,
    data_dir: str | Path | None = None,
    options: ReadOptions | None = None,
    seed: int = 0,
    download: bool = False,
    user_profile: bool = False,
) -> Ratings:
    """The ratings of a synthetic preset, a source of SOURCES, or a file of one's own.

    Args:
      dataset: a name, or the path of a file.
      data_dir: where the files of SOURCES are; by default `data_directory()`.
      options: how to read a file of one's own. Of a source, whose file is known, they may say only
        what becomes of ratings: `duplicates` and `rating_range`.
      seed: of the synthetic generator.
      download: fetch from the official archive what is missing in `data_dir`.
      user_profile: users have profiles.

    Returns:
      The ratings. What was read from files is kept in `cache_directory()`.

    Raises:
      InputError: for an unknown name, a missing file, whatever is wrong inside it, a download that
        fails, and profiles of a data set that has none.
    """
    options = options or ReadOptions()
    with_profiles = [source.name for source in SOURCES.values() if source.users_form]
    if user_profile and dataset not in with_profiles:
        raise InputError(
            f"--user_profile: {dataset} has no user profiles, only {' and '.join(with_profiles)} "
            "have; leave the flag out"
        )
    if dataset not in PRESETS and dataset not in SOURCES:
        path = _own_file(dataset)
        return read_cached(
            path, lambda: read_ratings(path, options), {"options": options}, cache_directory()
        )
    _check_known(dataset, options)
    if dataset in PRESETS:
        return generate(PRESETS[dataset], seed)
    source = SOURCES[dataset]
    known = dataclasses.replace(
        source.options,
        duplicates=options.duplicates,
        rating_range=options.rating_range,
        times=options.times,
    )
    data_dir = expanded(data_dir) if data_dir else data_directory()
    return _load_source(source, known, data_dir, download, user_profile)


def ratings_file(dataset: str, data_dir: str | Path | None = None) -> Path | None:
    """The file that ``load`` reads, which need not be there; None: ratings are generated."""
    if dataset in PRESETS:
        return None
    if dataset not in SOURCES:
        return expanded(dataset)
    return (expanded(data_dir) if data_dir else data_directory()) / SOURCES[dataset].file


def is_known(dataset: str) -> bool:
    """Whether it is a name, and so no path."""
    return dataset in PRESETS or dataset in SOURCES


def _check_known(dataset: str, options: ReadOptions) -> None:
    """Refuse what only a file of one's own can be told."""
    given = {name: getattr(options, name) for name in ("columns", "scale", "separator", "header")}
    if dataset in PRESETS:
        given["rating_range"] = options.rating_range
    names = [f"--{name}" for name, value in given.items() if value is not None]
    if names:
        raise InputError(
            f"--dataset={dataset} is known; leave out {' and '.join(names)}, which describe a file "
            "of your own"
        )


def data_directory() -> Path:
    """Where data sets are kept: $PFR_DATA_DIR, or else the user's cache directory."""
    folder = os.environ.get("PFR_DATA_DIR") or platformdirs.user_cache_dir("pfr_jax")
    return expanded(folder)


def cache_directory() -> Path:
    """Where parsed ratings are kept: $PFR_CACHE_DIR, or else in the user's cache directory."""
    folder = os.environ.get("PFR_CACHE_DIR")
    if folder:
        return expanded(folder)
    return Path(platformdirs.user_cache_dir("pfr_jax")) / "parsed"


def figures_directory() -> Path:
    """Where figures of centralised baselines are kept: beside the parsed ratings."""
    return cache_directory() / "baselines"


def _own_file(dataset: str) -> Path:
    path = expanded(dataset)
    if not is_file(path):
        near = _near(dataset)
        raise InputError(
            f"--dataset={dataset} is neither a known data set nor a file"
            f"{f'; did you mean {near}?' if near else '.'} Want one of "
            f"{', '.join([*PRESETS, *SOURCES])}, or the path of a file of ratings"
        )
    return path


def _near(dataset: str) -> str | None:
    """The known name that may have been meant: ml100k by ml-100k or MovieLens 100K."""
    plain = re.sub("[^a-z0-9]", "", dataset.lower()).replace("movielens", "ml")
    names = {re.sub("[^a-z0-9]", "", name): name for name in [*PRESETS, *SOURCES]}
    found = difflib.get_close_matches(plain, names, 1, cutoff=0.75)
    return names[found[0]] if found else None


def _load_source(
    source: Source, options: ReadOptions, data_dir: Path, download: bool, user_profile: bool
) -> Ratings:
    files = (source.file, source.users_file) if user_profile else (source.file,)
    _provide(source, files, data_dir, download)
    settings: dict[str, Any] = {"source": source.name, "options": options}
    settings |= {"threshold": source.threshold, "filters": source.filters()}
    if user_profile:
        settings["profiles"] = [profiles.VERSION, source.users_form]

    def read() -> Ratings:
        ratings = source.read(data_dir / source.file, options, source.name)
        ratings = dataclasses.replace(ratings, threshold=source.threshold)
        if not user_profile or source.users_form is None:
            return ratings
        profile, names = read_profiles(
            data_dir / source.users_file, source.users_form, ratings.user_ids
        )
        return dataclasses.replace(ratings, profile=profile, profile_names=names)

    return read_cached([data_dir / file for file in files], read, settings, cache_directory())


def _provide(source: Source, files: tuple[str, ...], data_dir: Path, download: bool) -> None:
    """Make sure that `files` of `source` are in `data_dir`; raises InputError."""
    missing = [data_dir / file for file in files if not is_file(data_dir / file)]
    if not missing:
        return
    what = f"--dataset={source.name}: there is no file {missing[0]}"
    if source.archive is None:
        raise InputError(f"{what}. {source.by_hand.format(path=missing[0])}")
    if not download:
        raise InputError(
            f"{what}. Allow --download, or {by_hand(source.archive, data_dir)}. "
            f"{source.archive.terms}"
        )
    fetch(source.archive, files, data_dir)
