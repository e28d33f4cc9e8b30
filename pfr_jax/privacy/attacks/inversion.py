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
from scipy.optimize import least_squares, minimize_scalar

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.client.block import Payload
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.layers import NORM_EPSILON
from pfr_jax.models.members import one_of
from pfr_jax.privacy.attacks.ratings import RatingsFound, Seen, judge, leaves, linear, see
from pfr_jax.simulation.setup import Simulation

TRIES = 20_000  # draws of places where a code may be 0
ZERO = 1e-5  # of a code's largest entry
SOLVED = 1e-4  # of the rows, what a solution may leave unexplained
FACTOR_STARTS = (-0.2, -1.0, -1.8)  # logarithms of the clip factors


@dataclass(frozen=True)
class Hidden:
    """The decoder's hidden layer as it was sent, or its change; of one member."""

    kernel: np.ndarray  # f64[C, H]
    bias: np.ndarray  # f64[H]
    scale: np.ndarray  # f64[H]
    shift: np.ndarray  # f64[H]

    @classmethod
    def of(cls, named: dict[str, np.ndarray], member: int) -> "Hidden":
        """From the leaves of the shared part."""

        def leaf(name: str, ndim: int) -> np.ndarray:
            found = named[f"decoder/{name}"].astype(np.float64)
            return found[..., member] if found.ndim > ndim else found

        return cls(
            leaf("linear_0/kernel", 2),
            leaf("linear_0/bias", 1),
            leaf("norm_0/scale", 1),
            leaf("norm_0/bias", 1),
        )

    def features(self, code: np.ndarray) -> np.ndarray:
        """f[C] -> f[H + 1], with the 1 of the bias."""
        y = code @ self.kernel + self.bias
        y = y - y.mean()
        y = y / np.sqrt((y * y).mean() + NORM_EPSILON)
        return np.append(np.tanh(y * self.scale + self.shift), 1.0)


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
    """The best solution of the first members that have one; None: no codes were found."""
    model = simulation.model
    one = one_of(model)
    if not isinstance(one, AutoEncoder) or len(one.hidden_sizes) != 2:
        return None
    best = None
    for member in range(model.members):
        seen = see(simulation, state, payload, round, member)
        before = Hidden.of(leaves(state.server.shared), member)
        delta = Hidden.of(leaves(payload.delta), member)
        dropout = simulation.federation.side.training.dropout
        found = invert_member(seen, before, delta, dropout, rng)
        if found is not None and (best is None or found.misfit < best.misfit):
            best = found
        if best is not None and best.misfit < SOLVED:
            break
    return best


def invert_member(
    seen: Seen, before: Hidden, delta: Hidden, dropout: float, rng: np.random.Generator
) -> Solution | None:
    """From one member's rows and hidden layer; None: its codes were not found."""
    steps = seen.change.shape[1] - 1
    if len(seen.items) < steps:
        return None
    gradients = delta.kernel - seen.change[-1, 0] * before.kernel
    codes = sparse_codes(gradients, steps, dropout, rng)
    if len(codes) < steps:
        return None
    u, sizes, v = np.linalg.svd(seen.rest, full_matrices=False)
    space, coordinates = v[:steps], u[:, :steps] * sizes[:steps]
    features = unroll(codes, before, delta, seen.change, space)
    return solve(seen, features, space, coordinates)


def sparse_codes(
    gradients: np.ndarray, steps: int, dropout: float, rng: np.random.Generator
) -> np.ndarray:
    """The codes after dropout, up to scale, f64[found, C]: vectors with as many zeros as dropout
    makes, in the space of the columns of ``gradients`` f64[C, H].

    (Differences of two codes have more, late in training, when codes hardly move.)
    """
    space = np.linalg.svd(gradients, full_matrices=False)[0][:, :steps]
    if steps == 1:
        return space.T
    size = len(space)
    some = np.argsort(rng.random((TRIES, size)), axis=1)[:, : steps - 1]
    codes = np.linalg.svd(space[some])[2][:, -1] @ space.T  # zero in the K - 1 places drawn
    codes /= np.abs(codes).max(axis=1, keepdims=True)
    zeros = (np.abs(codes) < ZERO).sum(axis=1)
    expected, spread = dropout * size, 4.5 * np.sqrt(size * dropout * (1 - dropout))
    zeros = np.where(np.abs(zeros - expected) <= spread, zeros, 0)
    found: list[np.ndarray] = []
    for i in np.argsort(-zeros):
        if zeros[i] < steps + 1 or len(found) == steps:
            break
        unit = codes[i] / np.linalg.norm(codes[i])
        if all(abs(unit @ other) < 0.999 for other in found):
            found.append(unit)
    return np.array(found)


def unroll(
    codes: np.ndarray, before: Hidden, delta: Hidden, change: np.ndarray, space: np.ndarray
) -> np.ndarray:
    """The features of every step, f64[K, H + 1], in order.

    The next one is what lies best in ``space``, that of the items' rows.
    """
    steps, a = len(codes), change[-1, 1:]
    gradients = delta.kernel - change[-1, 0] * before.kernel
    back = np.linalg.lstsq(codes.T, gradients, rcond=None)[0]  # a_k d_k, per unit of the code
    grid = np.concatenate([-np.geomspace(0.3, 40, 40), np.geomspace(0.3, 40, 40)])
    left, order = list(range(steps)), list[int]()
    lengths, features = list[float](), list[np.ndarray]()
    for k in range(steps):
        kernel, bias = (1 + change[k, 0]) * before.kernel, (1 + change[k, 0]) * before.bias
        for j, which in enumerate(order):
            part = change[k, 1 + j] / a[j] * back[which]
            kernel = kernel + np.outer(codes[which], part)
            bias = bias + part / lengths[j]
        moved = k / steps
        now = Hidden(
            kernel, bias, before.scale + moved * delta.scale, before.shift + moved * delta.shift
        )
        fits = [(*_best_length(now, codes[which], space, grid), which) for which in left]
        _, length, which = min(fits)
        order.append(which)
        left.remove(which)
        lengths.append(length)
        features.append(now.features(length * codes[which]))
    return np.array(features)


def _best_length(
    now: Hidden, code: np.ndarray, space: np.ndarray, grid: np.ndarray
) -> tuple[float, float]:
    """How far from ``space`` the features of a code lie at its best length, and that length."""

    def distance(length: float) -> float:
        h = now.features(length * code)
        return float(np.linalg.norm(h - (space @ h) @ space))

    start = grid[np.argmin([distance(length) for length in grid])]
    bounds = sorted((start / 1.15, start * 1.15))
    fine = minimize_scalar(distance, bounds=bounds, method="bounded")
    return float(fine.fun), float(fine.x)


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
