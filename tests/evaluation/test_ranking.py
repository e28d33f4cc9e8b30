"""Ranking figures against trec_eval (by ir-measures), by hand, and at chance."""

from dataclasses import asdict

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, Success, calc, nDCG

from pfr_jax.evaluation import ranking
from pfr_jax.evaluation.implicit import IMPLICIT
from pfr_jax.evaluation.ranking import (
    HeldOut,
    KindsOfUsers,
    figures_of_lists,
    list_figures,
    rank_held_out,
    top_items,
    top_lists,
)
from pfr_jax.evaluation.scoring import Scorer, same_for_all

MEASURES = {"ndcg": nDCG, "map": AP, "recall": R, "hr": Success, "precision": P}


def scorer_of(scores: np.ndarray) -> Scorer:
    """Gives user u the scores f[U, I] of row u: an output layer of U features, one per user."""
    hidden = jnp.eye(len(scores), dtype=jnp.float32)
    output = {
        "item_kernel": jnp.asarray(scores.T, jnp.float32),
        "item_bias": jnp.zeros(scores.shape[1], jnp.float32),
    }
    return Scorer(hidden, output, ())


def trec(run: dict, positives: dict, k: int) -> dict[str, dict[int, float]]:
    """Figures by trec_eval, which breaks ties by document name, the greater first."""

    def name(item: int) -> str:
        return f"{999_999 - item}"

    qrels = {
        str(user): {name(item): int(item in positives[user]) for item in {*items, *positives[user]}}
        for user, items in run.items()
        if positives[user]
    }
    ranked = {
        str(user): {name(item): float(score) for item, score in items.items()}
        for user, items in run.items()
        if positives[user]
    }
    figures: dict[str, dict[int, float]] = {}
    for figure, measure in {**{name: m @ k for name, m in MEASURES.items()}, "mrr": RR}.items():
        results = calc([measure], qrels, ranked)[1]
        figures[figure] = {int(result.query_id): result.value for result in results}
    # trec_eval knows the reciprocal rank without a cut only.
    figures["mrr"] = {user: v if v * k > 0.999 else 0 for user, v in figures["mrr"].items()}
    # trec_eval divides average precision by all positives, also those that no list of k can hold.
    for user in figures["map"]:
        figures["map"][user] *= len(positives[user]) / min(k, len(positives[user]))
    return figures


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 10, 40]), st.sampled_from([2, 128]))
def test_figures_equal_trec_evals_own(seed: int, k: int, block: int) -> None:
    """On scores with many ties, lists shorter than k and users without held-out positives."""
    rng = np.random.default_rng(seed)
    num_users, num_items = 7, 30
    scores = rng.integers(0, 6, (num_users, num_items)).astype(float)
    state = rng.choice(4, (num_users, num_items), p=[0.3, 0.4, 0.15, 0.15])
    state[rng.integers(num_users)] = 0  # nothing seen, nothing held out
    state[2][state[2] == 3] = 2  # held-out ratings, but no positive
    user, item = np.nonzero(state >= 2)  # 0 unknown, 1 seen, 2 held out and low, 3 positive
    order = rng.permutation(len(user))
    user, item = user[order], item[order]
    held_out = HeldOut(user, item, state[user, item] == 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "USERS_PER_BLOCK", block)
        means, by_user = rank_held_out(
            scorer_of(scores), held_out, scores[user, item], np.nonzero(state == 1), k
        )
    positives = {u: set(np.flatnonzero(state[u] == 3)) for u in range(num_users)}
    compared = set()
    candidates = {"heldout": state >= 2, "full": state != 1}
    for protocol, allowed in candidates.items():
        run = {u: {i: scores[u, i] for i in np.flatnonzero(allowed[u])} for u in range(num_users)}
        for figure, expected in trec(run, positives, k).items():
            if f"{figure}_{protocol}" not in by_user:
                continue
            values = by_user[f"{figure}_{protocol}"]
            assert np.isnan(values).tolist() == [not positives[u] for u in range(num_users)]
            compared.add(f"{figure}_{protocol}")
            for u, value in expected.items():
                assert values[u] == pytest.approx(value, abs=1e-9), (figure, protocol, u)
            if expected:
                mean = getattr(means, f"{figure}_{protocol}")
                assert mean == pytest.approx(np.mean(list(expected.values())))
    assert compared == set(by_user)
    mixed = [u for u in range(num_users) if (state[u] == 3).any() and (state[u] == 2).any()]
    for figure in ("ndcg_heldout", "map_heldout"):
        mean = by_user[figure][mixed].mean() if mixed else np.nan
        assert getattr(means, f"{figure}_mixed") == pytest.approx(mean, nan_ok=True)


def test_lists_by_hand() -> None:
    hits = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], bool)
    figures = list_figures(hits, np.array([2, 1, 5]))
    best_of_two = 1 + 1 / np.log2(3)
    assert figures["ndcg"] == pytest.approx([1.5 / best_of_two, 0, 1])
    assert figures["map"] == pytest.approx([(1 + 2 / 3) / 2, 0, 1])
    assert figures["recall"] == pytest.approx([1, 0, 3 / 5])
    assert figures["hr"].tolist() == [1, 0, 1]
    assert figures["mrr"].tolist() == [1, 0, 1]
    assert figures["precision"] == pytest.approx([2 / 3, 0, 1])


# Held out: user 0 positives only, user 1 a positive below a low rating, user 2 a low rating only.
KINDS = HeldOut(
    np.array([0, 0, 1, 1, 2]), np.array([0, 3, 1, 2, 0]), np.array([1, 1, 0, 1, 0], bool)
)


def test_users_with_one_kind_of_ratings_are_counted_and_left_out_of_mixed_figures() -> None:
    kinds = KINDS.kinds_of_users(num_users=4)
    assert kinds == KindsOfUsers(ranked=2, mixed=1, only_positives=1, only_negatives=1)
    nobody = np.array([], int), np.array([], int)
    scorer, score = same_for_all(np.array([4.0, 3.0, 2.0, 1.0]), 4), 4.0 - KINDS.item
    figures, by_user = rank_held_out(scorer, KINDS, score, nobody, k=10)
    assert by_user["ndcg_heldout"][:2] == pytest.approx([1, 1 / np.log2(3)])
    assert figures.ndcg_heldout_mixed == pytest.approx(1 / np.log2(3))
    assert figures.ndcg_heldout == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert (figures.map_heldout_mixed, figures.map_heldout) == (0.5, 0.75)
    assert set(by_user) & {"ndcg_heldout_mixed", "map_heldout_mixed"} == set()
    without, _ = rank_held_out(scorer, KINDS.only(KINDS.user != 1), score[[0, 1, 4]], nobody, 10)
    assert np.isnan(without.ndcg_heldout_mixed) and without.ndcg_heldout == 1


def test_figures_of_some_held_out_pairs_are_of_the_same_lists() -> None:
    """A pair that is left out is no hit, and a user whose positives all are has no figure."""
    scorer, score = same_for_all(np.array([4.0, 3.0, 2.0, 1.0]), 4), 4.0 - KINDS.item
    nobody = np.array([], int), np.array([], int)
    lists = top_lists(scorer, KINDS, nobody, k=2)
    assert lists.users.tolist() == [0, 1] and lists.items.tolist() == [[0, 1]] * 2
    some = np.array([False, True, True, False, True])
    figures, by_user = figures_of_lists(KINDS.only(some), score[some], lists)
    assert by_user["hr_full"].tolist()[:1] == [0]  # item 3 is not listed, item 0 is left out
    assert np.isnan(by_user["hr_full"][1:]).all()
    assert figures.coverage_full == 2 / 4


def test_seen_items_are_never_listed_and_short_lists_end_in_minus_one() -> None:
    scores = np.array([[5.0, 4.0, 3.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    users, seen = np.array([0, 1]), (np.array([0, 0, 0]), np.array([0, 2, 3]))
    top = top_items(scorer_of(scores), users, *seen, k=6)
    assert top.tolist() == [[1, -1, -1, -1, -1, -1], [0, 1, 2, 3, -1, -1]]


def test_coverage_counts_every_listed_item_once() -> None:
    held_out = HeldOut(np.array([0, 1]), np.array([3, 3]), np.array([True, True]))
    scorer = same_for_all(np.array([3.0, 2.0, 1.0, 0.0]), 2)
    nobody = np.array([], int), np.array([], int)
    figures, _ = rank_held_out(scorer, held_out, np.zeros(2), nobody, k=2)
    assert figures.coverage_full == 2 / 4


def test_what_lists_are_made_up_of_is_told_by_seen_ratings_of_everybody() -> None:
    """User 2 has no list but has seen item 1; items 0 and 1 are listed twice, 2 and 3 never."""
    held_out = HeldOut(np.array([0, 1]), np.array([3, 0]), np.array([True, True]))
    scorer = same_for_all(np.array([3.0, 2.0, 1.0, 0.0]), 3)
    seen = np.array([2, 2]), np.array([1, 3])
    figures, _ = rank_held_out(scorer, held_out, np.zeros(2), seen, k=2)
    assert (figures.precision_full, figures.map_full) == (1 / 4, 1 / 2)
    assert figures.gini_full == 1 / 2  # (1 * 2 + 3 * 2) / (4 * 4)
    assert figures.popularity_full == 1 / 2  # item 0: nobody; item 1: the one user who saw any
    assert figures.novelty_full == 1 / 2  # item 0: half a user, a bit; item 1: none


def test_without_any_positive_there_are_no_figures() -> None:
    held_out = HeldOut(np.array([0]), np.array([1]), np.array([False]))
    nobody = np.array([], int), np.array([], int)
    figures, by_user = rank_held_out(same_for_all(np.zeros(3), 2), held_out, np.zeros(1), nobody, 2)
    assert np.isnan(IMPLICIT.criterion(figures)) and np.isnan(by_user["hr_full"]).all()
    assert all(np.isnan(value) for value in asdict(figures).values())


def test_permuted_scores_rank_at_chance() -> None:
    """One positive among 200 items: a list of 10 holds it with chance 10 / 200."""
    rng = np.random.default_rng(0)
    num_users, num_items = 2000, 200
    user, item = np.arange(num_users), rng.integers(0, num_items, num_users)
    scores = rng.permuted(np.tile(np.arange(float(num_items)), (num_users, 1)), axis=1)
    held_out = HeldOut(user, item, np.ones(num_users, bool))
    nobody = np.array([], int), np.array([], int)
    figures, _ = rank_held_out(scorer_of(scores), held_out, scores[user, item], nobody, 10)
    assert figures.hr_full == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / num_users) ** 0.5)
    assert figures.ndcg_heldout == 1  # with one held-out item there is nothing to confuse
