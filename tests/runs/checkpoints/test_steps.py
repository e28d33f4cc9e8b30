"""Damage is noticed before a step is used."""

import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pfr_jax.runs.checkpoints import steps

DRAWS = 80


def write_step(folder: Path, round: int, lender: Path | None = None) -> Path:
    partial = steps.partial_path(folder, round)
    steps.begin_step(partial)
    rng = np.random.default_rng(round)
    arrays = {"a": rng.normal(size=(30, 7)), "b": np.arange(5), "none": np.zeros((0, 3))}
    steps.save_arrays(partial / steps.COMMON, arrays)
    steps.save_arrays(partial / "clients_0_00000", arrays)
    slices, sums = ["clients_0_00000"], {}
    if lender:
        slices.insert(0, f"../{lender.name}/clients_0_00000")
        lent = steps.verified(lender).sums
        sums = {f"../{lender.name}/{n}": s for n, s in lent.items() if n.startswith("clients")}
    steps.finish_step(partial, {"round": round, "slices": slices}, sums)
    return steps.step_path(folder, round)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    write_step(folder, 8, lender=write_step(folder, 4))
    return folder


def test_arrays_come_back(written: Path) -> None:
    found = steps.verified(steps.step_path(written, 4)).common()
    assert sorted(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], np.random.default_rng(4).normal(size=(30, 7)))


def test_the_sums_are_those_of_sha256sum(written: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum")
    place = steps.step_path(written, 8)
    subprocess.run(["sha256sum", "--strict", "-c", steps.SUMS], cwd=place, check=True)


@pytest.mark.parametrize("kind", ["bit", "zeros", "cut", "deleted", "added"])
def test_no_damage_passes(written: Path, tmp_path: Path, kind: str) -> None:
    draw = random.Random(kind)
    names = [str(p.relative_to(written)) for p in steps.files_under(steps.step_path(written, 8))]
    names += [
        n.removeprefix("../")
        for n in steps.verified(steps.step_path(written, 8)).sums
        if n.startswith("..")
    ]
    for number in range(DRAWS):
        folder = tmp_path / str(number)
        shutil.copytree(written, folder)
        target = folder / names[number % len(names)]
        content = bytearray(target.read_bytes())
        at = draw.randrange(max(1, len(content)))
        if kind == "deleted" or (not content and kind != "added"):
            target.unlink()
        elif kind == "added":
            target.write_bytes(content + b"\n")
        elif kind == "cut":
            target.write_bytes(content[:at])
        else:
            content[at : at + (64 if kind == "zeros" else 1)] = (
                bytes(min(64, len(content) - at))
                if kind == "zeros" and any(content[at : at + 64])
                else bytes([content[at] ^ 1 << draw.randrange(8)])
            )
            target.write_bytes(content)
        with pytest.raises(steps.DamagedStep) as error:
            steps.verified(steps.step_path(folder, 8))
        assert target.name in str(error.value) or steps.SUMS in str(error.value)
        shutil.rmtree(folder)


def test_a_file_that_cannot_be_read_is_damage(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_disk(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(steps, "_sum", broken_disk)
    with pytest.raises(steps.DamagedStep, match="Input/output error"):
        steps.verified(steps.step_path(written, 4))


def test_pruning_leaves_what_is_lent(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pruned"
    shutil.copytree(written, folder)
    write_step(folder, 12)
    older, lender = steps.step_path(folder, 8), steps.step_path(folder, 4)
    steps.prune(folder, [older])
    assert steps.step_paths(folder) == [older]
    assert [path.name for path in lender.iterdir()] == ["clients_0_00000"]
    assert steps.verified(older).round == 8
    steps.prune(folder, [])
    assert not list(folder.iterdir())
