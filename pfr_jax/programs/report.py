"""Makes one page of HTML about one or several finished runs.

    pfr report runs/mine
    pfr report runs/first runs/second --output=both.html
    pfr report runs/mine --recommend

The page needs no network. Runs that differ by their seeds alone are shown together, with means and
standard deviations. With --recommend or --titles it also shows what every user is recommended.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pfr_jax.errors import InputError
from pfr_jax.jax_setup import set_up_jax
from pfr_jax.programs.flags import one_line_errors
from pfr_jax.report.page.build import page, write_page
from pfr_jax.report.page.finished import read_runs
from pfr_jax.report.page.lists import lists_of

ARGUMENTS = ("RUN", "...")
_OUTPUT = flags.DEFINE_string("output", "report.html", "The page's file, NAME.html.")
_RECOMMEND = flags.DEFINE_bool("recommend", False, "Also show what users are recommended.")
_TITLES = flags.DEFINE_string(
    "titles", "", "A file of titles for that, as pfr recommend takes it; implies --recommend."
)


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        if len(argv) < 2:
            raise InputError("pfr report RUN [RUN ...]: name the folders of finished runs")
        output = Path(_OUTPUT.value).expanduser()
        if output.suffix not in (".html", ".htm"):
            raise InputError(f"--output={output}: want NAME.html")
        if not output.parent.is_dir():
            raise InputError(f"--output={output}: there is no folder {output.parent}")
        runs = read_runs([Path(folder).expanduser() for folder in argv[1:]])
        lists = []
        if _RECOMMEND.value or _TITLES.value:
            set_up_jax()
            titles = Path(_TITLES.value).expanduser() if _TITLES.value else None
            lists = [lists_of(run, titles) for run in runs]
        write_page(page(runs, lists), output)
        print(f"A page about {len(runs)} run{'s' if len(runs) > 1 else ''} in {output}")
