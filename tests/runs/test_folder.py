"""What a run may write, replace and refuse."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from pfr_jax.errors import InputError
from pfr_jax.evaluation.metrics import Figures
from pfr_jax.runs.folder import FILES, LOCK, RunFolder, flat_figures, new_folder


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    folder.append_line("metrics.jsonl", {"round": 1})
    folder.append_line("metrics.jsonl", {"round": 2})
    assert (tmp_path / "a" / "b" / "metrics.jsonl").read_text() == '{"round": 1}\n{"round": 2}\n'


@pytest.mark.parametrize("name", FILES)
def test_an_earlier_run_is_not_touched(tmp_path, name):
    (tmp_path / name).write_text("earlier")
    with pytest.raises(InputError) as error:
        RunFolder(tmp_path)
    message = str(error.value)
    assert str(tmp_path) in message and name in message and "--overwrite" in message
    assert (tmp_path / name).read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_files_of_others_do_not_count_as_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_overwriting_removes_a_runs_files_and_no_others_once_the_new_run_begins(tmp_path):
    others = {"notes.txt": "mine", "metrics.jsonl.old": "mine"}
    earlier = dict.fromkeys(FILES, "earlier") | others
    for name, text in earlier.items():
        (tmp_path / name).write_text(text)

    def files():
        names = (path for path in tmp_path.iterdir() if path.name != LOCK)
        return {path.name: path.read_text() for path in names}

    folder = RunFolder(tmp_path, overwrite=True)
    assert files() == earlier
    folder.begin({"rounds": 3})
    folder.append_line("metrics.jsonl", {"round": 1})
    # What the new run has not written yet must not be there: it would be the old run's.
    expected = {"config.json": '{\n  "rounds": 3\n}\n', "metrics.jsonl": '{"round": 1}\n'}
    assert files() == expected | others


def test_numbers_json_does_not_know_become_null(tmp_path):
    folder = RunFolder(tmp_path)
    content = {
        "nan": math.nan,
        "deep": {"list": [1.5, math.inf], "tuple": (-math.inf, 2)},
        "numpy": np.float64("nan"),
        "text": "NaN",
        "none": None,
    }
    folder.write_json("summary.json", content)
    folder.append_line("metrics.jsonl", content)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    expected = {
        "nan": None,
        "deep": {"list": [1.5, None], "tuple": [None, 2]},
        "numpy": None,
        "text": "NaN",
        "none": None,
    }
    for name in ("summary.json", "metrics.jsonl"):
        text = (tmp_path / name).read_text()
        assert json.loads(text, parse_constant=refuse) == expected


def test_tables_are_read_back_and_leave_no_partial_files(tmp_path):
    folder = RunFolder(tmp_path)
    columns = {
        "user": np.array(["a,b", 'say "x"']),
        "n": np.array([3, 70_000_000]),
        "rmse": np.array([np.nan, 0.123456789]),
    }
    folder.write_table("per_user.csv", columns)
    folder.write_json("summary.json", {})
    assert {path.name for path in tmp_path.iterdir()} <= {*FILES, LOCK}
    table = pd.read_csv(tmp_path / "per_user.csv")
    assert table["user"].tolist() == ["a,b", 'say "x"']
    assert table["n"].tolist() == [3, 70_000_000]
    assert math.isnan(table["rmse"][0]) and table["rmse"][1] == pytest.approx(0.123457)


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, below):
    """A path through a regular file: not even root can write there."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / below
    with pytest.raises(InputError) as error:
        RunFolder(path)
    assert f"--output_dir={path} cannot be written" in str(error.value)


def test_flat_figures():
    figures = Figures(rmse=1.0, rmse_per_user=0.5, mae=0.25)
    assert flat_figures("test", figures) == {
        "test_rmse": 1.0,
        "test_rmse_per_user": 0.5,
        "test_mae": 0.25,
    }
    assert flat_figures("test", None) == {}


SETTINGS = {
    "rounds": 3,
    "schedule": "cosine",
    "num_devices": 0,
    "scale": (1.0, 5.0),
    "dataset": "here.csv",
    "top_k": 10,
    "ratings": {"users": 2, "items": 2, "ratings": 4, "sha256": "ab"},
    "environment": {"jax": "1"},
}


def test_a_run_that_has_no_checkpoint_yet_is_begun_again_if_it_is_the_same(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin(SETTINGS)
    folder.append_line("metrics.jsonl", {"round": 1})
    folder.release()
    with pytest.raises(InputError, match="--rounds was 3, is 4: the cosine schedule"):
        RunFolder(tmp_path, resume=True).begin({**SETTINGS, "rounds": 4})
    others = {**SETTINGS["ratings"], "ratings": 5}
    with pytest.raises(InputError, match="ratings are not those of the run: it had 4 of 2 users"):
        RunFolder(tmp_path, resume=True).begin({**SETTINGS, "ratings": others})
    assert (tmp_path / "metrics.jsonl").read_text()
    free = {"num_devices": 2, "dataset": "there.csv", "top_k": 5, "environment": {}}
    RunFolder(tmp_path, resume=True).begin({**SETTINGS, **free})
    assert not (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(InputError, match="finished run and no checkpoint"):
        RunFolder(tmp_path, resume=True).begin(SETTINGS)


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(new_folder, [tmp_path / "runs" / "now"] * 24))
    assert len(set(made)) == 24 and all(place.is_dir() for place in made)
    assert {place.name for place in made} == {"now", *(f"now-{n}" for n in range(2, 25))}


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("seeds", [("",), ("seed0", "seed1")])
def test_a_run_that_never_begins_leaves_nothing(tmp_path, made, seeds):
    output = new_folder(tmp_path / "runs" / "now") if made else tmp_path / "runs" / "now"
    (tmp_path / "runs").mkdir(exist_ok=True)
    folders = [RunFolder(output / seed, output_dir=output, made=made) for seed in seeds]
    for folder in reversed(folders):
        folder.release()
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_was_there_before_a_run_that_never_begins_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    RunFolder(tmp_path / "mine").release()
    assert (tmp_path / "mine").is_dir()


def test_one_process_at_a_time(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin({})
    with pytest.raises(InputError, match="another process is writing a run there"):
        RunFolder(tmp_path, resume=True)
    folder.release()
    RunFolder(tmp_path, resume=True).release()


def test_logs_are_cut_back_to_what_they_were(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append_line("metrics.jsonl", {"round": 1})
    logged = folder.logged()
    folder.append_line("metrics.jsonl", {"round": 2})
    folder.append_line("timings.jsonl", {"round": 2})
    folder.go_on(logged, 1, SETTINGS)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"round": 1}\n'
    assert not (tmp_path / "timings.jsonl").exists()
    (tmp_path / "metrics.jsonl").write_text('{"round": 9}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl is not the log"):
        folder.go_on(logged, 1, SETTINGS)


def test_config_json_has_the_settings_in_force_and_what_they_were(tmp_path):
    first = RunFolder(tmp_path)
    first.begin(SETTINGS)
    first.write_json("summary.json", {})
    first.release()
    before = (tmp_path / "config.json").read_bytes()

    def resumed(round, **changes):
        folder = RunFolder(tmp_path, resume=True)
        folder.go_on(folder.logged(), round, {**SETTINGS, **changes})
        folder.release()
        return json.loads((tmp_path / "config.json").read_text())

    resumed(3)
    assert (tmp_path / "config.json").read_bytes() == before
    assert (tmp_path / "summary.json").exists()  # nothing is left to do
    longer = resumed(3, rounds=9, dataset="there.csv")
    assert (longer["rounds"], longer["dataset"]) == (9, "there.csv")
    assert longer["earlier"] == [{"up_to_round": 3, "rounds": 3, "dataset": "here.csv"}]
    assert not (tmp_path / "summary.json").exists()  # of a shorter run
    config = resumed(5, rounds=9, dataset="there.csv", top_k=5)
    assert config["top_k"] == 5
    assert config["earlier"] == [*longer["earlier"], {"up_to_round": 5, "top_k": 10}]
