"""A trained federation as an object that answers questions.

Each user's predictions come from its own client's model, as on a real client: the private part of
that client and the shared part of the selected round.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.data.sources import ratings_file
from pfr_jax.data.titles import titles_beside
from pfr_jax.errors import InputError
from pfr_jax.evaluation.cold import warm_pairs
from pfr_jax.evaluation.evaluate import scorer_of
from pfr_jax.evaluation.ranking import top_items
from pfr_jax.evaluation.scoring import Scorer, score_of_pairs
from pfr_jax.evaluation.shrinkage import shrunken, trust
from pfr_jax.recommend.labels import Labels, rows_of
from pfr_jax.recommend.newcomer import Newcomer, Welcome
from pfr_jax.simulation.setup import Simulation


@dataclass(frozen=True, eq=False)
class Recommender:
    """The model of a run's selected round; ``load_run`` makes one.

    Users and items are named as in the ratings' file. What is predicted is in the file's unit:
    stars for explicit feedback, chances for implicit, and for ranking scores that only compare.

    Attributes:
      simulation: what was trained.
      state: of the selected round.
      round: its number.
      model_shrinkage: see --model_shrinkage; what was in force in that round.
    """

    simulation: Simulation
    state: FederationState
    round: int
    model_shrinkage: float

    @property
    def user_ids(self) -> np.ndarray:
        """[U], ascending."""
        return self.simulation.ratings.user_ids

    @property
    def item_ids(self) -> np.ndarray:
        """[I], ascending."""
        return self.simulation.ratings.item_ids

    @cached_property
    def titles(self) -> pd.Series:
        """What items are called, by label; one without a title is called by its label.

        Titles come from the file that lies beside the ratings, where there is one. To see them:
        ``model.recommend(user).join(model.titles, on="item")``.
        """
        names = self.item_ids.astype(str)
        data = self.simulation.config.data
        if path := ratings_file(data.dataset, data.data_dir):
            found = titles_beside(path, self.item_ids)
            names = names if found is None else found
        return pd.Series(names, index=self.item_ids, name="title", dtype=object)

    @property
    def predicts(self) -> str:
        """What predictions are, in words."""
        return self.simulation.task.shown_as.name

    def predict(self, users: Labels, items: Labels) -> np.ndarray:
        """Predictions for pairs.

        Args:
          users: [T].
          items: [T], or one item of each user.

        Returns:
          f64[T].

        Raises:
          InputError: an unknown user or item, or not as many of both.
        """
        user = rows_of(users, self.user_ids, "user")
        item = rows_of(items, self.item_ids, "item")
        if len(user) != len(item):
            raise InputError(f"predict: {len(user)} users and {len(item)} items; want pairs")
        return self._predict(user, item)

    def recommend(self, user: Any, k: int = 10, exclude_seen: bool = True) -> pd.DataFrame:
        """The best items for a user, best first.

        Args:
          user: its label.
          k: how many; fewer come where fewer are left.
          exclude_seen: leave out what the user's client knows: the training and validation ratings.
            Test ratings are not known to it, so that lists can be measured by them.

        Returns:
          Columns ``item`` and ``prediction``.
        """
        found = self._lists(rows_of([user], self.user_ids, "user"), k, exclude_seen)
        return found[["item", "prediction"]]

    def recommend_all(self, k: int = 10, exclude_seen: bool = True) -> pd.DataFrame:
        """The lists of all users, in blocks of users on the device.

        Args:
          k: length of a list.
          exclude_seen: as for ``recommend``.

        Returns:
          Columns ``user``, ``rank`` (from 1), ``item`` and ``prediction``, user by user.
        """
        return self._lists(np.arange(len(self.user_ids)), k, exclude_seen)

    def seen(self, user: Any) -> pd.DataFrame:
        """What the user's client knows, best rated first: columns ``item`` and ``rating``."""
        row = rows_of([user], self.user_ids, "user")[0]
        ratings, rows = self.simulation.ratings, self._seen_rows
        own = rows[ratings.user[rows] == row]
        own = own[np.argsort(-ratings.rating[own], kind="stable")]
        return pd.DataFrame(
            {"item": self.item_ids[ratings.item[own]], "rating": ratings.rating[own]}
        )

    def similar_items(self, item: Any, k: int = 10) -> pd.DataFrame:
        """The items whose rows of the shared decoder point the same way.

        Args:
          item: its label.
          k: how many.

        Returns:
          Columns ``item`` and ``similarity`` (cosine, from -1 to 1), most similar first.
        """
        row = rows_of([item], self.item_ids, "item")[0]
        kernel = np.asarray(self._scorer.output["item_kernel"], np.float64)
        length = np.linalg.norm(kernel, axis=1)
        cosine = kernel @ kernel[row] / np.maximum(length * length[row], np.finfo(float).tiny)
        order = np.argsort(-cosine, kind="stable")
        order = order[order != row][:k]
        return pd.DataFrame({"item": self.item_ids[order], "similarity": cosine[order]})

    def new_user(self, ratings: Mapping[Any, float], epochs: int | None = None) -> Newcomer:
        """Somebody who did not take part: what the shared part makes of ratings alone.

        Args:
          ratings: item -> stars. Where the run knows choices alone, any number from the threshold
            of positives on.
          epochs: local epochs on these ratings in which the private part is fitted; None: those of
            --adaptation_epochs; 0: the encoder that every client began with, as it is.

        Returns:
          Its own ``predict`` and ``recommend``. Nothing is kept or sent.

        Raises:
          InputError: no rating, an unknown item, or stars off the scale.
        """
        if epochs is None:
            epochs = self.simulation.config.run.adaptation_epochs
        item = rows_of(list(ratings), self.item_ids, "item")
        stars = np.array(list(ratings.values()), np.float64)
        return self._welcome.welcome(item, stars, epochs)

    def _predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """As figures are computed: in float64 from the model's outputs on."""
        simulation = self.simulation
        pairs = jnp.asarray(user, jnp.int32), jnp.asarray(item, jnp.int32)
        whole = np.asarray(score_of_pairs(self._scorer, *pairs), np.float64)
        warm = warm_pairs(simulation.fallback, user, item)
        some = shrunken(whole, self._known_ratings[user], self.model_shrinkage)
        outputs = np.where(warm, some, whole)
        if simulation.task.adds_center:
            outputs = simulation.standard.targets(outputs, user, item)
        clip = simulation.config.run.clip_predictions
        return simulation.task.shown_as.of(outputs, simulation.ratings.scale if clip else None)

    def _lists(self, users: np.ndarray, k: int, exclude_seen: bool) -> pd.DataFrame:
        if k < 1:
            raise InputError(f"k={k}: want 1 or more")
        rows = self._seen_rows if exclude_seen else self._seen_rows[:0]
        rated = self.simulation.ratings.user[rows], self.simulation.ratings.item[rows]
        items = top_items(self._comparing, users, *rated, min(k, len(self.item_ids)))
        place, rank = np.nonzero(items >= 0)
        user, item = users[place], items[place, rank]
        return pd.DataFrame(
            {
                "user": self.user_ids[user],
                "rank": rank + 1,
                "item": self.item_ids[item],
                "prediction": self._predict(user, item),
            }
        )

    @cached_property
    def _scorer(self) -> Scorer:
        return scorer_of(self.simulation, self.state)

    @cached_property
    def _comparing(self) -> Scorer:
        """With scores that order a user's items as what is predicted does."""
        simulation, scorer = self.simulation, self._scorer
        if not simulation.task.adds_center:
            return scorer
        dtype, standard = scorer.hidden.dtype, simulation.standard
        counts = trust(self._known_ratings, self.model_shrinkage)
        return replace(
            scorer,
            trust=jnp.asarray(counts, dtype),
            offset=jnp.asarray(standard.item / standard.scale, dtype),
        )

    @cached_property
    def _seen_rows(self) -> np.ndarray:
        """Rows of the table that lie on clients."""
        split = self.simulation.split
        return np.concatenate([split.train, split.validation, split.support])

    @cached_property
    def _known_ratings(self) -> np.ndarray:
        """How many ratings each user's client trains on, i64[U]."""
        return np.bincount(self.simulation.examples.user, minlength=len(self.user_ids))

    @cached_property
    def _welcome(self) -> Welcome:
        return Welcome(self.simulation, self.state, self.model_shrinkage)
