"""Named sources of ratings: the one list that `--dataset` chooses from."""

import dataclasses
import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from pfr_jax.data import anime, profiles
from pfr_jax.data.cache import read_cached
from pfr_jax.data.download import Archive, by_hand, fetch
from pfr_jax.data.formats import FixedLayout, ReadOptions, read_ratings
from pfr_jax.data.profiles import Form, read_profiles
from pfr_jax.data.synthetic import HALF_STARS, PRESETS, WHOLE_STARS, generate
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.data.titles import titles_file
from pfr_jax.errors import InputError
from pfr_jax.paths import expanded, is_file

# Far above the largest id of any source (a movie of MovieLens-32M: below 300,000), and far below
# what a field or line run together with the next would make.
MAX_ID = 10_000_000
_HEADER = ("userId", "movieId", "rating", "timestamp")  # of the csv files of GroupLens


@dataclass(frozen=True)
class Source:
    """A public data set that stands in files."""

    name: str
    file: str  # relative to the data directory
    options: ReadOptions  # what is known of that file
    threshold: float  # stars from which a rating is positive in implicit feedback
    archive: Archive | None = None  # that holds `file` under the same path; None: by hand only
    by_hand: str = ""  # how to get it without an archive, a sentence with {path}
    read: Callable[[Path, ReadOptions, str], Ratings] = read_ratings
    filters: Callable[[], Mapping[str, Any]] = dict  # what `read` does to the file's ratings
    users_file: str = ""  # of user profiles, relative to the data directory; "": there is none
    users_form: Form | None = None


def _movielens(
    name: str,
    file: str,
    size: int,
    known_hash: str,
    scale: Scale = HALF_STARS,
    readme: str = "README.txt",
    users_file: str = "",
    users_form: Form | None = None,
) -> Source:
    """A data set of GroupLens, whose archive is called after it: ml1m, ml-1m.zip."""
    archive = f"ml-{name.removeprefix('ml')}.zip"
    copies = "no redistribution without permission"
    if readme == "README.txt":  # from ML-20M on
        copies = "redistribution only under the same terms"
    folder = file.split("/")[0]
    return Source(
        name=name,
        file=file,
        options=ReadOptions(
            columns=_HEADER if file.endswith(".csv") else (0, 1, 2, 3),
            scale=scale,
            layout=FixedLayout(num_fields=4, max_id=MAX_ID),
        ),
        threshold=3.5,
        archive=Archive(
            url=f"https://files.grouplens.org/datasets/movielens/{archive}",
            size=size,
            known_hash=known_hash,
            extras=(f"{folder}/{readme}", str(titles_file(Path(file)))),
            terms=(
                "GroupLens' terms of use, in short: for research; no commercial use without "
                f"permission; {copies}; to be acknowledged in publications; no endorsement may "
                f"be claimed; in full in {folder}/{readme}"
            ),
        ),
        users_file=users_file,
        users_form=users_form,
    )


SOURCES = {
    source.name: source
    for source in (
        _movielens(
            name="ml100k",
            file="ml-100k/u.data",
            size=4_924_029,
            known_hash="sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            scale=WHOLE_STARS,
            readme="README",
            users_file="ml-100k/u.user",
            users_form=profiles.ML100K,
        ),
        _movielens(
            name="ml1m",
            file="ml-1m/ratings.dat",
            size=5_917_549,
            known_hash="sha256:a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            scale=WHOLE_STARS,
            readme="README",
            users_file="ml-1m/users.dat",
            users_form=profiles.ML1M,
        ),
        _movielens(
            name="ml10m",
            file="ml-10M100K/ratings.dat",
            size=65_566_137,
            known_hash="md5:ce571fd55effeba0271552578f2648bd",
            readme="README.html",
        ),
        _movielens(
            name="ml20m",
            file="ml-20m/ratings.csv",
            size=198_702_078,
            known_hash="sha256:96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
        ),
        _movielens(
            name="ml25m",
            file="ml-25m/ratings.csv",
            size=261_978_986,
            known_hash="md5:6b51fb2759a8657d3bfcbfc42b592ada",
        ),
        _movielens(
            name="ml32m",
            file="ml-32m/ratings.csv",
            size=238_950_008,
            known_hash="md5:d472be332d4daa821edc399621853b57",
        ),
        Source(
            name="anime",
            file="anime/rating.csv",
            options=ReadOptions(
                columns=("user_id", "anime_id", "rating"),
                scale=anime.SCALE,
                unrated=float(anime.UNRATED),
                layout=FixedLayout(num_fields=3, max_id=MAX_ID),
            ),
            threshold=8.0,
            by_hand=anime.BY_HAND,
            read=anime.read_anime,
            filters=lambda: anime.FILTERS,
        ),
    )
}


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
