"""Ratings become clients' data: new users apart, targets standardised, users dealt out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from pfr_jax.algorithms import AlgorithmSpec
from pfr_jax.config import Config, DataConfig
from pfr_jax.data.decoys import draw_decoys
from pfr_jax.data.examples import Examples
from pfr_jax.data.splits import Split, choose_new_users, hold_out_users
from pfr_jax.data.standard import EFFECTS, Center, Standard, fit_standard
from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError
from pfr_jax.evaluation.cold import by_releases
from pfr_jax.evaluation.task import Draws, Task
from pfr_jax.evaluation.tasks import choose_task
from pfr_jax.population.buckets import Sizes, client_sizes
from pfr_jax.population.population import deal_with_new_users
from pfr_jax.privacy.accounting import Plan
from pfr_jax.simulation.releases import plan_of, release


@dataclass(frozen=True)
class Dealt:
    """Ratings split, standardised and dealt to clients: what is done before anything is stacked."""

    spec: AlgorithmSpec
    task: Task
    config: Config
    ratings: Ratings
    split: Split
    target: np.ndarray  # f64[N]
    examples: Examples  # of all clients, new users' among them
    decoys: Examples  # that clients train on besides; none but with --upload=decoy
    # The standardisation. It takes sums over all ratings, and is made when first asked for: no
    # shape depends on it.
    find_standard: Callable[[], Standard]
    profile: np.ndarray  # f32[U, P]
    new_users: np.ndarray  # bool[U]
    client_of_user: np.ndarray  # i64[U]
    plan: Plan | None  # see ``Simulation``, as the next
    popularity: np.ndarray | None  # f64[I]

    @property
    def ratings_per_user(self) -> float:
        """What the mean user who trains trains on, decoys too: two sums over clients."""
        user = self.trained_on.user
        counts = np.bincount(user, minlength=len(self.new_users))[~self.new_users]
        return float(counts[counts > 0].mean())

    @property
    def trained_on(self) -> Examples:
        """The examples, and behind them the decoys."""
        return self.examples + self.decoys

    @property
    def sizes(self) -> Sizes:
        return self._sizes(self.trained_on, self.client_of_user)

    @property
    def newcomers(self) -> np.ndarray:
        """The client of each new user, i64[U]; -1 for the others."""
        return np.where(self.new_users, self.client_of_user, -1)

    @property
    def sizes_of_newcomers(self) -> Sizes:
        return self._sizes(self.examples.of_users(self.new_users), self.newcomers)

    def _sizes(self, examples: Examples, client_of_user: np.ndarray) -> Sizes:
        return client_sizes(examples.user, examples.item, client_of_user, self.ratings.num_items)


def deal(spec: AlgorithmSpec, config: Config, ratings: Ratings, split: Split) -> Dealt:
    """Splits off the new users, standardises the targets and deals the users to clients."""
    data = config.data
    new_users = choose_new_users(ratings.num_users, data.holdout_users, data.split_seed)
    split = hold_out_users(split, ratings.user, new_users)
    if not len(split.train):
        raise InputError("no rating is left to train on; hold out fewer users or ratings")
    task = choose_task(data)
    center = data.center
    if center == "auto":
        center = task.usual_center
        if config.privacy.dp and center == "adaptive":
            center = "bias"
    config = replace(config, data=replace(data, center=center))
    target = task.targets(ratings, data.implicit_threshold)
    held = np.concatenate([split.train, split.support]) if len(split.support) else split.train
    if (held[1:] < held[:-1]).any():
        held = np.sort(held, kind="stable")  # fast where both are in order
    draws = Draws(data.negatives, data.negative_sampling, config.run.seed, ~new_users)
    examples = task.examples(ratings, held, target, draws)
    trained = ~new_users[examples.user]
    task.check(float(examples.target[trained].mean()) if trained.any() else 0.0)
    if center in EFFECTS and not task.adds_center:
        raise InputError(f"--center={center}: --feedback={task.name} has no effects to add back")
    if config.run.model_shrinkage and not task.adds_center:
        raise InputError(
            f"--model_shrinkage: --feedback={task.name} has no centre to shrink a model to"
        )
    client = _clients_of_users(spec, config, new_users)
    train = np.bincount(examples.user, minlength=ratings.num_users) > 0
    plan = plan_of(config, len(np.unique(client[train & ~new_users])))
    standard = cache(partial(_standard, config, center, task, ratings, examples, trained))
    popularity = None
    if plan is not None:
        of_client = client[examples.user]
        released = release(plan, config, center, task, ratings, of_client, examples, trained)
        standard, popularity = cache(lambda: released.standard), released.popularity
        task = replace(task, cold=by_releases(task.cold, popularity))
    decoys = examples.of_users(np.zeros(ratings.num_users, bool))
    if config.privacy.upload == "decoy":
        per_rating = config.privacy.decoys_per_rating
        decoys = draw_decoys(examples, standard(), per_rating, config.run.seed, drawing=~new_users)
    return Dealt(
        *(spec, task, config, ratings, split, target, examples, decoys, standard),
        *(user_profiles(data, ratings), new_users, client, plan, popularity),
    )


def _standard(
    config: Config,
    center: Center,
    task: Task,
    ratings: Ratings,
    examples: Examples,
    trained: np.ndarray,
) -> Standard:
    """By exact sums over the clients that take part."""
    return fit_standard(
        *(examples.user, examples.item, examples.target, trained),
        size=(ratings.num_users, ratings.num_items),
        center=center,
        scaled=config.data.standardize and task.adds_center,
    )


def user_profiles(config: DataConfig, ratings: Ratings) -> np.ndarray:
    """One-hot profiles f32[U, P]; P = 0 where they are not asked for."""
    if not config.user_profile:
        return np.zeros((ratings.num_users, 0), np.float32)
    if ratings.profile is None:
        raise InputError(f"--user_profile: {ratings.name} has no user profiles; leave the flag out")
    return ratings.profile


def _clients_of_users(spec: AlgorithmSpec, config: Config, new_users: np.ndarray) -> np.ndarray:
    """The client of each user, i64[U]."""
    data, num_trained = config.data, int((~new_users).sum())
    if data.num_clients > num_trained:
        raise InputError(
            f"--num_clients={data.num_clients}: there are only {num_trained} users to train"
        )
    # The users of a centralised trainer are evaluated one by one.
    num_clients = 0 if spec.centralized else data.num_clients
    return deal_with_new_users(new_users, num_clients, data.split_seed)
