"""Figures of a federation, or of a baseline, on validation, test and new users' ratings."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.algorithms.federated import Algorithm, FederationState
from pfr_jax.client.engines import block_sizes
from pfr_jax.data.splits import Split
from pfr_jax.evaluation.cold import warm_pairs
from pfr_jax.evaluation.scoring import Scorer, make_scorer, score_of_pairs
from pfr_jax.evaluation.shrinkage import best_shrinkage, shrunken
from pfr_jax.evaluation.task import AnyFigures, ByUser, HeldOutPart, JudgeBaselines, Judged
from pfr_jax.population.devices import EVERYWHERE, put
from pfr_jax.population.population import Population
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import seed_keys

JudgeRows = Callable[[np.ndarray, np.ndarray], dict[str, Judged]]


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
    # Over warm ratings alone; None where all are warm or none is.
    validation_warm: AnyFigures | None = None
    test_warm: AnyFigures | None = None
    shrinkage: float = 0.0  # of the model's part of a prediction, see --model_shrinkage


NOTHING = Evaluation(None, False, None, None, {}, {})


def evaluate(simulation: Simulation, state: FederationState, best: float, last: bool) -> Evaluation:
    """Validation figures; the others too if validation beats ``best`` or it is the last round.

    ``best`` is the lowest ``criterion`` so far.
    """
    split = simulation.split
    reports = len(split.test) or len(split.query)
    if not len(split.validation) and not (last and reports):
        return NOTHING
    scorer = scorer_of(simulation, state)
    shrinkage = simulation.config.run.model_shrinkage or 0.0
    found = dataclasses.replace(NOTHING, shrinkage=shrinkage)
    if len(split.validation):
        judged, shrinkage = _judge_validation(simulation, scorer)
        # Fallbacks stay as they are: without a warm rating no round is better than another.
        found = dataclasses.replace(
            found,
            shrinkage=shrinkage,
            validation=judged.figures,
            validation_warm=judged.warm,
            improved=judged.num_warm > 0 and simulation.task.criterion(judged.figures) < best,
        )
    if not reports or not (found.improved or last):
        return found
    if len(split.test):
        judged = judge(simulation, scorer, split.test, seen_in_test(split), shrinkage)
        found = dataclasses.replace(
            found, test=judged.figures, test_warm=judged.warm, test_by_user=judged.by_user
        )
    new = judge_new_users(simulation, state, scorer, shrinkage) if len(split.query) else {}
    return dataclasses.replace(
        found,
        new_users={name: judged.figures for name, judged in new.items()},
        new_by_user={name: judged.by_user for name, judged in new.items()},
    )


def scorer_of(simulation: Simulation, state: FederationState) -> Scorer:
    """What scores the users of a federation in this state."""
    clients = _with_clients(simulation, state)
    return make_scorer(simulation.federation, clients, simulation.population, simulation.fallback)


def _judge_validation(simulation: Simulation, scorer: Scorer) -> tuple[Judged, float]:
    """Figures over the validation part, and the shrinkage of the model they are of."""
    split, task, shrinkage = (
        simulation.split,
        simulation.task,
        simulation.config.run.model_shrinkage,
    )
    held, outputs = _scored(simulation, scorer, split.validation, split.train)
    squared_errors = task.squared_errors
    if shrinkage is None and squared_errors:
        shrinkage = best_shrinkage(lambda k: squared_errors(held, outputs(k))[held.warm])
    shrinkage = shrinkage or 0.0
    return task.judge(held, scorer, outputs(shrinkage)), shrinkage


def judge(
    simulation: Simulation,
    scorer: Scorer,
    part: np.ndarray,
    seen: np.ndarray,
    shrinkage: float = 0.0,
) -> Judged:
    """Figures over a part and of each user. ``part`` and ``seen`` are rows i64[...] of the table.

    ``seen`` are the ratings that are no candidates of a full ranking.
    """
    held, outputs = _scored(simulation, scorer, part, seen)
    return simulation.task.judge(held, scorer, outputs(shrinkage))


def _scored(
    simulation: Simulation, scorer: Scorer, part: np.ndarray, seen: np.ndarray
) -> tuple[HeldOutPart, Callable[[float], np.ndarray]]:
    """A part, and the outputs f64[T] for its pairs, given the model's shrinkage.

    What scores cold pairs is no model and is not shrunk.
    """
    held = part_of(simulation, part, seen)
    user, item = jnp.asarray(held.user), jnp.asarray(held.item)
    whole = np.asarray(score_of_pairs(scorer, user, item), np.float64)
    counts = np.bincount(simulation.examples.user, minlength=simulation.ratings.num_users)

    def outputs(shrinkage: float) -> np.ndarray:
        return np.where(held.warm, shrunken(whole, counts[held.user], shrinkage), whole)

    return held, outputs


def part_of(simulation: Simulation, part: np.ndarray, seen: np.ndarray) -> HeldOutPart:
    """The rows ``part`` i64[T] of the table as a judge needs them."""
    ratings, run = simulation.ratings, simulation.config.run
    return HeldOutPart(
        ratings=ratings,
        rows=part,
        target=simulation.target,
        standard=simulation.standard,
        warm=warm_pairs(simulation.fallback, ratings.user[part], ratings.item[part]),
        seen=seen,
        clip=run.clip_predictions,
        top_k=run.top_k,
    )


def seen_in_test(split: Split) -> np.ndarray:
    """The rows i64[...] that are no candidates when test ratings are looked for."""
    return np.concatenate([split.train, split.validation])


def judge_new_users(
    simulation: Simulation, state: FederationState, scorer: Scorer, shrinkage: float
) -> dict[str, Judged]:
    """Figures of the users held out of training, by what encodes their ratings."""
    split = simulation.split
    judge_query = partial(
        judge, simulation, part=split.query, seen=split.support, shrinkage=shrinkage
    )
    if simulation.adaptation is None:
        return {"shared_encoder": judge_query(scorer=scorer)}
    assert simulation.newcomers is not None
    clients = adapt(simulation, simulation.adaptation, simulation.newcomers, state)
    adapted = make_scorer(simulation.federation, clients, simulation.newcomers, simulation.fallback)
    # A new user's own whole model is the shared one until it is adapted.
    before = "shared_encoder" if simulation.spec.two_models else "initial_encoder"
    return {
        before: judge_query(scorer=scorer),
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
    sizes = block_sizes(config.client, simulation.model, engine, population)
    cohort = population.cohort(population.trainable, sizes)
    _, rounds_key = seed_keys(config.run.seed)
    # Rounds fold in 0, 1, ...; this counts down from the top of uint32.
    key = put(jax.random.fold_in(rounds_key, 2**32 - 1), population.mesh, EVERYWHERE)
    # Compiled once: jit remembers the functions.
    begun = jax.jit(adaptation.init)({**state.start, **state.server.shared}, population.buckets)
    begun = dataclasses.replace(begun, server=state.server)
    adapted, _ = jax.jit(adaptation.round)(begun, population.buckets, cohort, key)
    return dataclasses.replace(adapted, server=state.server)


def simple_baselines(simulation: Simulation, fitted: np.ndarray) -> JudgeRows:
    """Simple predictors, fitted once on these rows, when first asked: see ``judged_by``."""
    return judged_by(simulation, cache(partial(fit_simple, simulation, fitted)))


def fit_simple(simulation: Simulation, rows: np.ndarray) -> JudgeBaselines:
    """Simple predictors, fitted on these rows of the table. Of the clients' data shapes suffice."""
    return simulation.task.baselines(simulation.ratings, simulation.target, rows)


def judged_by(simulation: Simulation, baselines: Callable[[], JudgeBaselines]) -> JudgeRows:
    """(Rows of a part, rows that were seen) -> the figures of baselines over it; {} if empty."""

    def over(part: np.ndarray, seen: np.ndarray) -> dict[str, Judged]:
        return baselines()(part_of(simulation, part, seen)) if len(part) else {}

    return over
