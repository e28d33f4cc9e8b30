"""The ratings of one user from its client's upload, by inverting its K local steps.

A hidden layer changes by c W + sum_k a_k z_k (x) d_k and the items' rows by
c W + sum_k a_k e_k (x) h_k (see ``ratings``). So

1. the codes z_k are the sparse vectors (dropout's zeros) of a space of K dimensions: drawn by
   RANSAC;
2. with them the hidden layer of every step is known, hence its features h_k, in the order in which
   they fit;
3. e_k = s_k slope (p_k - r) has one r per item and one clip factor s_k per step: least squares
   over the clip factors and the few free numbers of each h_k in the space of the rows; r is linear
   in it.

Written for autoencoders with one hidden layer in the decoder and for clients whose momentum starts
at 0. Of several members one is enough: they are trained on the same targets.
Legend: n ratings, H features, C entries of the code, K local steps.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.client.block import Payload
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.members import one_of
from pfr_jax.privacy.attacks.codes import Hidden, find_features
from pfr_jax.privacy.attacks.ratings import RatingsFound, Seen, judge, leaves, linear, see
from pfr_jax.simulation.setup import Simulation

SOLVED = 1e-5  # of the rows, what a solution may leave unexplained
FACTOR_STARTS = (-0.2, -1.0, -1.8)  # logarithms of the clip factors


@dataclass(frozen=True)
class Solution:
    values: np.ndarray  # f64[n]
    factors: np.ndarray  # f64[K], clip factors
    misfit: float  # of the rows, what is not explained


def attack_inversion(
    simulation: Simulation,
    state: FederationState,
    payload: Payload,
    client: int,
    round: int,
    rng: np.random.Generator,
) -> RatingsFound:
    """On a block's payload, whose first place is the client. Falls back on the linear attack."""
    seen = see(simulation, state, payload, round)
    solution = invert(simulation, state, payload, round, rng)
    if solution is None:
        return judge(simulation, client, seen.items, linear(seen))
    return judge(simulation, client, seen.items, solution.values, solved=True)


def invert(
    simulation: Simulation,
    state: FederationState,
    payload: Payload,
    round: int,
    rng: np.random.Generator,
) -> Solution | None:
    """That of the first member that has one; None: none has."""
    model = simulation.model
    one = one_of(model)
    if not isinstance(one, AutoEncoder) or len(one.hidden_sizes) != 2:
        return None
    named, delta = leaves(state.server.shared), leaves(payload.delta)
    dropout = simulation.federation.side.training.dropout
    for member in range(model.members):
        seen = see(simulation, state, payload, round, member)
        parts = Hidden.of(named, member), Hidden.of(delta, member)
        found = invert_member(seen, *parts, dropout, rng)
        if found is not None and found.misfit < SOLVED:
            return found
    return None


def invert_member(
    seen: Seen, before: Hidden, delta: Hidden, dropout: float, rng: np.random.Generator
) -> Solution | None:
    """From one member's rows and hidden layer; None: no codes were found that fit."""
    steps = seen.change.shape[1] - 1
    if len(seen.items) < steps:
        return None
    u, sizes, v = np.linalg.svd(seen.rest, full_matrices=False)
    space, coordinates = v[:steps], u[:, :steps] * sizes[:steps]
    features = find_features(before, delta, seen.change, space, dropout, rng)
    return None if features is None else solve(seen, features, space, coordinates)


def solve(seen: Seen, features: np.ndarray, space: np.ndarray, coordinates: np.ndarray) -> Solution:
    """Least squares on the rows, which begin at these features f64[K, H + 1].

    With features and clip factors given, the errors of all steps are linear in the ratings r.
    """
    n, steps = len(seen.weights), len(space)
    a, last = seen.change[-1, 1:], space[:, -1]
    origin = last / (last @ last)
    free = np.linalg.svd(last[None])[2][1:]  # keeps the 1 of the bias
    sent, size = seen.weights @ space.T, np.linalg.norm(coordinates)
    split = steps * (steps - 1)

    def fit(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        q = origin + x[:split].reshape(steps, -1) @ free  # h_k = q_k space
        pull, gram = seen.slope * np.exp(x[split:]), q @ q.T
        known, along = np.zeros((steps, n)), np.zeros(steps)  # e_k = known_k + along_k r
        for k in range(steps):
            past = seen.change[k, 1 : 1 + k] * gram[k, :k]
            p = (1 + seen.change[k, 0]) * (sent @ q[k]) + past @ known[:k]
            known[k] = pull[k] * p
            along[k] = pull[k] * (past @ along[:k] - 1)
        base, line = (a[:, None] * known).T @ q, (a * along) @ q
        r = (coordinates - base) @ line / (line @ line)
        return r, coordinates - base - r[:, None] * line

    def residual(x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.nan_to_num(fit(x)[1].reshape(-1) / size, nan=1e3)

    guess = ((features @ space.T - origin) @ free.T).reshape(-1)
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    best = None
    for start in FACTOR_STARTS:  # clip factors first, with the features held
        factors = least_squares(
            lambda y: residual(np.append(guess, y)), np.full(steps, start), max_nfev=100
        ).x
        x = np.append(guess, factors)
        solved = least_squares(residual, x, x_scale="jac", max_nfev=60, **tight)
        if best is None or solved.cost < best.cost:
            best = solved
        if np.sqrt(2 * best.cost) < 1e-6:
            break
    assert best is not None
    return Solution(fit(best.x)[0], np.exp(best.x[split:]), float(np.sqrt(2 * best.cost)))
