"""The page: sections put together and written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

import pfr_jax
from pfr_jax.report.page.curves import curves_section, users_section
from pfr_jax.report.page.facts import (
    bytes_section,
    faults_section,
    privacy_section,
    settings_section,
    what_ran,
)
from pfr_jax.report.page.figures import figures_section
from pfr_jax.report.page.finished import FinishedRun, group_runs
from pfr_jax.report.page.lists import MOST_USERS
from pfr_jax.report.page.pairs import pairs_section
from pfr_jax.report.page.parts import Section


def page(runs: Sequence[FinishedRun], lists: Sequence[dict[str, Any]] = ()) -> str:
    """The HTML of a page about runs, which asks nothing of any network.

    Args:
      runs: as ``read_runs`` gives them.
      lists: of runs whose recommendations are shown, as ``lists_of`` gives them.

    Returns:
      The whole page with its styles and scripts.
    """
    sections = sections_of(runs)
    if lists:
        sections.append(_recommendations(lists))
    # What comes out of files is escaped: in the page by autoescape, in scripts by tojson.
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("pfr_jax.report.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    charts = {
        chart.name: {"traces": chart.traces, "layout": chart.layout}
        for section in sections
        for chart in section.charts
    }
    return templates.get_template("page.html").render(
        title=f"Report on {', '.join(run.name for run in runs)}",
        version=pfr_jax.__version__,
        sections=sections,
        charts=charts,
        lists=list(lists),
        plotly=get_plotlyjs(),
    )


def sections_of(runs: Sequence[FinishedRun]) -> list[Section]:
    """All that can be said from the files, in the page's order."""
    groups = group_runs(runs)
    sections = [
        what_ran(runs),
        figures_section(runs, groups),
        curves_section(groups),
        users_section(runs, groups),
        bytes_section(runs),
        privacy_section(runs),
        faults_section(runs),
        settings_section(runs),
    ]
    return [*sections, pairs_section(runs)] if len(runs) > 1 else sections


def write_page(html: str, path: Path) -> None:
    """Writes the page whole, or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(html, encoding="utf-8")
    partial.replace(path)


def _recommendations(lists: Sequence[dict[str, Any]]) -> Section:
    sentence = "What a run's model recommends to a user, beside what the user liked."
    notes = tuple(
        f"Of {one['run']}, the first {MOST_USERS:,} of {one['total']:,} users are here."
        for one in lists
        if one["total"] > MOST_USERS
    )
    return Section("recommendations", "Recommendations", sentence, notes, lists=True)
