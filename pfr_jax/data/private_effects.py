"""The centre of ratings under differential privacy, of whole clients.

The server sees noised sums over all clients and nothing else. A client's vector has norm 1 at most,
so replacing its data by nothing moves a sum by 1 at most (L2), and Gaussian noise of standard
deviation `Noise.multiplier` on every coordinate has that noise multiplier. Whatever is made of the
sums afterwards costs nothing more. Users' own effects stay on their clients.

Public are: the scale of ratings, the items, how many clients there are. Inside, a unit is a quarter
of the scale, one star of 1 to 5, and 0 is its middle. It is also what standardisation divides by:
the root mean square that it stands for is a sum over clients, and not worth a release.
"""

from dataclasses import dataclass

import numpy as np

from pfr_jax import seeding
from pfr_jax.data.effects import shrunken_mean
from pfr_jax.data.item_beliefs import LEAST_NOISE, Release, believe
from pfr_jax.data.standard import MEAN_SHRINKAGE, Center, Standard
from pfr_jax.data.table import Scale
from pfr_jax.errors import InputError

COUNT_WEIGHT = 0.35  # in a client's vector, of a rating more, against a residual of one unit
MEAN_WEIGHT = 0.3  # of the mean rating, from -1 to 1, in the vector of the first release
TOTAL_WEIGHT = 0.9  # likewise of the number of ratings over the number of items, at most 1
# Of items in a later release; around 1, for ratings as they come.
LEAST_WEIGHT, MOST_WEIGHT = 0.3, 8.0


@dataclass(frozen=True)
class Noise:
    """What is released, and under how much noise."""

    releases: int  # sums over all clients; of the mean alone there is one
    multiplier: float  # standard deviation of the noise on a sum, over its sensitivity; 0: none
    seed: int


@dataclass(frozen=True, eq=False)
class PrivateStandard:
    """A standardisation, and what else was released on the way."""

    standard: Standard
    # f64[I], about how many rated the item; None: not released. Users with few ratings weigh more,
    # which overstates popular items (by four tenths in MovieLens-100K).
    raters: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Vectors:
    """What all clients send to one sum, as entries that are not 0; a place once per client."""

    client: np.ndarray  # i[n]
    place: np.ndarray  # i[n], coordinate
    value: np.ndarray  # f64[n]
    length: int  # of each vector


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The M pairs of a client and an item that occur in n ratings."""

    client: np.ndarray  # i[M]
    item: np.ndarray  # i[M]
    times: np.ndarray  # i[M], more than 1 only where several users share a client
    of_rating: np.ndarray  # i[n], the pair of each rating


def private_standard(
    client: np.ndarray,
    user: np.ndarray,
    item: np.ndarray,
    target: np.ndarray,
    trained: np.ndarray,
    size: tuple[int, int],
    center: Center,
    scaled: bool,
    scale: Scale,
    noise: Noise,
    num_clients: int,
) -> PrivateStandard:
    """`fit_standard` under differential privacy.

    Args:
      client: i[n], in whose vector a rating is.
      user: i[n], whose rating.
      item: i[n], of what.
      target: f64[n].
      trained: bool[n], of clients that take part; the others' ratings are in no sum.
      size: U and I.
      center: "none": nothing is released; "global", "user": the mean of clients' means, by one
        release; "bias": effects of items, too, by `noise.releases`.
      scaled: divide by a quarter of the scale.
      scale: of the targets.
      noise: releases and their noise.
      num_clients: that take part, with or without ratings.

    Returns:
      The standardisation.
    """
    if center not in ("none", "global", "user", "bias"):
        raise InputError(f"--center={center}: not with --upload=dp; want none, global, user, bias")
    num_users, num_items = size
    unit = (scale.high - scale.low) / 4 or 1.0
    divisor = unit if scaled else 1.0
    if center == "none":
        return PrivateStandard(Standard(np.zeros(num_users), np.zeros(num_items), divisor), None)
    stars = (target - (scale.low + scale.high) / 2) / unit
    sent = client[trained], user[trained], item[trained], stars[trained]
    raters, of_item = None, np.zeros(num_items)
    if center == "bias":
        mean, of_item, raters = _effects(*sent, num_items, noise, num_clients)
    else:
        own = _own_means(sent[0], sent[3])
        everybody = np.arange(len(own))
        vectors = Vectors(everybody, np.zeros_like(everybody), own, 1)
        mean = 2 * float(noised_sum(vectors, noise, 0)[0]) / num_clients
    of_user, shrinkage = np.full(num_users, mean), 0.0
    if center != "global":
        shrinkage = MEAN_SHRINKAGE
        of_user += shrunken_mean(user, stars - mean - of_item[item], num_users, shrinkage)
    middle = (scale.low + scale.high) / 2
    public = divisor, middle + unit * mean, shrinkage, center == "bias"
    return PrivateStandard(Standard(middle + unit * of_user, unit * of_item, *public), raters)


def releases_of(center: str, effects_releases: int) -> int:
    """Sums over all clients that a centre takes; `effects_releases` are those of items' effects."""
    return {"none": 0, "bias": effects_releases}.get(center, 1)


def sums_of(center: str, releases: int, num_items: int) -> tuple[int, int]:
    """Numbers that every client sends up and is sent down, all releases together.

    With effects of items: a residual and a count of every item, and in the first release two
    numbers more; down the mean, after every release the effects, and the weights for the next.
    """
    if center == "bias":
        return 2 * num_items * releases + 2, num_items * (2 * releases - 1) + 1
    return (0, 0) if center == "none" else (1, 1)


def noised_popularity(
    client: np.ndarray, item: np.ndarray, size: tuple[int, int], noise: Noise
) -> np.ndarray:
    """About how many clients chose each item, by one release: f64[I], at least 0.

    A client's choices weigh alike and fill its vector, so those of clients with few weigh more.

    Args:
      client: i[n], who chose.
      item: i[n], what; the same pair again counts once.
      size: clients and I.
      noise: of the release.
    """
    num_clients, num_items = size
    pairs = _pairs(client, item, num_items)
    chosen = np.bincount(pairs.client, minlength=num_clients)
    share = TOTAL_WEIGHT * chosen / num_items
    each = np.sqrt((1 - share**2) / np.maximum(chosen, 1))
    vectors = _joined([(pairs.item, pairs.client, each[pairs.client])], [share], num_items)
    *weight, total = noised_sum(vectors, noise, 2**32)
    weights = np.maximum(weight, 0)
    whole = max(float(np.sum(weight)), float(weights.max()), 1e-9)
    return np.minimum(weights * max(total / TOTAL_WEIGHT, 0) * num_items / whole, num_clients)


def noised_sum(vectors: Vectors, noise: Noise, index: int) -> np.ndarray:
    """All that the server sees of clients: f64[length]. Every sum needs an index of its own."""
    total = np.bincount(vectors.place, vectors.value, minlength=vectors.length)
    stream = seeding.bit_generator(seeding.Stream.EFFECTS, noise.seed, index)
    draw = np.random.Generator(stream).standard_normal(vectors.length)
    return total + noise.multiplier * draw


def _effects(
    client: np.ndarray,
    user: np.ndarray,
    item: np.ndarray,
    stars: np.ndarray,
    num_items: int,
    noise: Noise,
    num_clients: int,
) -> tuple[float, np.ndarray, np.ndarray]:
    """The mean, items' effects f64[I], and about how many rated each, f64[I]; in units."""
    if not noise.releases:
        raise InputError("--effects_releases: effects of items need at least one")
    pairs, num_users = _pairs(client, item, num_items), int(user.max(initial=-1)) + 1
    std = max(noise.multiplier, LEAST_NOISE)
    mean, total, effect, weight = 0.0, 0.0, np.zeros(num_items), np.ones(num_items)
    belief, releases = None, list[Release]()
    for index in range(noise.releases):
        # A client knows its own ratings and what it was sent.
        residual = stars - mean - effect[item]
        residual -= shrunken_mean(user, residual, num_users, MEAN_SHRINKAGE)[user]
        first = []
        if belief is None:
            share = np.minimum(np.bincount(client) / num_items, 1)
            first = [MEAN_WEIGHT * _own_means(client, stars), TOTAL_WEIGHT * share]
        vectors = _of_clients(pairs, residual, weight, first)
        # The server knows no more than the sum.
        sums = noised_sum(vectors, noise, index)
        residuals, counts, beside = np.split(sums, [num_items, 2 * num_items])
        counts /= COUNT_WEIGHT
        if belief is None:
            mean = 2 * beside[0] / MEAN_WEIGHT / num_clients
            total = max(beside[1] / TOTAL_WEIGHT * num_items, 1.0)
            heard = weight
        else:
            heard = belief.heard(weight, counts)
        releases.append(Release(heard, effect, residuals, counts))
        belief = believe(releases, std, std / COUNT_WEIGHT, num_clients)
        effect = belief.effect
        left = max(noise.releases - index - 1, 1)
        weight = belief.next_weight(left / std**2, LEAST_WEIGHT, MOST_WEIGHT)
    if belief is None:
        raise InputError("--effects_releases: effects of items need at least one")
    raters = np.minimum(belief.count * total / belief.count.sum(), num_clients)
    return mean, effect, raters


def _of_clients(
    pairs: _Pairs, residual: np.ndarray, weight: np.ndarray, first: list[np.ndarray]
) -> Vectors:
    """Weighted residuals and counts of items in one vector, scaled together to fill norm 1.

    Args:
      pairs: whose ratings are of what.
      residual: f64[n], of every rating.
      weight: f64[I], positive.
      first: numbers beside those of items, each f64[C], of norm below 1 together; unscaled.
    """
    of_item = weight[pairs.item]
    total = np.bincount(pairs.of_rating, residual, minlength=len(pairs.item)) * of_item
    count = COUNT_WEIGHT * of_item * pairs.times
    square = np.bincount(pairs.client, total**2 + count**2)
    room = 1 - np.sum(np.square(first), axis=0)
    factor = np.sqrt(room / np.where(square > 0, square, 1))[pairs.client]
    size = len(weight)
    blocks = [(pairs.item, pairs.client, factor * total)]
    blocks.append((pairs.item + size, pairs.client, factor * count))
    return _joined(blocks, first, 2 * size)


def _joined(
    blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]], first: list[np.ndarray], length: int
) -> Vectors:
    """Entries (places, clients, values), and after these `length` places one per array f64[C]."""
    for index, of_client in enumerate(first):
        everybody = np.arange(len(of_client))
        blocks = [*blocks, (np.full_like(everybody, length + index), everybody, of_client)]
    place, client, value = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return Vectors(client, place, value, length + len(first))


def _own_means(client: np.ndarray, stars: np.ndarray) -> np.ndarray:
    """Each client's mean over half the scale, f64[C]; from -1 to 1, 0 without ratings."""
    return np.clip(shrunken_mean(client, stars, 0, 0.0) / 2, -1, 1)


def _pairs(client: np.ndarray, item: np.ndarray, num_items: int) -> _Pairs:
    key = client.astype(np.int64) * num_items + item
    pair, of_rating, times = np.unique(key, return_inverse=True, return_counts=True)
    return _Pairs(*np.divmod(pair, num_items), times, of_rating)
