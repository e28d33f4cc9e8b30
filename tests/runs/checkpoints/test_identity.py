"""What makes two runs the same run, and how a difference is told."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from federations import ragged_ratings, small_simulation

from pfr_jax.data.table import Ratings
from pfr_jax.runs.checkpoints.identity import (
    differences,
    differing_settings,
    facts_of_ratings,
    identity,
)


def facts(ratings: Ratings) -> dict[str, Any]:
    return facts_of_ratings(ratings, ratings.rating.astype(np.float64))


def test_what_a_run_takes_from_the_ratings_counts() -> None:
    ratings = ragged_ratings()
    change = dataclasses.replace
    same = change(ratings, name="elsewhere", user_ids=ratings.user_ids.astype(np.int32))
    assert facts(same) == facts(ratings)
    stars, order = ratings.rating.copy(), np.arange(len(ratings))
    stars[5], order[[0, 1]] = 6 - stars[5] if stars[5] != 3 else 4, [1, 0]
    others = {
        "stars": change(ratings, rating=stars),
        "order": change(
            ratings,
            user=ratings.user[order],
            item=ratings.item[order],
            rating=ratings.rating[order],
        ),
        "users": change(ratings, user_ids=ratings.user_ids + 1),
        "items": change(ratings, item_ids=ratings.item_ids + 1),
        "text": change(ratings, item_ids=ratings.item_ids.astype(str)),
        "scale": change(ratings, scale=dataclasses.replace(ratings.scale, high=6)),
    }
    found = {name: facts(other)["sha256"] for name, other in others.items()}
    assert len({facts(ratings)["sha256"], *found.values()}) == 1 + len(others)


def test_text_labels_are_told_apart_whatever_type_they_are_kept_in() -> None:
    ratings = ragged_ratings(num_users=3)
    labels = np.array(["a", "bb", "ü"])
    one = facts(dataclasses.replace(ratings, user_ids=labels))
    assert facts(dataclasses.replace(ratings, user_ids=labels.astype(object))) == one
    other = np.array(["ab", "b", "ü"])  # the same characters
    assert facts(dataclasses.replace(ratings, user_ids=other)) != one


BEFORE = {"rounds": 10, "schedule": "constant", "seed": 0, "dataset": "a.csv", "top_k": 10}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"dataset": "b.csv", "top_k": 5, "eval_every": 3, "num_devices": 2}, []),
        ({"rounds": 20}, []),
        ({"seed": 1}, ["--seed was 0, is 1"]),
        (
            {"schedule": "cosine", "rounds": 20},
            ["--rounds was 10, is 20: the constant", "--schedule was constant, is cosine"],
        ),
    ],
    ids=str,
)
def test_settings_that_a_run_may_be_resumed_with(changes: dict[str, Any], told: list[str]) -> None:
    found = differing_settings(BEFORE, BEFORE | changes)
    assert len(found) == len(told)
    assert all(text.startswith(begin) for text, begin in zip(found, told, strict=True))


def test_where_rounds_matter_it_is_said() -> None:
    (text,) = differing_settings(
        {"rounds": 100, "schedule": "cosine"}, {"rounds": 200, "schedule": "cosine"}
    )
    assert text == (
        "--rounds was 100, is 200: the cosine schedule depends on it; only runs of "
        "--schedule=constant can be made longer"
    )


def test_what_is_no_setting_is_told_in_words() -> None:
    """And only where no setting and no rating explains it."""
    now = identity(small_simulation(rounds=1), {"shared": "f32[3]"})
    assert differences(now, now) == []
    for name, words in (
        ("split", "the split into training"),
        ("clients", "other blocks"),
        ("a client's state", "another shape or type"),
    ):
        (text,) = differences({**now, name: "another"}, now)
        assert words in text
    (text,) = differences({**now, "split": "another", "engine": "another"}, now)
    assert text == "engine was another, is factored"
    (text,) = differences({"--rounds": 1}, now)
    assert "another version" in text
