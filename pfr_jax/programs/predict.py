"""Predicts ratings for pairs of users and items.

    pfr predict runs/mine pairs.csv
    pfr predict runs/mine pairs.csv --output=predictions.csv

The csv's first line names its columns: user and item, else the first two are taken. The predictions
stand in a column behind them, in the unit of the ratings.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pfr_jax.errors import InputError
from pfr_jax.jax_setup import set_up_jax
from pfr_jax.programs.flags import one_line_errors
from pfr_jax.recommend.files import check_output, predict_file, write_table
from pfr_jax.recommend.loading import load_run

ARGUMENTS = ("RUN", "PAIRS")
_OUTPUT = flags.DEFINE_string("output", "", "NAME.csv or NAME.parquet; empty: csv is shown.")


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        if len(argv) != 3:
            raise InputError("pfr predict RUN PAIRS: name the folder of one run and a csv")
        output = Path(_OUTPUT.value).expanduser()
        if _OUTPUT.value:
            check_output(output)
        set_up_jax()
        found = predict_file(load_run(argv[1]), Path(argv[2]).expanduser())
        if _OUTPUT.value:
            write_table(found, output)
            print(f"{len(found):,} predictions in {output}")
        else:
            found.to_csv(sys.stdout, index=False)
