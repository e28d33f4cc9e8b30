"""Shows what a trained run recommends, or writes the lists of all its users.

    pfr recommend runs/mine --user=196
    pfr recommend runs/mine --all --output=lists.parquet

The model is that of the round which the run's figures are of. What the user's client knows (its
training and validation ratings) is not recommended again.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from absl import flags
from rich.console import Console
from rich.table import Table

from pfr_jax.data.titles import read_titles
from pfr_jax.errors import InputError
from pfr_jax.jax_setup import set_up_jax
from pfr_jax.programs.flags import one_line_errors
from pfr_jax.recommend.files import check_output, write_table
from pfr_jax.recommend.loading import load_run
from pfr_jax.recommend.recommender import Recommender
from pfr_jax.report.tables import Fitted

ARGUMENTS = ("RUN",)
_USER = flags.DEFINE_string("user", "", "Whose list is shown: a user as in the ratings' file.")
_ALL = flags.DEFINE_bool("all", False, "The lists of all users, to --output.")
_K = flags.DEFINE_integer("k", 10, "Length of a list.", 1)
_TITLES = flags.DEFINE_string(
    "titles",
    "",
    "A file of titles: u.item, movies.dat or movies.csv of MovieLens, or a csv whose first column "
    "are ids and another one is called title or name. Unset: the one beside the ratings, if any.",
)
_OUTPUT = flags.DEFINE_string("output", "", "File for --all: NAME.parquet or NAME.csv.")


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        if len(argv) != 2:
            raise InputError("pfr recommend RUN: name the folder of one run")
        if bool(_USER.value) == _ALL.value or _ALL.value != bool(_OUTPUT.value):
            raise InputError("say --user=LABEL, or --all with --output=FILE")
        output = Path(_OUTPUT.value).expanduser()
        if _ALL.value:
            check_output(output)
        set_up_jax()
        recommender = load_run(argv[1])
        titles = recommender.titles
        if _TITLES.value:
            given = read_titles(Path(_TITLES.value).expanduser(), recommender.item_ids)
            titles = pd.Series(given, recommender.item_ids, name="title")
        if _ALL.value:
            lists = recommender.recommend_all(_K.value).join(titles, on="item")
            write_table(lists, output)
            print(f"{len(lists):,} items for {lists['user'].nunique():,} users in {output}")
            return
        console = Console()
        for table in tables_of(recommender, _USER.value, _K.value, titles):
            console.print(table)


def tables_of(recommender: Recommender, user: str, k: int, titles: pd.Series) -> list[Fitted]:
    """What a user liked and what is recommended; ``titles`` by item."""

    def table(title: str, heading: str, rows: pd.DataFrame) -> Fitted:
        found = Table(box=None, pad_edge=False)
        found.add_column("item", overflow="fold")
        found.add_column(heading, justify="right", no_wrap=True)
        for name, value in zip(titles[rows["item"]], rows.iloc[:, 1], strict=True):
            found.add_row(name, f"{value:.2f}")
        return Fitted(title, found)

    seen, found = recommender.seen(user), recommender.recommend(user, k)
    return [
        table(f"User {user}: the best of {len(seen):,} known ratings", "rating", seen.head(k)),
        table(f"Recommended (model of round {recommender.round})", recommender.predicts, found),
    ]
