"""The command as its user meets it: in a process of its own, on a small file of ratings."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from commands import NUM_ITEMS, NUM_USERS, Finished, assert_one_line, run, visible

from pfr_jax.runs.folder import FILES

FIGURES = {"rmse", "rmse_per_user", "mae"}
RANKING = {f"{name}_heldout{kind}" for name in ("ndcg", "map") for kind in ("", "_mixed")} | {
    f"{name}_full"
    for name in (
        *("ndcg", "recall", "hr", "mrr", "precision", "map"),
        *("coverage", "gini", "novelty", "popularity"),
    )
}
SIMPLE = {"global_mean", "user_mean", "item_mean", "bias_only", "adaptive_bias"}


@pytest.fixture(scope="module")
def runs(place) -> dict[str, Finished]:
    """Whole runs, two at a time."""
    data = f"--dataset={place / 'ratings.csv'}"
    # Steps so large that the last round is not the best.
    overfits = [data, "--rounds=8", "--schedule=constant", "--client_learning_rate=0.5"]
    arguments = {
        "first": overfits,
        "again": overfits,
        "last_only": [
            data,
            "--validation_fraction=0",
            "--algorithm=fedavg",
            "--num_clients=7",
            "--batch_size=3",
            "--nopartial_compression",
        ],
        "implicit": [
            data,
            "--feedback=implicit",
            "--implicit_threshold=4",
            "--holdout_users=0.25",
            "--test_fraction=0.3",
            "--top_k=3",
        ],
        "seeds": [data, "--num_seeds=2", "--retrain", "--output_bias=item"],
        "seed_1": [data, "--seed=1", "--split_seed=1", "--output_bias=item"],
        "diverging": [data, "--client_learning_rate=1e30", "--clip_norm=0", "--eval_every=1"],
    }
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda name: run(place / name, *arguments[name]), arguments)
        return dict(zip(arguments, done, strict=True))


def test_a_run_leaves_its_five_files(runs):
    done = runs["first"]
    assert (done.status, done.err) == (0, "")
    assert visible(done.folder) == {*FILES, "checkpoints", "best"} - {"attacks.jsonl"}
    assert str(done.folder) in done.out
    config = done.json("config.json")
    assert config["hidden_sizes"] == [8, 4] and config["rounds"] == 8
    assert config["dataset"].endswith("ratings.csv")
    assert {"python", "jax", "devices"} <= set(config["environment"])
    facts = config["ratings"]
    assert (facts["users"], facts["items"]) == (NUM_USERS, NUM_ITEMS) and len(facts["sha256"]) == 64


def test_what_a_file_or_a_pipe_gets_to_read(runs):
    out = runs["first"].out
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines.index("Environment") < lines.index("compiling ...")
    (compiled,) = (line for line in lines if line.startswith("compiled in "))
    assert float(compiled.split()[2]) > 0 and compiled.endswith(" s")
    (last,) = (line for line in lines if line.startswith("round 8/8  loss "))
    figure = runs["first"].lines("metrics.jsonl")[-1]["validation_rmse"]
    assert f"  validation RMSE {figure:.4f}  " in last and last.endswith(" s")
    # Nothing that only a terminal understands.
    assert "\r" not in out and "\x1b" not in out
    assert out.index("compiled in") < out.index("Test figures")


def test_summary(runs):
    summary = runs["first"].json("summary.json")
    assert set(summary) == {
        "algorithm",
        "dataset",
        "feedback",
        "engine",
        "num_users",
        "num_new_users",
        "num_items",
        "scale",
        "ratings_removed",
        "num_clients",
        "cohort_size",
        "users_by_encoder",
        "rounds",
        "selected_round",
        "validation",
        "test",
        "test_last",
        "model_shrinkage",
        "model_shrinkage_last",
        "test_over_users",
        "test_over_users_last",
        "cold",
        "baselines",
        "centralised_baselines",
        "new_user_baselines",
        "baselines_validation",
        "reached",
        "client_costs",
        "privacy",
        "clients_not_taken",
        "bytes_up_total",
        "bytes_down_total",
        "seconds",
        "peak_rss_bytes",
        "peak_device_bytes",
    }
    sizes = [summary[name] for name in ("num_users", "num_items", "num_clients", "rounds")]
    assert sizes == [NUM_USERS, NUM_ITEMS, NUM_USERS, 8]
    assert summary["algorithm"] == "personalfr"
    for part in ("validation", "test", "test_last"):
        assert set(summary[part]) == FIGURES
        assert 0 < summary[part]["mae"] <= summary[part]["rmse"] < 4
    assert set(summary["baselines_validation"]) == SIMPLE
    assert set(summary["baselines"]) == SIMPLE | {"item_knn", "bayesian_mf"}
    assert set(summary["centralised_baselines"]) == {"item_knn", "bayesian_mf"}
    assert all(set(figures) == FIGURES for figures in summary["baselines"].values())
    assert set(summary["seconds"]) == {"data", "compile", "train", "eval", "checkpoint"}
    assert min(summary["seconds"].values()) > 0
    assert 50e6 < summary["peak_rss_bytes"] < 50e9


def test_the_selected_round_is_the_best_on_validation(runs):
    summary, rounds = runs["first"].json("summary.json"), runs["first"].lines("metrics.jsonl")
    assert [line["round"] for line in rounds] == [2, 4, 6, 8]
    validation = [line["validation_rmse"] for line in rounds]
    best = rounds[int(np.argmin(validation))]
    assert best is not rounds[-1], "this tests nothing: change the settings of the run"
    assert summary["selected_round"] == best["round"]
    # Test figures of other rounds would be there to choose by.
    improved = [i for i in range(4) if i == 3 or validation[i] < min([9.0, *validation[:i]])]
    assert [i for i in range(4) if "test_rmse" in rounds[i]] == improved
    for name in FIGURES:
        assert summary["validation"][name] == best[f"validation_{name}"]
        assert summary["test"][name] == best[f"test_{name}"]
        assert summary["test_last"][name] == rounds[-1][f"test_{name}"]
    assert summary["bytes_up_total"] == rounds[-1]["bytes_up_total"]
    assert summary["bytes_down_total"] == rounds[-1]["bytes_down_total"]
    assert [line["round"] for line in runs["first"].lines("timings.jsonl")] == [2, 4, 6, 8]


@pytest.mark.parametrize(("name", "column"), [("first", ""), ("last_only", "_last")])
def test_the_users_rows_add_up_to_the_summary(runs, place, name, column):
    done = runs[name]
    with (done.folder / "per_user.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["user"] for row in rows) == sorted(f"u{n}" for n in range(NUM_USERS))
    parts = ("train_ratings", "validation_ratings", "test_ratings")
    num_ratings = len((place / "ratings.csv").read_text().splitlines()) - 1
    assert sum(int(row[part]) for row in rows for part in parts) == num_ratings
    clients = {row["client"]: int(row["rounds"]) for row in rows}
    rounds = done.json("summary.json")["rounds"]
    per_round = {40: 4, 7: 1}[len(clients)]  # a tenth of them, rounded up
    assert sum(clients.values()) == rounds * per_round
    assert max(clients.values()) <= rounds and sorted(clients.values())[-per_round] > 0

    count = np.array([int(row["test_ratings"]) for row in rows])
    assert all((row[f"test_rmse{column}"] == "") == (row["test_ratings"] == "0") for row in rows)
    rmse = np.array([float(row[f"test_rmse{column}"] or 0) for row in rows])
    figures = done.json("summary.json")[f"test{column}"]
    assert figures["rmse"] == pytest.approx((count @ rmse**2 / count.sum()) ** 0.5, rel=1e-5)
    assert figures["rmse_per_user"] == pytest.approx(count @ rmse / count.sum(), rel=1e-5)


def test_the_same_seeds_give_the_same_file_byte_for_byte(runs):
    one, other = ((runs[name].folder / "metrics.jsonl").read_bytes() for name in ("first", "again"))
    assert one == other and one
    users = [(runs[name].folder / "per_user.csv").read_bytes() for name in ("first", "again")]
    assert users[0] == users[1]


def test_without_validation_no_round_is_selected(runs):
    done = runs["last_only"]
    assert (done.status, done.err) == (0, "")
    summary = done.json("summary.json")
    assert [summary[name] for name in ("selected_round", "validation", "test")] == [None] * 3
    assert set(summary["test_last"]) == FIGURES
    assert (summary["algorithm"], summary["num_clients"]) == ("fedavg", 7)
    lines = done.lines("metrics.jsonl")
    assert [line["round"] for line in lines if "test_rmse" in line] == [4]
    assert not any("validation_rmse" in line for line in lines)


def test_implicit_feedback_and_new_users(runs, place):
    """Each protocol's figures under its own name; what encodes a user's ratings is said."""
    done = runs["implicit"]
    assert (done.status, done.err) == (0, "")
    summary = done.json("summary.json")
    assert (summary["num_new_users"], summary["feedback"]) == (10, "implicit")
    assert set(summary["test"]) == RANKING
    of_choices = {"popularity", "item_mean", "random", "item_knn", "ease", "ials"}
    assert set(summary["baselines"]) == set(summary["new_user_baselines"]) == of_choices
    assert done.out.index("random") < done.out.index("centralised:") < done.out.index("EASE  ")
    assert set(summary["new_users"]) == {"initial_encoder", "adapted_encoder"}
    assert all(set(figures) == RANKING for figures in summary["new_users"].values())
    assert set(summary["users_by_encoder"]) == {"private, trained", "private, never trained"}
    assert sum(summary["users_by_encoder"].values()) == NUM_USERS
    assert summary["users_by_encoder"]["private, never trained"] >= 10
    with (done.folder / "per_user.csv").open() as file:
        rows = list(csv.DictReader(file))
    new = [row for row in rows if row["new_user"] == "True"]
    assert len(new) == 10
    assert all(row["encoder"] == "private, never trained" and row["rounds"] == "0" for row in new)
    assert all(int(row["support_ratings"]) > 0 == int(row["train_ratings"]) for row in new)
    for row in rows:  # figures of trained users in some columns, of new ones in others
        of_query = row["query_ndcg_full_adapted_encoder_last"]
        assert not (row["test_ndcg_full_last"] and of_query)
    ndcg = [float(row["test_ndcg_full_last"]) for row in rows if row["test_ndcg_full_last"]]
    assert np.mean(ndcg) == pytest.approx(summary["test_last"]["ndcg_full"], rel=1e-4)
    kinds = summary["heldout_users"]
    assert kinds["mixed"] + kinds["only_positives"] == kinds["ranked"] == len(ndcg)
    tested = sum(row["test_ratings"] != "0" for row in rows)
    assert kinds["ranked"] + kinds["only_negatives"] == tested
    spread = summary["test_over_users_last"]["ndcg_full"]
    assert (spread["users"], spread["mean"]) == (len(ndcg), summary["test_last"]["ndcg_full"])
    assert 0 <= spread["p05"] <= spread["p50"] <= spread["p95"] <= 1


def test_runs_of_several_seeds_are_the_runs_of_each(runs):
    """Seed 1 in a process with seed 0 and alone; only the padding of its clients differs."""
    together, alone = runs["seeds"], runs["seed_1"]
    assert (together.status, together.err) == (0, "")
    assert "mean (standard" in together.out
    one = json.loads((together.folder / "seed1" / "summary.json").read_text())
    other = alone.json("summary.json")
    for name in ("selected_round", "bytes_up_total", "baselines", "num_clients"):
        assert one[name] == other[name]
    for name in FIGURES:
        assert one["test"][name] == pytest.approx(other["test"][name], rel=1e-4)
    config = json.loads((together.folder / "seed1" / "config.json").read_text())
    assert (config["seed"], config["split_seed"]) == (1, 1)


def test_retraining_has_the_validation_ratings_too(runs):
    summary = json.loads((runs["seeds"].folder / "seed0" / "summary.json").read_text())
    assert set(summary["test_retrained"]) == FIGURES
    # The simple baseline is fitted to the same ratings, so it is another one as well.
    assert summary["baselines_retrained"]["bias_only"] != summary["baselines"]["bias_only"]
    assert summary["bytes_up_total_retrained"] > 0
    with (runs["seeds"].folder / "seed0" / "per_user.csv").open() as file:
        rows = list(csv.DictReader(file))
    squares = [
        int(row["test_ratings"]) * float(row["test_rmse_retrained"]) ** 2
        for row in rows
        if row["test_rmse_retrained"]
    ]
    count = sum(int(row["test_ratings"]) for row in rows)
    expected = (sum(squares) / count) ** 0.5
    assert summary["test_retrained"]["rmse"] == pytest.approx(expected, rel=1e-5)


def test_a_diverging_run_says_what_to_lower(runs):
    done = runs["diverging"]
    assert_one_line(done, "no update could be taken", "--client_learning_rate", "--clip_norm")
    assert not (done.folder / "summary.json").exists()
    done.lines("metrics.jsonl")  # what was logged is JSON all the same
