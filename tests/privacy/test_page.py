"""The page on privacy does what it says."""

from pathlib import Path

from documents import ROOT, output_of, python_of


def test_its_example_runs(tmp_path: Path) -> None:
    assert output_of(python_of(ROOT / "docs" / "privacy.md"), tmp_path) == "[6 6 6]\nTrue\n"
