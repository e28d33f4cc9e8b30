"""README and docs: every link leads somewhere, every flag and program that is named exists."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, output_of, python_of

from pfr_jax.cli import PROGRAMS
from pfr_jax.programs.flags import PRESETS

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def headings(page: Path) -> set[str]:
    """As anchors: lower case, without punctuation, dashes for spaces."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in headings(linked), target


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The flags of pfr run."""
    helped = subprocess.run(
        [sys.executable, "-m", "pfr_jax", "run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"^  --(?:\[no\])?(\w+)", helped.stdout, re.MULTILINE)) | {"help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_programs_flags_and_presets_that_exist(page: Path, known: set[str]) -> None:
    for way, command in re.findall(
        r"^\s*(pfr |python -m experiments\.)(.*)$", page.read_text(), re.M
    ):
        program, *arguments = command.split()
        if way != "pfr ":
            assert (ROOT / "experiments" / f"{program}.py").is_file(), command
        assert way != "pfr " or program in PROGRAMS, command
        for argument in arguments:
            if not argument.startswith("--"):
                continue
            name, _, value = argument[2:].rstrip("'").partition("=")
            if name == "preset":
                assert (PRESETS / f"{value}.flags").is_file(), command
            elif program == "run":
                assert name in known or name.removeprefix("no") in known, command


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_readmes_example_runs(tmp_path: Path) -> None:
    code = python_of(ROOT / "README.md")
    assert len(code.splitlines()) <= 12
    printed = output_of(code.replace("rounds=20, eval_every=10", "rounds=2"), tmp_path)
    assert re.fullmatch(r"2 [01]\.\d+\n", printed), printed


@pytest.mark.parametrize(
    "name", ["algorithms.spec", "client.compressors", "data.splits", "data.table"]
)
def test_examples_of_docstrings(name: str) -> None:
    module = importlib.import_module(f"pfr_jax.{name}")
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0 and found.failed == 0
