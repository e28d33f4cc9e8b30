"""Somebody who did not take part in training, known by some ratings alone.

The client of a newcomer begins with the private part that every client began with, and fits it to
its own ratings against the frozen shared part, as users held out by --holdout_users do.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from pfr_jax.algorithms.federated import Algorithm, FederationState
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import adapt
from pfr_jax.evaluation.ranking import top_items
from pfr_jax.evaluation.scoring import Scorer, make_scorer, score_of_pairs
from pfr_jax.evaluation.shrinkage import trust
from pfr_jax.evaluation.task import Draws, ShownAs
from pfr_jax.population.buckets import Shape
from pfr_jax.population.population import Population
from pfr_jax.population.stacking import Held, build_population
from pfr_jax.recommend.labels import Labels, rows_of
from pfr_jax.simulation.rounds import build_adaptation
from pfr_jax.simulation.setup import Simulation


@dataclass(frozen=True, eq=False)
class Newcomer:
    """Predictions for one new user; ``Recommender.new_user`` makes one."""

    item_ids: np.ndarray  # [I]
    rated: np.ndarray  # i64[n], rows of the items that it has rated
    scorer: Scorer  # of one user, comparing
    user_part: float  # what belongs to the user in predictions, and to no item
    scale: float
    shown_as: ShownAs
    clip: Scale | None

    def predict(self, items: Labels) -> np.ndarray:
        """Predictions for items [T], f64[T]. Raises InputError for an unknown one."""
        return self._predict(rows_of(items, self.item_ids, "item"))

    def recommend(self, k: int = 10, exclude_seen: bool = True) -> pd.DataFrame:
        """The best ``k`` items, without those rated: columns ``item`` and ``prediction``."""
        if k < 1:
            raise InputError(f"k={k}: want 1 or more")
        rated = self.rated if exclude_seen else self.rated[:0]
        nobody = np.zeros(len(rated), np.int64)
        items = top_items(self.scorer, np.zeros(1, np.int64), nobody, rated, k)[0]
        items = items[items >= 0]
        return pd.DataFrame({"item": self.item_ids[items], "prediction": self._predict(items)})

    def _predict(self, item: np.ndarray) -> np.ndarray:
        user = jnp.zeros(len(item), jnp.int32)
        score = score_of_pairs(self.scorer, user, jnp.asarray(item, jnp.int32))
        outputs = np.asarray(score, np.float64) * self.scale + self.user_part
        return self.shown_as.of(outputs, self.clip)


@dataclass(frozen=True, eq=False)
class Welcome:
    """What makes newcomers; programs are compiled once per power of two of ratings."""

    simulation: Simulation
    state: FederationState
    model_shrinkage: float
    _adaptations: dict[Any, Algorithm | None] = field(default_factory=dict)

    def welcome(self, item: np.ndarray, stars: np.ndarray, epochs: int) -> Newcomer:
        """A newcomer with these stars f64[n] of items i64[n]. Raises InputError for bad ones."""
        simulation = self.simulation
        task, ratings, standard = simulation.task, simulation.ratings, simulation.standard
        _check(stars, ratings, epochs)
        user_part = 0.0
        if task.adds_center:
            user_part = standard.of_new_user(stars, item)
        population, known = self._population(item, stars, user_part)
        federation, clients = self._client(population, epochs)
        scorer = make_scorer(federation, clients, population)
        if task.adds_center:
            dtype = scorer.hidden.dtype
            scorer = replace(
                scorer,
                trust=jnp.asarray(trust(np.array([known]), self.model_shrinkage), dtype),
                offset=jnp.asarray(standard.item / standard.scale, dtype),
            )
        return Newcomer(
            item_ids=ratings.item_ids,
            rated=item,
            scorer=scorer,
            user_part=user_part,
            scale=standard.scale if task.adds_center else 1.0,
            shown_as=task.shown_as,
            clip=ratings.scale if simulation.config.run.clip_predictions else None,
        )

    def _population(
        self, item: np.ndarray, stars: np.ndarray, user_part: float
    ) -> tuple[Population, int]:
        """The newcomer's client alone, and how many examples it trains on."""
        simulation = self.simulation
        config, ratings, standard = simulation.config, simulation.ratings, simulation.standard
        nobody = np.zeros(len(item), np.int32)
        own = replace(
            ratings,
            user=nobody,
            item=item.astype(np.int32),
            rating=stars.astype(np.float32),
            user_ids=np.zeros(1, np.int64),
            expected=None,
            profile=None,
            time=None,
        )
        target = simulation.task.targets(own, config.data.implicit_threshold)
        # Popularity is a sum over clients that a newcomer is not sent.
        draws = Draws(config.data.negatives, "uniform", config.run.seed, np.ones(1, bool))
        examples = simulation.task.examples(own, np.arange(len(item)), target, draws)
        center = standard.item[examples.item] + user_part if simulation.task.adds_center else 0.0
        rows = 1 << int(np.ceil(np.log2(max(2, len(examples)))))
        value = (examples.target - center) / standard.scale
        profile = np.zeros((1, simulation.model.profile_size))
        population = build_population(
            Held(examples.user, examples.item, value, profile),
            np.zeros(1, np.int64),
            num_items=ratings.num_items,
            batch_size=config.client.batch_size,
            layout=(Shape(steps=1, rows=rows, users=1, room=1),),
            dtype=simulation.population.buckets[0].values.dtype,
            mesh=simulation.population.mesh,
        )
        return population, len(examples)

    def _client(self, population: Population, epochs: int) -> tuple[Any, FederationState]:
        """The federation of that client, and its state after so many local epochs."""
        simulation, state = self.simulation, self.state
        rows = population.buckets[0].items.shape[1]
        if (rows, epochs) not in self._adaptations:
            self._adaptations[rows, epochs] = (
                build_adaptation(
                    *(simulation.spec, simulation.config, simulation.federation),
                    *(population, epochs),
                )
                if epochs and not simulation.spec.centralized
                else None
            )
        adaptation = self._adaptations[rows, epochs]
        if adaptation is not None:
            return simulation.federation, adapt(simulation, adaptation, population, state)
        init = simulation.algorithm.init
        begun = jax.jit(init)({**state.start, **state.server.shared}, population.buckets)
        return simulation.federation, replace(begun, server=state.server)


def _check(stars: np.ndarray, ratings: Ratings, epochs: int) -> None:
    if not len(stars):
        raise InputError("new_user: give at least one rating, {item: stars}")
    if epochs < 0:
        raise InputError(f"new_user: epochs={epochs}; want 0 or more")
    off = stars[~ratings.scale.contains(stars)]
    if ratings.rated and len(off):
        raise InputError(f"new_user: {off[0]:g} is not on the scale of {ratings.scale}")
