"""Titles of items, from MovieLens' own files by their names, or from any csv."""

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from pfr_jax.errors import InputError

TITLES = "title", "name"  # what a column of titles may be called
# File of ratings -> file of titles that comes with it: of MovieLens, and of anime.
BESIDE = {
    "u.data": "u.item",
    "ratings.dat": "movies.dat",
    "ratings.csv": "movies.csv",
    "rating.csv": "anime.csv",
}
Pairs = Iterable[tuple[int, str, str]]  # line, id, title


def read_titles(path: Path, item_ids: np.ndarray) -> np.ndarray:
    """The title of each item.

    Args:
      path: u.item, movies.dat or movies.csv of MovieLens; else a csv whose first line names its
        columns, one of them "title" or "name". Ids are in the first column.
      item_ids: [I], integers or texts.

    Returns:
      text[I]; an item without a title has its id.

    Raises:
      InputError: the file cannot be read, a line of it is faulty, or it has a title of no item.
    """
    read = FORMATS.get(path.name, _csv)
    try:
        titles = {label: title for _, label, title in read(path)}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
    found = np.array([titles.get(str(label), str(label)) for label in item_ids.tolist()])
    if not any(str(label) in titles for label in item_ids.tolist()):
        raise InputError(f"{path}: none of its {len(titles):,} ids is an item of this run")
    return found


def titles_file(ratings: Path) -> Path | None:
    """Where the titles would be that come with this file of ratings; None: by its name, nowhere."""
    return ratings.with_name(BESIDE[ratings.name]) if ratings.name in BESIDE else None


def titles_beside(ratings: Path, item_ids: np.ndarray) -> np.ndarray | None:
    """The title of each item, where a file of titles lies beside that of the ratings.

    Args:
      ratings: the file of ratings, of which only the path counts.
      item_ids: [I], integers or texts.

    Returns:
      text[I], or None: there is no such file, or none that ``read_titles`` takes for these items.
      Nobody has asked for it, so that is no error.
    """
    path = titles_file(ratings)
    try:
        return read_titles(path, item_ids) if path else None
    except InputError:
        return None


def _separated(separator: str) -> Callable[[Path], Pairs]:
    """A reader of lines that begin with an id and a title, in Latin-1 as MovieLens writes them."""

    def read(path: Path) -> Iterator[tuple[int, str, str]]:
        for number, line in enumerate(path.read_text("latin-1").splitlines(), 1):
            fields = line.split(separator)
            if len(fields) < 2:
                raise InputError(f"{path}, line {number}: want an id, {separator!r} and a title")
            yield number, fields[0], fields[1]

    return read


def _csv(path: Path) -> Iterator[tuple[int, str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        names = [name.strip().lower() for name in next(lines, [])]
        column = next((names.index(name) for name in TITLES if name in names[1:]), 0)
        if not column:
            raise InputError(
                f"{path}, line 1: want names of columns, the first of ids and another called "
                f"{' or '.join(TITLES)}; these are {', '.join(names) or 'none'}"
            )
        for fields in lines:
            if len(fields) <= column:
                raise InputError(f"{path}, line {lines.line_num}: there is no {names[column]}")
            yield lines.line_num, fields[0].strip(), fields[column].strip()


FORMATS: dict[str, Callable[[Path], Pairs]] = {
    "u.item": _separated("|"),
    "movies.dat": _separated("::"),
}
