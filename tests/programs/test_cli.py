"""The command ``pfr``: programs by name, help by topic."""

from pathlib import Path

import pytest
from absl import flags
from commands import pfr

from pfr_jax.cli import PROGRAMS
from pfr_jax.config import Config


def test_without_a_program_all_are_listed(tmp_path: Path) -> None:
    done, helped = pfr(tmp_path), pfr(tmp_path, "--help")
    assert (done.returncode, helped.returncode) == (1, 0)
    assert done.stdout == helped.stdout
    assert all(f"pfr {name} " in helped.stdout for name in PROGRAMS)


def test_a_near_miss_gets_a_suggestion(tmp_path: Path) -> None:
    done = pfr(tmp_path, "rum")
    assert done.returncode == 1 and "did you mean run?" in done.stderr


def test_the_version(tmp_path: Path) -> None:
    assert pfr(tmp_path, "--version").stdout.startswith("pfr_jax ")


def test_help_has_every_setting_once_under_its_topic(tmp_path: Path) -> None:
    done = pfr(tmp_path, "run", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "Trains one federation and reports its figures."
    assert any(line.strip().startswith("pfr run --preset=") for line in lines)
    shown = [
        line.split()[0].split("=")[0].removeprefix("--[no]").removeprefix("--")
        for line in lines
        if line.startswith("  --")
    ]
    assert len(set(shown)) == len(shown)
    assert set(shown) >= {*Config().flat(), "preset", "output_dir", "resume"}
    assert max(len(line) for line in lines if line.startswith("      ")) <= 80
    assert "rounds" in shown[shown.index("algorithm") :]  # the round loop is the last topic but one


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "run"])
def test_every_program_says_what_it_is_for(tmp_path: Path, name: str) -> None:
    done = pfr(tmp_path, name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"pfr {name}" in done.stdout and "\n  --" in done.stdout


def test_a_preset_from_an_empty_folder(tmp_path: Path) -> None:
    done = pfr(
        tmp_path, "run", "--preset=quick", "--rounds=2", "--hidden_sizes=8,4", "--output_dir=here"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "here" / "summary.json").is_file()


def test_flags_of_one_program_are_not_those_of_another() -> None:
    assert "kills" not in flags.FLAGS
