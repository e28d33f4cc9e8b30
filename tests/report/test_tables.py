"""Tables in terminals of any width: no name and no digit is cut off."""

import io
import re
from dataclasses import fields

import pytest
from rich.console import Console

from pfr_jax.evaluation.implicit import IMPLICIT
from pfr_jax.evaluation.ranking import RankingFigures
from pfr_jax.report.comparison import Comparison
from pfr_jax.report.tables import comparisons_table, deciles_table, facts_table, results_table

FIGURES = fields(RankingFigures)
RESULTS = {
    name: RankingFigures(*(0.1234 + 0.01 * row + 0.1 * column for column in range(len(FIGURES))))
    for row, name in enumerate(
        (
            "personalfr, round 20000 (last, selected on validation)",
            "personalfr, round 19990 (selected), adapted_encoder",
            "popularity",
            "item_mean",
            "EASE",
        )
    )
}
GROUPS = {
    "": {name: figures for name, figures in RESULTS.items() if name != "EASE"},
    "centralised": {"EASE": RESULTS["EASE"]},
}
FACTS = {
    "platform": "Linux-6.18.44-fc-v669-x86_64-with-glibc2.36",
    "Wilcoxon signed-rank, two-sided p": 0.1234,
    "block_shapes": "16 x 32 rows, 16 x 48 rows, 16 x 64 rows, 16 x 80 rows",
    "ratings": 10_000_054,
}


def shown(width: int, what: object) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_results(width: int) -> None:
    title = "Test figures of a file with_a_name_that_is_longer_than_forty_characters.csv"
    text = shown(width, results_table(title, GROUPS, "popularity", IMPLICIT.headings))
    assert title.replace(" ", "") in re.sub(r"\s", "", text)
    words = re.findall(r"[^\s,]+", text)
    for name, figures in RESULTS.items():
        assert all(word in words for word in re.findall(r"[^\s,]+", name.replace("_", " ")))
        assert all(f"{getattr(figures, shown):.4f}" in words for shown in IMPLICIT.headings)
    assert text.index("centralised:") < text.index("EASE")
    assert "-0.0200" in words and "+0.0100" in words
    for heading in IMPLICIT.headings.values():
        assert set(heading.split()) <= set(words)
    assert "…" not in text
    # One below the other only where they must be.
    assert ("────" in text) == (width >= 80)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_facts(width: int) -> None:
    text = shown(width, facts_table("Facts", FACTS))
    folded = re.sub(r"\s", "", text)
    for name in FACTS:
        assert name.replace("_", "").replace(" ", "") in folded
    assert "0.1234" in text.split() and "10,000,054" in text.split()
    assert "…" not in text and text.count("rows") == 4
    assert "x86_64-with-glibc2.36" in text or "glibc2.36" in folded


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("name", ["mine", "[red]_with/a_name_that_is_longer_than_forty_characters"])
def test_comparisons(width: int, name: str) -> None:
    """Names stay as they are, in brackets too; a single user has no interval."""
    tenths = tuple(0.001 * n for n in range(10))
    figures_of = 69_878, 0.512, 0.431, -0.0123, (-0.0211, -0.0035), 2e-19, 6e-19, tenths, ()
    some = Comparison(name, "fedavg", *figures_of)
    one = Comparison("local", name, 1, 1.0, 0.0, -0.5, (float("nan"),) * 2, 1.0, 1.0, (-0.5,), ())
    text = shown(width, comparisons_table("Test RMSE of users, lower is better", [some, one]))
    figures = "69,878 51.2% 43.1% -0.0123 -0.0211 -0.0035 2e-19 6e-19 100.0% -0.5000".split()
    assert set(figures) <= set(text.split())
    below = shown(width, deciles_table("Mean difference by decile", [some, one]))
    assert [f"+{value:.3f}" for value in tenths] == re.findall(r"\+0\.\d+", below)
    if len(name) < width // 8:
        assert {name, "fedavg", "local"} <= set(text.split()) & set(below.split())
    else:
        assert name in re.sub(r"\s|─", "", below) or width >= 80
    assert "…" not in text + below
    assert ("────" in text) == (width >= 80 and name == "mine" or width == 200)
