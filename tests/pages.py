"""Finished runs whose files are written by hand, and what a page about them holds."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pfr_jax.config import Config

EVIL = "</script><b>&"
USERS = 20


def figures(rmse: float) -> dict[str, float]:
    return {"rmse": rmse, "rmse_per_user": rmse - 0.03, "mae": rmse - 0.2}


def write_run(
    folder: Path,
    rmse: float = 0.9,
    algorithm: str = "personalfr",
    errors: np.ndarray | None = None,
    split_seed: int = 0,
    summary: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """A finished run's files, shaped as the real ones.

    Args:
      folder: is made.
      rmse: on test ratings; 0.1 less on validation ratings in round 20, equal in round 10.
      algorithm: its name.
      errors: f64[USERS], of each user; all are ``rmse`` by default.
      split_seed: also the number of test ratings of each user, less 1.
      summary: what else stands in summary.json.
      settings: flags that are not the default.
    """
    folder.mkdir(parents=True)
    chosen = {n: v for section in vars(Config()).values() for n, v in vars(section).items()}
    chosen |= {"algorithm": algorithm, "split_seed": split_seed, **settings}
    config = {**chosen, "ratings": {"sha256": "0"}, "data": {}, "environment": {"python": "3"}}
    (folder / "config.json").write_text(json.dumps(config))
    simple = {"bias_only": figures(0.95), "adaptive_bias": figures(0.94), "global_mean": figures(1)}
    content = {
        **{"algorithm": algorithm, "dataset": "tiny", "feedback": "explicit"},
        **{"num_users": USERS, "num_items": 1234, "num_clients": 10, "cohort_size": 5},
        **{"rounds": 20, "selected_round": 20},
        "validation": figures(rmse - 0.1),
        "test": figures(rmse),
        "test_last": figures(rmse),
        "test_over_users": {"rmse": {"users": USERS, "mean": 0.87654, "p05": 0.5, "p95": 1.5}},
        "baselines": {**simple, "item_knn": figures(0.92)},
        "centralised_baselines": {"item_knn": {"damping": 0.5}},
        "baselines_validation": simple,
        "clients_not_taken": {"dropped": 17, "late": 0},
        **{"bytes_up_total": 4_000_000, "bytes_down_total": 6_000_000},
        "reached": {
            **{"round": 10, "bytes_up": 1_230_000, "bytes_down": 4_560_000},
            **{"bytes_per_client": 579_000.0, "whole_bytes_per_client": 7_890_000.0},
        },
        "privacy": {"upload": "plain", "server_sees": ["the rows of items"]},
        "seconds": {"train": 12.3},
        **(summary or {}),
    }
    (folder / "summary.json").write_text(json.dumps(content))
    lines = [
        {
            "round": round,
            "validation_rmse": value,
            "bytes_up_total": 2_000_000 * part,
            "bytes_down_total": 3_000_000 * part,
        }
        for part, (round, value) in enumerate(((10, rmse), (20, rmse - 0.1)), 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = {
        "user": np.arange(USERS),
        "train_ratings": np.arange(USERS) + 5,
        "test_ratings": split_seed + 1,
        "test_rmse": np.full(USERS, rmse) if errors is None else errors,
    }
    pd.DataFrame(columns).to_csv(folder / "per_user.csv", index=False)
    return folder


class Rows(HTMLParser):
    """Tables of a page: caption -> first cell of a row -> the other cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, dict[str, list[str]]] = {}
        self.row: list[str] | None = None
        self.caption = self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.row = []
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self.caption = self.text
        elif tag in ("td", "th") and self.row is not None:
            self.row.append(self.text)
        elif tag == "tr" and self.row:
            self.tables.setdefault(self.caption, {})[self.row[0]] = self.row[1:]
        self.text = ""


def tables_of(html: str) -> dict[str, dict[str, list[str]]]:
    return Rows(html.partition("<script")[0]).tables


def inlined(html: str, name: str) -> Any:
    """What the page's script reads."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def lists(titles: list[str]) -> dict[str, Any]:
    """As ``lists_of`` gives them."""
    users = {"7": {"seen": 1, "liked": [[1, 5.0]], "recommended": [[0, 4.5]]}}
    users["8"] = {"seen": 2, "liked": [[0, 3.0]], "recommended": [[1, 2.5]]}
    known = {"run": "one", "round": 20, "predicts": "predicted rating", "total": 2}
    return {**known, "titles": titles, "users": users}
