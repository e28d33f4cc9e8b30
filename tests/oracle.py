"""The protocol once more, slow and plain: a loop over clients that hold whole dense models.

No vmap, no active rows, no gather, no optax, no Flax: a client is a dictionary of float64 arrays
over all items, its data a dense matrix of its users. The fast paths must match it. Only the
random numbers are the library's convention: a client's key is fold_in(round key, client), local
step k uses fold_in(client key, k), and there each of the client's users draws its own dropout.
"""

import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Settings:
    """The paper's settings unless said otherwise."""

    shared: tuple[str, ...] = ("decoder",)  # first words of the names of shared arrays
    partial_compression: bool = True
    denominator: str = "clients"
    carry_private: bool = True
    carry_shared: bool = True
    clip_norm: float = 1.0
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    local_epochs: int = 2
    batch_size: int = 10
    dropout: float = 0.5
    rounds: int = 3  # cosine annealing runs over these
    implicit: bool = False
    input_offset: float = 0.0


@dataclass
class Client:
    ratings: np.ndarray  # f64[n, I], centred, 0 where not observed
    observed: np.ndarray  # bool[n, I]
    profile: np.ndarray  # f[n, P]; P = 0: none
    weights: Weights  # its whole model; the private part of it lives on
    momentum: Weights = field(default_factory=dict)
    rated: np.ndarray | None = None  # bool[n, I], of the observed, what is no decoy; None: all

    @property
    def items(self) -> np.ndarray:
        return self.observed.any(axis=0)


def forward(w: Any, x: Any, profile: Any, mask: Any) -> Any:
    """The autoencoder of the paper over all items: x f[n, I], profile f[n, P] -> f[n, I]."""

    def norm_tanh(a: Any, name: str) -> Any:
        mean = a.mean(axis=1)[:, None]
        deviation = jnp.sqrt(((a - mean) ** 2).mean(axis=1)[:, None] + 1e-5)
        scale, bias = w[f"{name}/scale"], w[f"{name}/bias"]
        return jnp.tanh((a - mean) / deviation * scale[None, :] + bias[None, :])

    def linear(a: Any, name: str) -> Any:
        return a @ w[f"{name}/kernel"] + w[f"{name}/bias"][None, :]

    first = x @ w["encoder/input/item_kernel"] + w["encoder/input/bias"][None, :]
    hidden = norm_tanh(first, "encoder/norm_0")
    code = norm_tanh(linear(hidden, "encoder/linear_1"), "encoder/norm_1")
    if profile.shape[1]:
        hidden = norm_tanh(linear(profile, "profile/linear_0"), "profile/norm_0")
        code = code + norm_tanh(linear(hidden, "profile/linear_1"), "profile/norm_1")
    last = norm_tanh(linear(code * mask, "decoder/linear_0"), "decoder/norm_0")
    bias = w["decoder/output/item_bias"][None, :]
    return last @ w["decoder/output/item_kernel"].T + bias


@partial(jax.jit, static_argnames=("implicit", "offset"))
def gradient(
    w: Any, x: Any, told: Any, observed: Any, profile: Any, mask: Any, implicit: bool, offset: float
) -> Any:
    def loss(w: Any) -> Any:
        output = forward(w, jnp.where(told, x + offset, 0.0).astype(x.dtype), profile, mask)
        if implicit:
            share = 1 / (1 + jnp.exp(-output))
            losses = -jnp.log(jnp.where(x > 0, share, 1 - share))
        else:
            losses = (output - x) ** 2
        return jnp.where(observed, losses, 0.0).sum() / observed.sum().astype(x.dtype)

    return jax.grad(loss)(w)


def is_shared(name: str, settings: Settings) -> bool:
    return name.split("/")[0] in settings.shared


def batches(client_key: jax.Array, num_users: int, settings: Settings) -> list[np.ndarray]:
    """The users of every local step: in each epoch ordered by a number each user draws."""
    steps = -(-num_users // settings.batch_size)
    out: list[np.ndarray] = []
    for epoch in range(settings.local_epochs):
        order = np.arange(num_users)
        if steps > 1:
            key = jax.random.fold_in(client_key, np.uint32(2**32 - 1 - epoch))
            draws = [float(jax.random.uniform(jax.random.fold_in(key, u))) for u in order]
            order = np.argsort(draws)
        out += [order[i * settings.batch_size :][: settings.batch_size] for i in range(steps)]
    return out


def train(client: Client, server: Weights, index: int, round: int, key: jax.Array, s: Settings):
    """A client's round; returns its weights and momentum after it."""
    w = copy.deepcopy(client.weights)
    w.update({name: server[name].copy() for name in server})
    m = {
        name: client.momentum[name].copy()
        if name in client.momentum and (s.carry_shared if is_shared(name, s) else s.carry_private)
        else np.zeros_like(w[name])
        for name in w
    }
    rate = s.learning_rate * 0.5 * (1 + np.cos(np.pi * round / s.rounds))
    client_key = jax.random.fold_in(key, index)
    for step, users in enumerate(batches(client_key, len(client.ratings), s)):
        mask = dropout(
            jax.random.fold_in(client_key, step), users, len(w["encoder/norm_1/bias"]), s
        )
        dtype = client.ratings.dtype
        rated = client.observed if client.rated is None else client.rated
        told = client.observed if "encoder" in s.shared else rated

        def of(learned: np.ndarray) -> Weights:
            data = client.ratings[users], told[users], learned[users], client.profile[users]  # noqa: B023
            return gradient(w, *data, mask.astype(dtype), s.implicit, s.input_offset)  # noqa: B023

        g = of(client.observed)
        if client.rated is not None:  # what is private does not learn from decoys
            g = {n: g[n] if is_shared(n, s) else own for n, own in of(client.rated).items()}
        g = {name: np.asarray(value, np.float64) for name, value in g.items()}
        norm = np.sqrt(sum((value**2).sum() for value in g.values()))
        factor = min(1.0, s.clip_norm / norm) if s.clip_norm else 1.0
        for name in w:
            d = factor * g[name] + s.weight_decay * w[name]
            if s.partial_compression and is_shared(name, s) and "/item_" in name:
                d[~client.items] = 0.0  # rows of other items: neither trained nor decayed
            m[name] = s.momentum * m[name] + d
            w[name] = w[name] - rate * (d + s.momentum * m[name])
    return w, m


def dropout(key: jax.Array, users: np.ndarray, size: int, s: Settings) -> np.ndarray:
    keep = 1 - s.dropout
    rows = [jax.random.bernoulli(jax.random.fold_in(key, u), keep, (size,)) for u in users]
    return np.stack([np.asarray(row, np.float64) for row in rows]) / keep


def run_round(
    server: Weights, clients: list[Client], cohort: list[int], round: int, key: Any, s: Settings
) -> Weights:
    """A whole round: the new shared weights; the clients' own state is renewed in place."""
    total = {name: np.zeros_like(value) for name, value in server.items()}
    holders = np.zeros(clients[0].observed.shape[1])
    for index in cohort:
        client = clients[index]
        client.weights, client.momentum = train(client, server, index, round, key, s)
        for name in server:
            total[name] += client.weights[name] - server[name]
        holders += client.items if s.partial_compression else 1.0
    divisor = {
        "clients": np.full_like(holders, len(cohort)),
        "contributors": np.maximum(holders, 1),
        "sqrt": np.sqrt(len(cohort) * np.maximum(holders, 1)),
    }[s.denominator]

    def divide(name: str) -> np.ndarray:
        if "/item_" not in name:
            return total[name] / len(cohort)
        return (total[name].T / divisor).T

    return {name: server[name] + divide(name) for name in server}
