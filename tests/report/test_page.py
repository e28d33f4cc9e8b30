"""A page about runs whose files are written by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import EVIL, USERS, inlined, lists, tables_of, write_run

from pfr_jax.algorithms import ALGORITHMS
from pfr_jax.errors import InputError
from pfr_jax.programs.flags import parse_flags
from pfr_jax.report.colours import LOOKS
from pfr_jax.report.page.build import page
from pfr_jax.report.page.finished import group_runs, read_runs
from pfr_jax.report.page.lists import lists_of


def test_figures_of_one_run_are_those_of_its_files(tmp_path: Path) -> None:
    html = page(read_runs([write_run(tmp_path / "one")]))
    tables = tables_of(html)
    shown = tables["Test figures of one and of baselines"]
    assert shown["one: personalfr"] == ["0.9000", "-0.0400", "0.8700", "0.7000"]
    assert shown["bias only"] == ["0.9500", "+0.0100", "0.9200", "0.7500"]
    assert shown["item-kNN, centralised"] == ["0.9200", "-0.0200", "0.8900", "0.7200"]
    ran = tables["What ran"]
    assert (ran["items"], ran["round selected on validation"]) == (["1,234"], ["20"])
    reached = tables["Bytes until the simple baseline was reached"]
    assert (reached["round"], reached["bytes per client until then"]) == (["10"], ["579 kB"])
    assert tables["Updates not taken"]["dropped"] == ["17"]
    assert tables["RMSE over users"]["one"] == ["20", "0.8765", "0.5000", "1.5000"]
    assert tables["All settings"]["--split_seed"][0] == "0"
    assert "The server sees the rows of items." in html
    assert "Settings that differ" not in tables and 'id="comparison"' not in html


def test_curves_deciles_and_distribution_by_hand(tmp_path: Path) -> None:
    """In rounds 10 and 20 each of 10 clients has 0.5 and 1 MB; two users make a tenth."""
    errors = np.arange(USERS) / 10
    charts = inlined(page(read_runs([write_run(tmp_path / "one", errors=errors)])), "charts")
    by_round, level = charts["curve-round"]["traces"]
    assert (by_round["x"], by_round["y"]) == ([10, 20], pytest.approx([0.9, 0.8]))
    assert charts["curve-megabytes"]["traces"][0]["x"] == [0.5, 1]
    assert level["y"] == [0.95, 0.95] and level["name"] == "bias only, to be reached"
    title = charts["curve-round"]["layout"]["yaxis"]["title"]["text"]
    assert title == "RMSE on validation ratings (lower is better)"
    (tenths,) = charts["activity"]["traces"]
    assert tenths["y"] == pytest.approx([0.05 + 0.2 * n for n in range(10)])
    (spread,) = charts["distribution"]["traces"]
    assert sum(spread["y"]) == pytest.approx(100)


def test_runs_that_differ_by_seeds_are_a_group(tmp_path: Path) -> None:
    """0.9 and 0.8 have the mean 0.85 and the deviation 0.1 / sqrt(2)."""
    runs = read_runs(
        [
            write_run(tmp_path / "a", 0.9),
            write_run(tmp_path / "b", 0.8, seed=1, split_seed=1),
            write_run(tmp_path / "c", 0.7, algorithm="fedavg"),
        ]
    )
    groups = group_runs(runs)
    assert [(g.name, len(g.runs)) for g in groups] == [("personalfr", 2), ("fedavg", 1)]
    html = page(runs)
    tables = tables_of(html)
    mean = tables["Runs that differ by their seeds alone: mean (standard deviation)"]
    assert list(mean) == ["", "personalfr"]
    runs_of_it, rmse, less, *_ = mean["personalfr"]
    assert (runs_of_it, rmse, less) == ("2", "0.8500 (0.0707)", "-0.0900 (0.0707)")
    assert tables["Test figures of the runs"]["b"][-2:] == ["1", "1"]
    assert tables["RMSE of baselines on each run's test ratings"]["bias only"] == ["0.9500"] * 3
    band, line, other, _ = inlined(html, "charts")["curve-round"]["traces"]
    assert line["y"] == pytest.approx([0.85, 0.75])
    assert band["x"] == [10, 20, 20, 10] and band["y"] == pytest.approx([0.9, 0.8, 0.7, 0.8])
    assert other["line"]["color"] == LOOKS["fedavg"].colour
    differ = tables["Settings that differ"]
    assert differ["--algorithm"] == ["personalfr", "personalfr", "fedavg"]
    assert set(differ) == {"", "--algorithm", "--seed", "--split_seed"}


def test_groups_of_one_algorithm_are_told_apart(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b", local_epochs=9)])
    groups = group_runs(runs)
    assert [group.name for group in groups] == ["personalfr (a)", "personalfr (b)"]
    assert groups[0].dash != groups[1].dash


class Model:
    """What ``lists_of`` asks of a recommender: two users, three items."""

    round, predicts = 20, "predicted rating"
    user_ids, item_ids = np.array([7, 8]), np.array([10, 20, 30])
    titles = pd.Series(["10", "Casino", "30"], item_ids)

    def recommend_all(self, k: int) -> pd.DataFrame:
        columns = {"user": [7, 7, 8], "rank": [1, 2, 1], "item": [30, 10, 20]}
        return pd.DataFrame({**columns, "prediction": [4.5, 4.25, 3.0]})

    def seen(self, user: int) -> pd.DataFrame:
        known = {7: {"item": [20], "rating": [5.0]}, 8: {"item": [10, 30], "rating": [2.0, 1.0]}}
        return pd.DataFrame(known[user])


def test_lists_are_those_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items are rows of the titles; where there are too many users, the page says so."""
    monkeypatch.setattr("pfr_jax.report.page.lists.load_run", lambda folder: Model())
    (tmp_path / "titles.csv").write_text(f"id,title\n10,Heat\n30,{EVIL}\n")
    (run,) = read_runs([write_run(tmp_path / "one")])
    found = lists_of(run, tmp_path / "titles.csv")
    assert found["titles"] == ["Heat", "20", EVIL]
    best = {"seen": 1, "liked": [(1, 5.0)], "recommended": [(2, 4.5), (0, 4.25)]}
    assert found["users"]["7"] == best
    assert found["users"]["8"]["liked"] == [(0, 2.0), (2, 1.0)]
    assert lists_of(run, None)["titles"] == ["10", "Casino", "30"]
    assert "are here" not in page([run], [found])
    monkeypatch.setattr("pfr_jax.report.page.lists.MOST_USERS", 1)
    monkeypatch.setattr("pfr_jax.report.page.build.MOST_USERS", 1)
    fewer = lists_of(run, None)
    assert list(fewer["users"]) == ["7"]
    assert "Of one, the first 1 of 2 users are here." in page([run], [fewer])


def test_what_comes_from_files_is_escaped(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "<i>one", summary={"dataset": EVIL}, data_dir=EVIL)
    html = page(read_runs([folder]), [lists([EVIL, "plain"])])
    assert EVIL not in html and "<i>" not in html
    assert tables_of(html)["What ran"]["data set"] == [EVIL]
    assert inlined(html, "lists")[0]["titles"][0] == EVIL
    assert html.count("</script") == 4
    traces = inlined(page(read_runs([folder, write_run(tmp_path / "two")])), "charts")["pairs"]
    assert traces["traces"][0]["name"] == "two less &lt;i&gt;one"  # Plotly knows some tags


def test_attacks_and_epsilon_are_shown(tmp_path: Path) -> None:
    spent = {"epsilon": 3.21, "delta": 1e-5, "rounds": 20, "relation": "one client more or less"}
    spent |= {"sampler": "fixed", "accountant": "pld", "rate": 1.0}
    privacy = {"upload": "dp", "server_sees": ["a noised sum"], **spent}
    folder = write_run(tmp_path / "one", summary={"privacy": privacy})
    row = {"round": 0, "attack": "items of a client", "figure": "precision", "value": 0.75}
    (folder / "attacks.json").write_text(json.dumps([{**row, "chance": 0.1, "clients": 9}]))
    html = page(read_runs([folder]))
    assert "A client pays epsilon 3.21 at delta 1e-05" in html
    shown = tables_of(html)["Attacks on one"]["items of a client"]
    assert shown == ["precision", "0.7500", "0.1000", "0", "9"]


def test_run_without_validation_test_ratings_or_uploads(tmp_path: Path) -> None:
    """Every section stands and says that there is nothing."""
    nothing = {"selected_round": None, "validation": None, "test": None, "test_last": None}
    nothing |= {"baselines": {}, "baselines_validation": {}, "centralised_baselines": {}}
    nothing |= {"reached": None, "privacy": None, "test_over_users": {}}
    folder = write_run(tmp_path / "one", summary=nothing)
    (folder / "metrics.jsonl").write_text('{"round": 20, "bytes_up_total": 0}\n')
    users = pd.read_csv(folder / "per_user.csv").drop(columns="test_rmse")
    users.to_csv(folder / "per_user.csv", index=False)
    html = page(read_runs([folder]))
    for text in ("no test ratings", "so there are no curves", "No user has a test figure"):
        assert text in html
    assert inlined(html, "charts") == {}


def test_errors_name_the_folder(tmp_path: Path) -> None:
    unfinished = write_run(tmp_path / "unfinished")
    (unfinished / "summary.json").unlink()
    with pytest.raises(InputError, match=rf"{unfinished} has no summary.json: the run has not fin"):
        read_runs([unfinished])
    with pytest.raises(InputError, match="there is no such folder"):
        read_runs([tmp_path / "nowhere"])
    run = write_run(tmp_path / "run")
    with pytest.raises(InputError, match="named twice"):
        read_runs([run, run])
    ranking = write_run(tmp_path / "ranking", summary={"feedback": "ranking"})
    with pytest.raises(InputError, match="explicit and ranking feedback"):
        read_runs([run, ranking])
    (old := write_run(tmp_path / "old") / "summary.json").write_text('{"baselines": {}}')
    with pytest.raises(InputError, match="another version of this program"):
        read_runs([old.parent])
    (run / "metrics.jsonl").write_text("{")
    with pytest.raises(InputError, match=r"metrics.jsonl: is not a line of JSON"):
        read_runs([run])


def test_folders_of_one_name_are_called_by_their_paths(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / "a" / "run"), write_run(tmp_path / "b" / "run")])
    assert [run.name for run in runs] == ["a/run", "b/run"]


def test_every_algorithm_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(ALGORITHMS)
    assert len(set(LOOKS.values())) == len(LOOKS)


def test_any_number_of_runs_may_stand_beside_the_flags() -> None:
    assert parse_flags(["pfr report", "a", "b", "c"], ("RUN", "..."))[1:] == ["a", "b", "c"]
    with pytest.raises(SystemExit, match="'b' is not a flag"):
        parse_flags(["pfr attack", "a", "b"], ("RUN",))
