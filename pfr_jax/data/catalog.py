"""The public data sets that ``--dataset`` knows by name, and what is known of their files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfr_jax.data import anime, profiles
from pfr_jax.data.download import Archive
from pfr_jax.data.formats import FixedLayout, ReadOptions, read_ratings
from pfr_jax.data.profiles import Form
from pfr_jax.data.synthetic import HALF_STARS, WHOLE_STARS
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.data.titles import titles_file

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
