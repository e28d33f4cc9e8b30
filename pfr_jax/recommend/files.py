"""Lists and predictions as files, and pairs from one."""

from pathlib import Path

import pandas as pd

from pfr_jax.errors import InputError
from pfr_jax.recommend.labels import rows_of
from pfr_jax.recommend.recommender import Recommender

WRITERS = {
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".csv": lambda table, path: table.to_csv(path, index=False),
}


def check_output(path: Path) -> None:
    """Raises InputError for a file that cannot be written, before anything is computed."""
    if path.suffix not in WRITERS:
        raise InputError(f"--output={path}: want a name that ends in {' or '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise InputError(f"--output={path}: there is no folder {path.parent}")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """As parquet or csv, by the name's ending; the file is there whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        WRITERS[path.suffix](table, partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"--output={path}: {error.strerror or error}") from error


def predict_file(recommender: Recommender, path: Path) -> pd.DataFrame:
    """Predictions for the pairs of a csv.

    Args:
      recommender: the model.
      path: a csv whose first line names its columns; those called ``user`` and ``item`` are read,
        or the first two.

    Returns:
      The table of the file with a column ``prediction`` behind.

    Raises:
      InputError: the file cannot be read, or a line has an unknown user or item.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: {error}") from error
    if len(table.columns) < 2:
        raise InputError(f"{path}, line 1: want two columns, user and item")
    named = {"user", "item"} <= set(table.columns)
    users, items = (table[name] for name in (("user", "item") if named else table.columns[:2]))

    def place(row: int) -> str:
        return f"{path}, line {row + 2}"

    rows_of(users.to_numpy(str), recommender.user_ids, "user", place)
    rows_of(items.to_numpy(str), recommender.item_ids, "item", place)
    prediction = recommender.predict(users.to_numpy(str), items.to_numpy(str))
    return table.assign(prediction=prediction)
