"""``pfr compare`` as its user meets it, on folders that hold what it reads of finished runs."""

import json
from pathlib import Path

import pytest
from commands import pfr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of stars whose users' RMSE fall by 0.1 from one to the next; other/a has other users."""
    place = tmp_path_factory.mktemp("compare")
    for number, (name, users) in enumerate(
        {"a": ("007", "NA"), "b": ("007", "NA"), "c": ("007", "NA"), "other/a": ("7", "8")}.items()
    ):
        folder = place / name
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"feedback": "explicit"}))
        rows = [f"{user},5,2,{1 - number / 10}" for user in users]
        header = "user,train_ratings,test_ratings,test_rmse"
        (folder / "per_user.csv").write_text("\n".join([header, *rows, ""]))
    return place


def test_every_pair_of_runs_is_a_row(place: Path) -> None:
    done = pfr(place, "compare", "--runs=a,b,c")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines() if "100.0%" in line]
    assert [row[:2] for row in rows] == [["b", "a"], ["c", "a"], ["c", "b"]]
    assert [row[2:8] for row in rows] == [
        ["2", "100.0%", "0.0%", *[f"-{fall}"] * 3] for fall in ("0.1000", "0.2000", "0.1000")
    ]
    assert "Test RMSE of users, lower is better" in done.stdout
    assert "c less a  -0.200 -0.200" in done.stdout


def test_all_with_one_that_are_named_without_a_flag(place: Path) -> None:
    done = pfr(place, "compare", "--reference=b", "a", "b", "c")
    rows = [line.split() for line in done.stdout.splitlines() if "100.0%" in line]
    assert [(*row[:2], row[5]) for row in rows] == [("a", "b", "+0.1000"), ("c", "b", "-0.1000")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("b", "a", "other/a"), "b and other/a have different users or test ratings"),
        (("a", "b", "--reference=c"), "--reference=c: want one of a, b"),
        (("a", "none"), "none/summary.json: No such file or directory"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(
    place: Path, arguments: tuple[str, ...], error: str
) -> None:
    done = pfr(place, "compare", *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and error in done.stderr
