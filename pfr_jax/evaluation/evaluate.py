"""Figures of a federation, or of a baseline, on validation, test and new users' ratings."""

import dataclasses
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.algorithms import Algorithm, FederationState
from pfr_jax.client.engines import block_sizes
from pfr_jax.data.population import Population
from pfr_jax.evaluation.baselines import fit_baselines, item_scores
from pfr_jax.evaluation.metrics import Figures, errors_by_user, rating_figures
from pfr_jax.evaluation.ranking import HeldOut, RankingFigures, rank_held_out
from pfr_jax.evaluation.scoring import Scorer, make_scorer, same_for_all, score_of_pairs
from pfr_jax.initial import seed_keys
from pfr_jax.preparation import Simulation
from pfr_jax.sharding import EVERYWHERE, put

AnyFigures = Figures | RankingFigures
ByUser = dict[str, np.ndarray]  # figure -> f64[U], NaN where it is not defined


@dataclass(frozen=True)
class Evaluation:
    """Figures of one round. Test figures are there only for rounds that report them."""

    validation: AnyFigures | None
    improved: bool  # the best validation figures so far
    test: AnyFigures | None
    test_by_user: ByUser | None
    # Of users held out of training, by what encodes their ratings: "initial_encoder" (the
    # private one that everybody began with, never trained), "adapted_encoder" (the same after
    # local epochs on their own ratings) or "shared_encoder".
    new_users: dict[str, AnyFigures]
    new_by_user: dict[str, ByUser]


NOTHING = Evaluation(None, False, None, None, {}, {})


def evaluate(simulation: Simulation, state: FederationState, best: float, last: bool) -> Evaluation:
    """Validation figures; the others too if validation beats ``best`` or it is the last round.

    ``best`` is the lowest ``criterion`` so far.
    """
    split = simulation.split
    reports = len(split.test) or len(split.query)
    if not len(split.validation) and not (last and reports):
        return NOTHING
    scorer = make_scorer(
        simulation.federation, _with_clients(simulation, state), simulation.population
    )
    validation, improved = None, False
    if len(split.validation):
        validation, _ = judge(simulation, scorer, split.validation, seen=split.train)
        improved = validation.criterion < best
    if not reports or not (improved or last):
        return dataclasses.replace(NOTHING, validation=validation, improved=improved)
    test, by_user = None, None
    if len(split.test):
        seen = np.concatenate([split.train, split.validation])
        test, by_user = judge(simulation, scorer, split.test, seen)
    new = judge_new_users(simulation, state, scorer) if len(split.query) else {}
    return Evaluation(
        validation=validation,
        improved=improved,
        test=test,
        test_by_user=by_user,
        new_users={name: figures for name, (figures, _) in new.items()},
        new_by_user={name: by_user for name, (_, by_user) in new.items()},
    )


def judge(
    simulation: Simulation, scorer: Scorer, part: np.ndarray, seen: np.ndarray
) -> tuple[AnyFigures, ByUser]:
    """Figures over a part and of each user. ``part`` and ``seen`` are rows i64[...] of the table.

    ``seen`` are the ratings that are no candidates of a full ranking.
    """
    user, item = simulation.ratings.user[part], simulation.ratings.item[part]
    score = np.asarray(score_of_pairs(scorer, jnp.asarray(user), jnp.asarray(item)), np.float64)
    if simulation.implicit:
        return _judge_ranking(simulation, scorer, score, part, seen)
    return _judge_stars(simulation, score + simulation.center[user], part)


def _judge_stars(
    simulation: Simulation, stars: np.ndarray, part: np.ndarray
) -> tuple[Figures, ByUser]:
    """Figures of predictions ``stars`` f64[T] for the ratings of a part."""
    ratings = simulation.ratings
    if simulation.config.run.clip_predictions:
        stars = np.clip(stars, ratings.scale.low, ratings.scale.high)
    user, rating = ratings.user[part], ratings.rating[part]
    return rating_figures(user, rating, stars), errors_by_user(
        user, rating, stars, ratings.num_users
    )


def _judge_ranking(
    simulation: Simulation, scorer: Scorer, score: np.ndarray, part: np.ndarray, seen: np.ndarray
) -> tuple[RankingFigures, ByUser]:
    ratings = simulation.ratings
    held_out = HeldOut(ratings.user[part], ratings.item[part], simulation.target[part] > 0)
    candidates_not = ratings.user[seen], ratings.item[seen]
    return rank_held_out(scorer, held_out, score, candidates_not, simulation.config.run.top_k)


def judge_new_users(
    simulation: Simulation, state: FederationState, scorer: Scorer
) -> dict[str, tuple[AnyFigures, ByUser]]:
    """Figures of the users held out of training, by what encodes their ratings."""
    judge_query = partial(
        judge, simulation, part=simulation.split.query, seen=simulation.split.support
    )
    if simulation.adaptation is None:
        return {"shared_encoder": judge_query(scorer=scorer)}
    assert simulation.newcomers is not None
    clients = adapt(simulation, simulation.adaptation, simulation.newcomers, state)
    adapted = make_scorer(simulation.federation, clients, simulation.newcomers)
    return {
        "initial_encoder": judge_query(scorer=scorer),
        "adapted_encoder": judge_query(scorer=adapted),
    }


def _with_clients(simulation: Simulation, state: FederationState) -> FederationState:
    """``state``; where clients keep nothing, with the private parts they would learn now."""
    if simulation.reconstruction is None:
        return state
    return adapt(simulation, simulation.reconstruction, simulation.population, state)


def adapt(
    simulation: Simulation, adaptation: Algorithm, population: Population, state: FederationState
) -> FederationState:
    """A federation of these clients, their private part fitted to their ratings.

    They begin where all began; the server's part is that of ``state`` and stays.
    """
    engine, config = simulation.federation.engine, simulation.config
    sizes = block_sizes(config, engine, population.buckets)
    cohort = population.cohort(population.trainable, sizes)
    _, rounds_key = seed_keys(config.run.seed)
    # Rounds fold in 0, 1, ...; this counts down from the top of uint32.
    key = put(jax.random.fold_in(rounds_key, 2**32 - 1), population.mesh, EVERYWHERE)
    # Compiled once: jit remembers the functions.
    begun = jax.jit(adaptation.init)({**state.start, **state.server.shared}, population.buckets)
    begun = dataclasses.replace(begun, server=state.server)
    adapted, _ = jax.jit(adaptation.round)(begun, population.buckets, cohort, key)
    return dataclasses.replace(adapted, server=state.server)


def judge_baselines(
    simulation: Simulation, fitted: np.ndarray, part: np.ndarray, seen: np.ndarray
) -> dict[str, AnyFigures]:
    """Figures of simple predictors, fitted on the rows ``fitted``, over a part; {} if it is empty.

    Explicit feedback: those of ``fit_baselines`` and, for synthetic ratings, the noise floor: the
    planted means, which no predictor can beat but by luck. Implicit: those of ``item_scores``.
    """
    ratings = simulation.ratings
    user, item = ratings.user[part], ratings.item[part]
    if not len(part):
        return {}
    if simulation.implicit:
        scores = item_scores(ratings.item[fitted], simulation.target[fitted], ratings.num_items)
        return {
            name: _judge_ranking(
                simulation, same_for_all(score, ratings.num_users), score[item], part, seen
            )[0]
            for name, score in scores.items()
        }
    stars = {name: fit(user, item) for name, fit in fit_baselines(ratings, fitted).items()}
    if ratings.expected is not None:
        stars["noise_floor"] = ratings.expected[part].astype(np.float64)
    return {name: _judge_stars(simulation, values, part)[0] for name, values in stars.items()}
