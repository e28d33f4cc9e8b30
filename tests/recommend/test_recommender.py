"""Predictions and lists of a trained federation, against its evaluation and plain loops."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federations import COHORT, run_rounds, small_simulation

from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import evaluate
from pfr_jax.recommend.recommender import Recommender

EXPLICIT: dict[str, Any] = {
    "center": "bias",
    "standardize": True,
    "validation_fraction": 0.1,
    "test_fraction": 0.2,
    "clip_predictions": True,
    "model_shrinkage": 4.0,
}
UNSEEN = 0  # a user whose client is in no round


def trained(**changes: Any) -> Recommender:
    simulation = small_simulation(**changes)
    assert UNSEEN not in COHORT
    state = run_rounds(simulation, [COHORT, COHORT[::-1]])
    return Recommender(simulation, state, 2, simulation.config.run.model_shrinkage or 0.0)


@pytest.fixture(scope="module")
def explicit() -> Recommender:
    return trained(**EXPLICIT)


def every_prediction(recommender: Recommender) -> np.ndarray:
    """f64[U, I]."""
    users, items = recommender.user_ids, recommender.item_ids
    pairs = np.repeat(users, len(items)), np.tile(items, len(users))
    return recommender.predict(*pairs).reshape(len(users), len(items))


def test_predictions_have_the_figures_of_the_evaluation(explicit: Recommender) -> None:
    simulation = explicit.simulation
    found = evaluate(simulation, explicit.state, np.inf, last=True).test
    rows, ratings = simulation.split.test, simulation.ratings
    stars = every_prediction(explicit)[ratings.user[rows], ratings.item[rows]]
    assert found is not None
    error = np.sqrt(np.mean((stars - ratings.rating[rows]) ** 2))
    assert error == pytest.approx(dataclasses.asdict(found)["rmse"], abs=1e-12)


def test_a_newcomer_who_likes_everything(explicit: Recommender) -> None:
    newcomer = explicit.new_user(dict.fromkeys(explicit.item_ids[:3], 5), epochs=0)
    assert np.isfinite(newcomer.predict(explicit.item_ids)).all()


def test_lists_with_titles(explicit: Recommender, tmp_path: Path) -> None:
    """From the file beside the ratings, if there is one; they are by item, in any order."""
    user, (first, *others) = explicit.user_ids[3], explicit.item_ids
    assert explicit.titles[others].tolist() == [str(item) for item in others]
    (tmp_path / "u.item").write_text(f"{first}|Heat|\n")
    config = explicit.simulation.config
    data = dataclasses.replace(config.data, dataset=str(tmp_path / "u.data"))
    config = dataclasses.replace(config, data=data)
    simulation = dataclasses.replace(explicit.simulation, config=config)
    model = dataclasses.replace(explicit, simulation=simulation)
    found = model.recommend(user, 99, exclude_seen=False).join(model.titles, on="item")
    named = dict(zip(found["item"], found["title"], strict=True))
    assert named == {first: "Heat"} | {item: str(item) for item in others}


@pytest.mark.parametrize(
    "changes",
    [
        {**EXPLICIT, "clip_predictions": False},
        {**EXPLICIT, "algorithm": "local", "clip_predictions": False},
        {"feedback": "implicit", "validation_fraction": 0.1},
    ],
    ids=["personalfr", "own decoders", "implicit"],
)
def test_lists_are_the_best_of_all_predictions(changes: dict[str, Any]) -> None:
    recommender = trained(**changes)
    simulation = recommender.simulation
    ratings, split = simulation.ratings, simulation.split
    seen = np.zeros((ratings.num_users, ratings.num_items), bool)
    rows = np.concatenate([split.train, split.validation])
    seen[ratings.user[rows], ratings.item[rows]] = True
    predictions = every_prediction(recommender)
    lists = recommender.recommend_all(k=4)
    for user, label in enumerate(ratings.user_ids):
        own = lists[lists["user"] == label]
        unseen = np.flatnonzero(~seen[user])
        best = np.sort(predictions[user, unseen])[::-1][:4]
        assert own["prediction"].to_numpy() == pytest.approx(best, rel=1e-5)
        assert not seen[user, np.searchsorted(ratings.item_ids, own["item"])].any()
        assert own["rank"].tolist() == list(range(1, len(own) + 1))
        one = recommender.recommend(label, k=4)
        assert one["item"].tolist() == own["item"].tolist()
    whole = recommender.recommend(ratings.user_ids[1], k=99, exclude_seen=False)
    assert sorted(whole["item"]) == ratings.item_ids.tolist()


def test_what_a_client_knows(explicit: Recommender) -> None:
    ratings, split = explicit.simulation.ratings, explicit.simulation.split
    found = explicit.seen(5)
    rows = np.concatenate([split.train, split.validation])
    own = rows[ratings.user[rows] == 5]
    assert dict(zip(found["item"], found["rating"], strict=True)) == dict(
        zip(ratings.item[own], ratings.rating[own], strict=True)
    )
    assert (np.diff(found["rating"]) <= 0).all()


def test_similar_items_by_hand(explicit: Recommender) -> None:
    output = explicit.state.server.shared["decoder"]["output"]
    rows = np.asarray(output["item_kernel"], np.float64)
    cosine = rows @ rows[7] / np.linalg.norm(rows, axis=1) / np.linalg.norm(rows[7])
    found = explicit.similar_items(7, k=3)
    others = np.delete(np.arange(len(rows)), 7)
    best = others[np.argsort(-cosine[others])][:3]
    assert found["item"].tolist() == best.tolist()
    assert found["similarity"].to_numpy() == pytest.approx(cosine[best], rel=1e-5)


def test_a_newcomer_with_the_ratings_of_a_client_that_never_trained(explicit: Recommender) -> None:
    """is that client, until something is fitted to it; then it knows its ratings better."""
    examples, ratings = explicit.simulation.examples, explicit.simulation.ratings
    own = examples.user == 7
    assert 7 not in COHORT
    stars = dict(zip(examples.item[own].tolist(), examples.target[own].tolist(), strict=True))
    begun, adapted = explicit.new_user(stars, epochs=0), explicit.new_user(stars, epochs=30)
    known = explicit.predict([7] * ratings.num_items, ratings.item_ids)
    assert begun.predict(ratings.item_ids) == pytest.approx(known, abs=1e-5)

    def error(newcomer: Any) -> float:
        difference = newcomer.predict(list(stars)) - np.array(list(stars.values()))
        return float(np.mean(difference**2))

    assert error(adapted) < error(begun)
    found = adapted.recommend(k=99)
    assert set(found["item"]) == set(ratings.item_ids.tolist()) - set(stars)
    assert (np.diff(found["prediction"]) <= 0).all()


def test_a_newcomer_of_choices() -> None:
    recommender = trained(feedback="ranking", negatives=2, center="global", output_bias="item")
    found = recommender.new_user({3: 5, 8: 4}, epochs=2).recommend(k=5)
    assert len(found) == 5
    assert not {3, 8} & set(found["item"])


def test_what_nobody_knows(explicit: Recommender) -> None:
    with pytest.raises(InputError, match="user 99: not among the 13 users"):
        explicit.recommend(99)
    with pytest.raises(InputError, match="item bread: not among the 23 items"):
        explicit.predict([1], ["bread"])
    with pytest.raises(InputError, match="1 users and 2 items"):
        explicit.predict([1], [1, 2])
    with pytest.raises(InputError, match="7 is not on the scale of 1 to 5"):
        explicit.new_user({1: 7})
    with pytest.raises(InputError, match="at least one rating"):
        explicit.new_user({})
    with pytest.raises(InputError, match="k=0"):
        explicit.recommend(1, k=0)
