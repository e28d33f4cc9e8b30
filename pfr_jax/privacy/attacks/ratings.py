"""The ratings of one user, from what its client uploads: what the server knows, the attack of first
order, and stars from values.

The server knows what it sends and what it sets: the shared part, rate, epochs, optimizer, decay,
the mean of all ratings, the effects of items and the scale. It does not know ratings, the user's
own part of the centre, the encoder, dropout's masks or clip factors. An item's row changes by
c W + sum_k a_k e_k h_k, where h_k are the features of local step k with a 1 for the bias, and
e_k = s_k slope (prediction - target); c and a_k are public (``trajectory``). Biases are taken to
decay like weights. Legend: n ratings of the client, H features of a member, K local steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.client.block import Payload
from pfr_jax.client.factored.coefficients import trajectory
from pfr_jax.data.table import Scale
from pfr_jax.errors import InputError
from pfr_jax.models.item_rows import Tree, flatten
from pfr_jax.models.losses import ByRating
from pfr_jax.simulation.setup import Simulation

CANDIDATES = 40  # whole steps of the scale that an unknown offset is looked for among


@dataclass(frozen=True)
class RatingsFound:
    """What an attack finds of one client."""

    exact: int  # ratings recovered exactly
    count: int  # ratings that the client has
    whole: bool  # all of them
    solved: bool  # the inversion was tried to its end


@dataclass(frozen=True)
class Seen:
    """What the server sees of one client's item rows, of one member."""

    items: np.ndarray  # i[n]
    weights: np.ndarray  # f64[n, H + 1], rows with their bias as they were sent
    rows: np.ndarray  # f64[n, H + 1], their change
    change: np.ndarray  # f64[K + 1, 1 + K], see ``Trajectory``
    slope: float  # of the loss's gradient in a prediction: 2 / n, as the loss is weighed

    @property
    def rest(self) -> np.ndarray:
        """What gradients changed, without the decay: f64[n, H + 1]."""
        return self.rows - self.change[-1, 0] * self.weights


def attack_linear(
    simulation: Simulation, state: FederationState, payload: Payload, client: int, round: int
) -> RatingsFound:
    """The attack of first order on a block's payload, whose first place is the client."""
    seen = see(simulation, state, payload, round)
    return judge(simulation, client, seen.items, linear(seen))


def linear_from_sum(
    simulation: Simulation,
    sent: Mapping[str, np.ndarray],
    delta: Mapping[str, np.ndarray],
    client: int,
    round: int,
) -> RatingsFound:
    """The same on the sum over a cohort, given which items the client rated.

    ``sent`` and ``delta`` are leaves over all items, by their names: as the server sent them, and
    their summed changes.
    """
    items = true_ratings(simulation, client)[0]
    sums = item_rows(delta, 0)[items]
    seen = _seen(simulation, sent, items, sums, round, member=0)
    return judge(simulation, client, items, linear(seen))


def majority_share(simulation: Simulation) -> float:
    """Of the most frequent star among the training ratings: the guess without any upload."""
    counts = np.unique(simulation.ratings.rating[simulation.split.train], return_counts=True)[1]
    return float(counts.max() / counts.sum())


def guess_by_effects(simulation: Simulation, client: int) -> RatingsFound:
    """What the public part of the centre says of a client's items, without any upload."""
    items = true_ratings(simulation, client)[0]
    return judge(simulation, client, items, np.zeros(len(items)))


def check(simulation: Simulation) -> None:
    """Raises InputError where an upload is not what the attacks take it for."""
    config, population = simulation.config, simulation.population
    one_user = np.bincount(population.client_of_user[population.client_of_user >= 0]).max() == 1
    obstacles = {
        "--client_optimizer: only changes by sgd are attacked": config.client.client_optimizer
        != "sgd",
        "--feedback: only stars are attacked": not simulation.task.adds_center,
        "--scale: only ratings in steps are attacked": simulation.ratings.scale.step is None,
        "--num_clients: only clients of one user are attacked": not one_user,
    }
    for text, here in obstacles.items():
        if here:
            raise InputError(text)


def can_be_attacked(simulation: Simulation) -> bool:
    """Whether ``check`` finds nothing in the way."""
    try:
        check(simulation)
    except InputError:
        return False
    return "item" not in simulation.spec.private_sides


def see(
    simulation: Simulation, state: FederationState, payload: Payload, round: int, member: int = 0
) -> Seen:
    """What a block's payload shows of the client in its first place."""
    check(simulation)
    sent = leaves(state.server.shared)
    if payload.items is None:  # all rows; those that gradients changed are the client's
        rows = item_rows(leaves(payload.delta), member)
        every = _seen(simulation, sent, np.arange(len(rows)), rows, round, member)
        length = np.linalg.norm(every.rest, axis=1)
        items = np.flatnonzero(length > 1e-5 * length.max())
        return _seen(simulation, sent, items, rows[items], round, member)
    items = np.asarray(payload.items[0])
    there = np.flatnonzero(items < simulation.model.num_items)
    of_client = {name: leaf[0] for name, leaf in leaves(payload.delta).items() if "/item_" in name}
    rows = item_rows(of_client, member)[there]
    return _seen(simulation, sent, items[there], rows, round, member)


def _seen(
    simulation: Simulation,
    sent: Mapping[str, np.ndarray],
    items: np.ndarray,
    rows: np.ndarray,
    round: int,
    member: int,
) -> Seen:
    weights = item_rows(sent, member)[items]
    loss, count = simulation.federation.side.training.loss, max(len(items), 1)
    slope = 2 / (loss.usual if isinstance(loss, ByRating) else count)
    return Seen(items, weights, rows, public_change(simulation, round), slope)


def public_change(simulation: Simulation, round: int) -> np.ndarray:
    """The shared part's coefficients over its beginning and the K gradients, f64[K + 1, 1 + K].

    A client that carries its momentum is taken to be in its first round.
    """
    training = simulation.federation.side.training
    rate = float(simulation.federation.learning_rate(np.float32(round)))
    with jax.enable_x64(True):
        shared = training.optimizer.shared, training.moves.shared
        path = trajectory(*shared, False, jnp.asarray(rate, jnp.float64), training.proximal)
        return np.asarray(path.change)


def leaves(tree: Tree) -> dict[str, np.ndarray]:
    """Leaves by their names, on the host."""
    return {name: np.asarray(leaf) for name, leaf in flatten(tree).items()}


def item_rows(named: Mapping[str, np.ndarray], member: int) -> np.ndarray:
    """The output layer's rows of one member, with their bias as last column: f64[n, H + 1]."""
    name = next(name for name in named if name.rpartition("/")[2] == "item_bias")
    bias = named[name]
    kernel = named[name.removesuffix("item_bias") + "item_kernel"]
    if bias.ndim == 2:
        kernel, bias = kernel[:, member], bias[:, member]
    return np.concatenate([kernel, bias[:, None]], axis=1).astype(np.float64)


def linear(seen: Seen) -> np.ndarray:
    """The ratings of first order, as values f64[n]."""
    predicted, off = linear_errors(seen)
    return predicted - off


def linear_errors(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Of first order, one h for all steps, no clipping: predictions and what they are off."""
    if not len(seen.items):
        return np.zeros(0), np.zeros(0)
    h = np.linalg.svd(seen.rest, full_matrices=False)[2][0]
    if not h[-1]:  # biases are not uploaded: it cannot tell how large h is
        return np.zeros(len(seen.items)), np.zeros(len(seen.items))
    h = h / h[-1]
    error = seen.rest @ h / (h @ h) / seen.change[-1, 1:].sum()
    return seen.weights @ h, error / seen.slope


def true_ratings(simulation: Simulation, client: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the client's user, those it trains on: items i[n], ascending, and stars f64[n]."""
    user = np.flatnonzero(simulation.population.client_of_user == client)
    own = np.flatnonzero(np.isin(simulation.examples.user, user))
    own = own[np.argsort(simulation.examples.item[own])]
    return simulation.examples.item[own], simulation.examples.target[own]


def judge(
    simulation: Simulation, client: int, items: np.ndarray, values: np.ndarray, solved: bool = False
) -> RatingsFound:
    """How many ratings of the client are right in the values f64[n] found for these items."""
    rated, truth = true_ratings(simulation, client)
    found = dict(zip(items.tolist(), stars(simulation, items, values).tolist(), strict=True))
    guess = np.array([found.get(item, np.inf) for item in rated.tolist()])
    right = int((np.abs(guess - truth) < 1e-3).sum())
    return RatingsFound(right, len(rated), right == len(rated), solved)


def stars(simulation: Simulation, items: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Standardised values f64[n] of these items to stars, by what the server knows."""
    standard, scale = simulation.standard, simulation.ratings.scale
    plain = values * standard.scale + standard.item[items]
    if simulation.config.data.center in ("none", "global"):
        return nearest(plain + standard.mean, scale)
    if simulation.config.privacy.upload == "decoy":  # they are in the sum, and not in the mean
        return to_stars(plain, scale, standard.mean)
    total = float(values.sum()) * standard.scale
    return to_stars(plain, scale, standard.mean + total / standard.user_shrinkage)


def to_stars(values: np.ndarray, scale: Scale, around: float) -> np.ndarray:
    """Ratings f64[n] less an unknown number, to stars.

    Its fraction of a step is what brings the values to the lattice of the scale, its whole steps
    those with which fewest leave the scale, and of these those nearest to ``around``. (A user's
    part is a mean shrunk towards that of all users, so the values' sum tells it.)
    """
    low, high, step = scale.low, scale.high, step_of(scale)
    turns = np.exp(-2j * np.pi * (values - low) / step).mean() if len(values) else 1.0
    fraction = np.angle(turns) / (2 * np.pi) * step
    offsets = fraction + step * np.arange(-CANDIDATES, CANDIDATES + 1)
    moved = values[None] + offsets[:, None]
    outside = ((moved < low - step / 2) | (moved > high + step / 2)).sum(axis=1)
    possible = offsets[outside == outside.min()]
    return nearest(values + possible[np.argmin(np.abs(possible - around))], scale)


def nearest(ratings: np.ndarray, scale: Scale) -> np.ndarray:
    """The nearest of the scale's ratings."""
    whole = np.round((ratings - scale.low) / step_of(scale))
    return np.clip(whole * step_of(scale) + scale.low, scale.low, scale.high)


def step_of(scale: Scale) -> float:
    """Of a scale that has steps."""
    assert scale.step is not None, "see check"
    return scale.step
