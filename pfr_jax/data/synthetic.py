"""Synthetic ratings shaped like MovieLens, with a known best possible error.

Users' activity and items' popularity have long tails. A rating is a planted score (mean + user
effect + item effect + taste, where taste is an inner product of low rank) plus Gaussian noise,
rounded and clipped to the scale. The mean of a rating given its score is known in closed form,
so no predictor can beat sqrt(mean((rating - expected)**2)) but by luck.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import ndtr

from pfr_jax import seeding
from pfr_jax.data.long_tail import draw_pairs, long_tail
from pfr_jax.data.table import Ratings, Scale
from pfr_jax.errors import InputError

IMPLICIT_THRESHOLD = 3.5  # stars, as for MovieLens


@dataclass(frozen=True)
class SyntheticSpec:
    """What to generate. Standard deviations (sd) are in stars unless said otherwise."""

    name: str
    num_users: int
    num_items: int
    num_ratings: int
    scale: Scale  # with a step
    min_per_user: int  # ratings
    max_per_user: int  # ratings, at most num_items; the longest user comes close to it
    activity_sd: float  # of log(ratings of a user beyond the minimum)
    max_per_item: int  # ratings, about: repeats that are drawn again lower it
    popularity_sd: float  # of log(ratings of an item)
    mean: float  # score, stars
    user_sd: float  # of user effects
    item_sd: float  # of item effects
    taste_rank: int  # dimensions of taste
    taste_sd: float  # of the whole taste term
    taste_decay: float  # sd of each dimension of taste, as a fraction of the one before
    noise_sd: float  # of the noise, before rounding and clipping

    def __post_init__(self):
        if not 0 <= self.min_per_user < self.max_per_user <= self.num_items:
            raise InputError(f"{self}: want 0 <= min_per_user < max_per_user <= num_items")
        low, high = self.num_users * self.min_per_user, self.num_users * self.max_per_user
        if not max(low, self.num_items) <= self.num_ratings <= high:
            raise InputError(
                f"{self}: want num_ratings from {max(low, self.num_items):,}, so that every item "
                f"and user has enough, to {high:,}"
            )


@dataclass(frozen=True, eq=False)
class Planted:
    """The truth behind the ratings: K dimensions of taste."""

    user_effect: np.ndarray  # f64[U], stars
    item_effect: np.ndarray  # f64[I], stars
    user_taste: np.ndarray  # f64[K, U], stars: the strength of a dimension is in here
    item_taste: np.ndarray  # f64[K, I], of sd 1


def generate(spec: SyntheticSpec, seed: int = 0) -> Ratings:
    """The ratings of `spec`, ordered by user and item; labels are 1..U and 1..I."""
    user, item = _pairs(spec, _generator(seed, 0))
    score = planted_score(spec, plant(spec, seed), user, item)
    noise = _generator(seed, 2).standard_normal(len(user))
    return Ratings(
        user=user,
        item=item,
        rating=_round(score + spec.noise_sd * noise, spec.scale).astype(np.float32),
        user_ids=np.arange(1, spec.num_users + 1),
        item_ids=np.arange(1, spec.num_items + 1),
        scale=spec.scale,
        name=spec.name,
        threshold=IMPLICIT_THRESHOLD,
        expected=expected_rating(score, spec.noise_sd, spec.scale).astype(np.float32),
    )


def plant(spec: SyntheticSpec, seed: int = 0) -> Planted:
    """The effects and tastes behind `generate(spec, seed)`."""
    random = _generator(seed, 1)
    strength = spec.taste_decay ** np.arange(spec.taste_rank)
    strength *= spec.taste_sd / np.sqrt(np.sum(strength**2))
    return Planted(
        user_effect=spec.user_sd * random.standard_normal(spec.num_users),
        item_effect=spec.item_sd * random.standard_normal(spec.num_items),
        user_taste=strength[:, None] * random.standard_normal((spec.taste_rank, spec.num_users)),
        item_taste=random.standard_normal((spec.taste_rank, spec.num_items)),
    )


def planted_score(
    spec: SyntheticSpec, planted: Planted, user: np.ndarray, item: np.ndarray
) -> np.ndarray:
    """Score of users i32[n] for items i32[n], f64[n], stars: before noise and the scale."""
    score = spec.mean + planted.user_effect[user] + planted.item_effect[item]
    for of_user, of_item in zip(planted.user_taste, planted.item_taste, strict=True):
        score += of_user[user] * of_item[item]
    return score


def expected_rating(score: np.ndarray, noise_sd: float, scale: Scale) -> np.ndarray:
    """Mean rating given `score` f64[n], f64[n]: over the noise, after rounding and clipping.

    A rating is the lowest level plus one step for every border between levels that
    score + noise passes; it passes border t with probability ndtr((score - t) / noise_sd).
    """
    levels = scale.levels()
    expected = np.full_like(score, scale.low)
    for border in (levels[1:] + levels[:-1]) / 2:
        expected += (levels[1] - levels[0]) * ndtr((score - border) / noise_sd)
    return expected


def _round(score: np.ndarray, scale: Scale) -> np.ndarray:
    levels = scale.levels()
    index = np.rint((score - levels[0]) / (levels[1] - levels[0])).astype(np.int64)
    return levels[np.clip(index, 0, len(levels) - 1)]


def _generator(seed: int, part: int) -> np.random.Generator:
    """Random numbers of one part of the work: another taste leaves who rated what as it was."""
    return np.random.Generator(seeding.bit_generator(seeding.Stream.SYNTHETIC, seed, part))


def activity(spec: SyntheticSpec, random: np.random.Generator) -> np.ndarray:
    """How many items each user rated, i64[U]."""
    span = spec.min_per_user, spec.max_per_user
    return long_tail(spec.num_users, spec.num_ratings, *span, spec.activity_sd, random)


def _pairs(spec: SyntheticSpec, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Who rated what, i32[N] users and i32[N] items, ascending; no pair occurs twice."""
    rated, most = activity(spec, random), spec.max_per_item
    popularity = long_tail(spec.num_items, spec.num_ratings, 1, most, spec.popularity_sd, random)
    return draw_pairs(rated, popularity, random)


HALF_STARS = Scale(0.5, 5.0, 0.5)
WHOLE_STARS = Scale(1.0, 5.0, 1.0)
TEN_STARS = Scale(1.0, 10.0, 1.0)

_LARGE_MOVIELENS = partial(
    SyntheticSpec,
    scale=HALF_STARS,
    min_per_user=20,
    mean=3.5,
    user_sd=0.42,
    item_sd=0.5,
    taste_rank=6,
    taste_sd=0.4,
    taste_decay=0.7,
    noise_sd=0.83,
)
PRESETS = {
    spec.name: spec
    for spec in (
        SyntheticSpec(
            name="synthetic",  # the size of ML-100K
            num_users=943,
            num_items=1_682,
            num_ratings=100_000,
            scale=WHOLE_STARS,
            min_per_user=20,
            max_per_user=737,
            activity_sd=1.15,
            max_per_item=943,
            popularity_sd=1.8,
            mean=3.55,
            user_sd=0.45,
            item_sd=0.55,
            taste_rank=2,
            taste_sd=0.4,
            taste_decay=0.7,
            noise_sd=0.9,
        ),
        SyntheticSpec(
            name="synthetic-ml1m",
            num_users=6_040,
            num_items=3_706,
            num_ratings=1_000_209,
            scale=WHOLE_STARS,
            min_per_user=20,
            max_per_user=2_314,
            activity_sd=1.3,
            max_per_item=6_040,
            popularity_sd=1.9,
            mean=3.6,
            user_sd=0.43,
            item_sd=0.55,
            taste_rank=4,
            taste_sd=0.4,
            taste_decay=0.6,
            noise_sd=0.86,
        ),
        _LARGE_MOVIELENS(
            name="synthetic-ml10m",
            num_users=69_878,
            num_items=10_677,
            num_ratings=10_000_054,
            max_per_user=7_359,
            activity_sd=1.36,
            max_per_item=69_878,
            popularity_sd=2.4,
        ),
        _LARGE_MOVIELENS(
            name="synthetic-ml32m",  # the size of MovieLens-32M; its tails are guessed
            num_users=200_948,
            num_items=87_585,
            num_ratings=32_000_204,
            max_per_user=33_332,
            activity_sd=1.38,
            max_per_item=102_929,
            popularity_sd=2.9,
        ),
        _LARGE_MOVIELENS(
            name="synthetic-million",  # larger than any MovieLens, with the tails of 10M
            num_users=1_000_000,
            num_items=100_000,
            num_ratings=143_000_000,
            max_per_user=7_359,
            activity_sd=1.36,
            max_per_item=1_000_000,
            popularity_sd=2.4,
        ),
        SyntheticSpec(
            name="synthetic-anime",  # scale, users after the filters; the rest is guessed
            num_users=6_000,
            num_items=5_000,
            num_ratings=700_000,
            scale=TEN_STARS,
            min_per_user=20,
            max_per_user=2_000,
            activity_sd=1.2,
            max_per_item=6_000,
            popularity_sd=1.9,
            mean=7.8,
            user_sd=0.8,
            item_sd=0.9,
            taste_rank=4,
            taste_sd=0.5,
            taste_decay=0.7,
            noise_sd=1.1,
        ),
    )
}
