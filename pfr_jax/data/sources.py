"""Named sources of ratings: the one list that `--dataset` chooses from."""

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from pfr_jax.data.lines import Columns
from pfr_jax.data.readers import read_ratings
from pfr_jax.data.synthetic import PRESETS, generate
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError


@dataclass(frozen=True)
class Source:
    """A public data set that stands in a file."""

    name: str
    file: str  # relative to the data directory
    columns: Columns  # user, item and rating in that file
    scale: Scale
    url: str  # the official archive that holds `file` under the same relative path
    licence: str


_MOVIELENS = "https://files.grouplens.org/datasets/movielens"
_NO_COPIES = "research use; may not be redistributed"

SOURCES = {
    source.name: source
    for source in (
        Source(
            name="ml100k",
            file="ml-100k/u.data",
            columns=(0, 1, 2),
            scale=Scale(1.0, 5.0, 1.0),
            url=f"{_MOVIELENS}/ml-100k.zip",
            licence=_NO_COPIES,
        ),
    )
}


def load(
    dataset: str,
    data_dir: str | Path | None = None,
    columns: Columns | None = None,
    scale: Scale | None = None,
    seed: int = 0,
) -> Ratings:
    """The ratings of a synthetic preset, a source of SOURCES, or a file of one's own.

    `data_dir` is where the files of SOURCES are; by default `data_directory()`. `columns` and
    `scale` describe a file of one's own (see `read_ratings`) and are refused for the others.
    `seed` is the synthetic generator's. Raises InputError for an unknown name, a missing file,
    and whatever is wrong inside it.
    """
    if dataset not in PRESETS and dataset not in SOURCES:
        return read_ratings(_own_file(dataset), columns, scale)
    if columns is not None or scale is not None:
        raise InputError(
            f"--dataset={dataset} has its own columns and scale; leave out --columns and --scale, "
            "which describe a file of your own"
        )
    if dataset in PRESETS:
        return generate(PRESETS[dataset], seed)
    source = SOURCES[dataset]
    path = _present(source, Path(data_dir) if data_dir else data_directory())
    return read_ratings(path, source.columns, source.scale, source.name)


def data_directory() -> Path:
    """Where data sets are kept: $PFR_DATA_DIR, or else the user's cache directory."""
    return Path(os.environ.get("PFR_DATA_DIR") or platformdirs.user_cache_dir("pfr_jax"))


def _own_file(dataset: str) -> Path:
    path = Path(dataset).expanduser()
    if not path.is_file():
        raise InputError(
            f"--dataset={dataset} is neither a known data set nor a file; want one of "
            f"{', '.join([*PRESETS, *SOURCES])}, or the path of a csv, tsv, dat or parquet file"
        )
    return path


def _present(source: Source, data_dir: Path) -> Path:
    path = data_dir.expanduser() / source.file
    if not path.is_file():
        raise InputError(
            f"--dataset={source.name}: there is no file {path}. Download {source.url} "
            f"({source.licence}), unpack it in {data_dir}, or say with --data_dir where it is"
        )
    return path
