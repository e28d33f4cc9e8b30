"""The ratings of one user from its client's upload, by undoing its K local steps one by one.

Gradients are outer products (see ``codes``), and what the parameters were before a step is public
up to the gradients of earlier steps (``trajectory``). So, for one step after the other:

1. ``find_code`` finds its code z and with it its features h;
2. the errors e at its outputs are, up to a factor, what of the space of the rows' changes gives, by
   backpropagation, a gradient d in that of the hidden layer's;
3. the factor is that with which e (x) h, taken off, leaves the rows a rank less.

Then all is known that the step changed. At the end e_k = s_k slope (p_k - r) has one r per item and
one clip factor s_k per step, and is linear in r and 1 / s_k: least squares.

Written for autoencoders with one hidden layer in the decoder and for clients whose momentum starts
at 0. Of several members one is enough: they are trained on the same targets. One step alone does
not tell its clip factor: that is left to the linear attack.
Legend: n ratings, H features, C entries of the code, K local steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.client.block import Payload
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.members import one_of
from pfr_jax.privacy.attacks.codes import Hidden, find_code
from pfr_jax.privacy.attacks.ratings import (
    RatingsFound,
    Seen,
    judge,
    leaves,
    linear,
    see,
    step_of,
)
from pfr_jax.simulation.setup import Simulation

SOLVED = 0.1  # of a step of the scale, what steps may disagree by on the ratings


class Decoder(NamedTuple):
    """One member's decoder over a client's items, or a change of it."""

    rows: np.ndarray  # f64[n, H + 1], the output layer with its bias as last column
    kernel: np.ndarray  # f64[C + 1, H], the hidden layer with its bias as last row
    scale: np.ndarray  # f64[H]
    shift: np.ndarray  # f64[H]


@dataclass(frozen=True)
class Solution:
    values: np.ndarray  # f64[n]
    factors: np.ndarray  # f64[K], clip factors
    misfit: float  # root mean square of what the steps disagree by


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
    allowed = SOLVED * step_of(simulation.ratings.scale) / simulation.standard.scale
    for member in range(model.members):
        seen = see(simulation, state, payload, round, member)
        parts = decoder_of(named, seen.weights, member), decoder_of(delta, seen.rows, member)
        try:
            found = invert_member(seen, *parts, rng)
        except np.linalg.LinAlgError:  # of an upload whose numbers lead nowhere
            continue
        if found is not None and found.misfit < allowed:
            return found
    return None


def decoder_of(named: dict[str, np.ndarray], rows: np.ndarray, member: int) -> Decoder:
    """From the leaves of the shared part, and rows f64[n, H + 1]."""

    def leaf(name: str, ndim: int) -> np.ndarray:
        found = named[f"decoder/{name}"].astype(np.float64)
        return found[member] if found.ndim > ndim else found

    kernel = np.concatenate([leaf("linear_0/kernel", 2), leaf("linear_0/bias", 1)[None]])
    return Decoder(rows, kernel, leaf("norm_0/scale", 1), leaf("norm_0/bias", 1))


def invert_member(
    seen: Seen, sent: Decoder, change: Decoder, rng: np.random.Generator
) -> Solution | None:
    """From one member's decoder as it was sent, and its change; None: there are too few numbers."""
    moves = np.flatnonzero(seen.change[-1, 1:])  # steps in which the decoder is trained
    before = seen.change[np.append(moves, -1)][:, np.append(0, 1 + moves)]
    steps = len(moves)
    if steps < 2 or min(len(seen.items), *sent.kernel.shape) <= steps:
        return None
    gradients, features = list[Decoder](), list[np.ndarray]()
    for k in range(steps):
        now = combined([1 + before[k, 0], *before[k, 1 : 1 + k]], [sent, *gradients])
        taken = -before[-1, : 1 + k]
        left = combined([1, *taken], [change, sent, *gradients])
        gradient, h = undone(now, left, steps - k, rng)
        weighed = [leaf / before[-1, 1 + k] for leaf in gradient]
        gradients.append(Decoder(*weighed))
        features.append(h)
    return solve(seen, before, np.array(features))


def combined(factors: Sequence[float], decoders: Sequence[Decoder]) -> Decoder:
    """Their sum, each times its factor."""
    pairs = [zip(factors, leaves, strict=True) for leaves in zip(*decoders, strict=True)]
    return Decoder(*(sum(factor * leaf for factor, leaf in leaf_pairs) for leaf_pairs in pairs))


def undone(
    now: Decoder, left: Decoder, rank: int, rng: np.random.Generator
) -> tuple[Decoder, np.ndarray]:
    """What one local step has changed, and its features f64[H + 1].

    Args:
      now: the decoder before the step.
      left: what this step and the ``rank`` - 1 after it have changed, without decay.
      rank: how many steps are left.
      rng: see ``find_code``.
    """
    errors, sizes, space = (part[..., :rank] for part in _svd(left.rows))
    codes, _, gradients = (part[..., :rank] for part in _svd(left.kernel))
    layer = Hidden(now.kernel, now.scale, now.shift)
    code = find_code(layer, codes, space.T, rng)
    found = layer.features(code)
    before_tanh = (errors.T @ now.rows[:, :-1]) * (1 - found.tanh**2)  # for each of the errors
    back = found.through_norm(before_tanh * now.scale)
    outside = back - (back @ gradients) @ gradients.T
    mix = np.linalg.svd(outside)[0][:, -1]
    mix = mix / ((found.values @ space) @ (mix / sizes))  # a rank less of the rows
    shift = mix @ before_tanh
    gradient = Decoder(
        np.outer(errors @ mix, found.values),
        np.outer(code, mix @ back),
        shift * found.normed,
        shift,
    )
    return gradient, found.values


def _svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u, s and v, the singular vectors of both sides as columns."""
    u, sizes, v = np.linalg.svd(matrix, full_matrices=False)
    return u, sizes, v.T


def solve(seen: Seen, before: np.ndarray, features: np.ndarray) -> Solution:
    """The ratings that all steps agree on best, from their features f64[K, H + 1].

    ``before`` f64[K + 1, 1 + K] is ``Seen.change`` of the steps in which the decoder is trained.
    """
    steps, n = len(features), len(seen.items)
    weighed = np.linalg.lstsq(features.T, seen.rest.T, rcond=None)[0]
    errors = weighed / before[-1, 1:, None]
    past = before[:-1, 1:] * (features @ features.T)  # [k, j] 0 from j = k on
    predicted = (1 + before[:-1, :1]) * (features @ seen.weights.T) + past @ errors
    # p_k - e_k / (s_k slope) = r in every step: what is left of the mean over steps is 0.
    own = np.eye(steps) - 1 / steps
    design = (own[:, None] * (errors / seen.slope).T[None]).reshape(steps * n, steps)
    inverse = np.linalg.lstsq(design, (own @ predicted).reshape(-1), rcond=None)[0]
    values = predicted - inverse[:, None] * errors / seen.slope
    found = values.mean(axis=0)
    with np.errstate(divide="ignore"):
        return Solution(found, 1 / inverse, float(np.sqrt(np.mean((values - found) ** 2))))
