"""What a client of the factored engine keeps, and the layers it makes of that in a round.

A part of the model falls into vectors, which are trained as they are, and the weight matrices of
its layers. The private matrices of a client are stacks: the difference D from the common start
and, if carried, the moments; the moments of its copy of the shared matrices are stacks too. A
private first layer is alpha W_start + x (x) v: its alpha and v are two more vectors. All of it is
of one member; a state holds those of all (``members``).
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.client.factored.coefficients import num_moments
from pfr_jax.client.factored.members import OF_STATE, alone, over_members
from pfr_jax.client.factored.outer_products import Dense, Layer, OutputRows, input_rows
from pfr_jax.client.factored.untouched import untouched
from pfr_jax.client.training import Parts
from pfr_jax.models.item_rows import Tree, flatten, of_items
from pfr_jax.population.population import Bucket

INPUT = "encoder/input"
ALPHA, V = f"{INPUT}/alpha", f"{INPUT}/v"
OUTPUT = "decoder/output"
OUTPUT_BIAS = f"{OUTPUT}/item_bias"
Flat = dict[str, Any]


class Kinds(NamedTuple):
    """The leaves of a part of the model by what the engine does with them."""

    vectors: Flat  # path -> f[...]: biases, norms, rows of the output bias
    dense: Flat  # layer -> f[n, m]
    rows: Flat  # layer -> f[I, .], a row per item


def kinds(part: Tree) -> Kinds:
    found = Kinds({}, {}, {})
    for name, leaf in flatten(part).items():
        layer, _, last = name.rpartition("/")
        if last == "kernel":
            found.dense[layer] = leaf
        elif last == "item_kernel":
            found.rows[layer] = leaf
        else:
            found.vectors[name] = leaf
    return found


def seen_by(side: ClientSide, part: Kinds, items: jax.Array) -> Kinds:
    """A client's view of a part: leaves with a row per item on its items (i32[L]), members first.

    Padding reads some row: no gradient reaches it, and the server drops its change.
    """
    members = side.training.model.members

    def take(leaf: jax.Array) -> jax.Array:
        if members == 1:
            return leaf.at[items].get(mode="clip")
        # Every member's row by itself: rows of all, turned, would be copied three times.
        rows = items[None] * members + jnp.arange(members, dtype=items.dtype)[:, None]
        return leaf.reshape(-1, *leaf.shape[2:]).at[rows].get(mode="clip")

    return Kinds(
        {name: take(leaf) if of_items(name) else leaf for name, leaf in part.vectors.items()},
        part.dense,
        {name: take(leaf) for name, leaf in part.rows.items()},
    )


def start_vectors(public: Parts) -> Parts:
    """The vectors that a client with this view begins a round with, less its own."""
    private, shared = public
    factors = {}
    if INPUT in private.rows:
        kernel = private.rows[INPUT]
        factors = {ALPHA: jnp.ones((), kernel.dtype), V: jnp.zeros(kernel.shape[1], kernel.dtype)}
    return Parts({**private.vectors, **factors}, shared.vectors)


def init(side: ClientSide, bucket: Bucket, start: Parts) -> ClientState:
    """The stacked states of a bucket's clients; no memory is touched before it is needed."""
    public = Parts(kinds(start.private), kinds(start.shared))

    def one(items: jax.Array) -> ClientState:
        seen = Parts(*(seen_by(side, part, items) for part in public))
        begin = over_members(side, partial(_of_member, alone(side)), out_axes=OF_STATE)
        return dataclasses.replace(begin(seen), residual=_residual(side, public.shared, len(items)))

    def stack(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return untouched((len(bucket), *leaf.shape), leaf.dtype)

    return dataclasses.replace(
        jax.tree.map(stack, jax.eval_shape(one, bucket.items[0])),
        rounds=jnp.zeros((len(bucket),), jnp.int32),
        constant=_projections(side, public.private, bucket),
    )


def _of_member(side: ClientSide, public: Parts) -> ClientState:
    """The shapes of what a client with this view keeps of one member."""
    optimizer, carry, vectors = side.training.optimizer, side.carry, start_vectors(public)
    moments = Parts(num_moments(optimizer.private), num_moments(optimizer.shared))

    def stacks(matrices: Flat, count: int) -> Flat:
        return {n: _stored(side, (count, *matrix.shape), matrix) for n, matrix in matrices.items()}

    shared_opt = {
        "vectors": optimizer.shared.init(vectors.shared),
        "dense": stacks(public.shared.dense, moments.shared),
        "rows": stacks(public.shared.rows, moments.shared),
    }
    return ClientState(
        private={
            "vectors": vectors.private,
            "dense": stacks(public.private.dense, 1 + (moments.private if carry.private else 0)),
        },
        private_opt=optimizer.private.init(vectors.private) if carry.private else None,
        shared_opt=shared_opt if carry.shared else None,
        rounds=jnp.int32(0),
    )


def _stored(side: ClientSide, shape: tuple[int, ...], like: jax.Array) -> jax.Array:
    """A stack of matrices in the type in which it is kept."""
    return jnp.zeros(shape, side.store or like.dtype)


def _residual(side: ClientSide, shared: Kinds, num_rows: int) -> Flat | None:
    """What uploads lose, a matrix each; None where nothing is fed back."""
    if not side.keeps_residual:
        return None
    return {
        **{f"{name}/kernel": _stored(side, m.shape, m) for name, m in shared.dense.items()},
        **{
            f"{name}/item_kernel": _stored(side, (num_rows, *rows.shape[1:]), rows)
            for name, rows in shared.rows.items()
        },
    }


def _projections(side: ClientSide, private: Kinds, bucket: Bucket) -> jax.Array | None:
    """W_start^T x of a private first layer, f[Nb, H] (members: f[Nb, G, H]); None: there is none"""
    if INPUT not in private.rows:
        return None
    kernel = private.rows[INPUT]

    def one(client: tuple[jax.Array, jax.Array]) -> jax.Array:
        items, x = client
        rows = kernel.at[items].get(mode="clip")  # where items are padding, x is 0
        projection: jax.Array = jnp.tensordot(x, rows, axes=1)
        return projection

    inputs = side.training.inputs(bucket.values[:, 0], bucket.known[:, 0])
    return jax.lax.map(one, (bucket.items, inputs), batch_size=32)


def layers_of(
    side: ClientSide,
    public: Parts,
    transposed: Flat,
    own: ClientState,
    x: jax.Array,
) -> dict[str, Layer]:
    """The layers with a matrix of one client, as a round begins; ``public`` is its view, x f[L]
    are its ratings."""
    layers: dict[str, Layer] = {
        name: Dense(start, transposed[name], own.private["dense"][name])
        for name, start in public.private.dense.items()
    }
    for name, weights in public.shared.dense.items():
        none = jnp.zeros((0, *weights.shape), x.dtype)
        moments = own.shared_opt["dense"][name] if side.carry.shared else none
        layers[name] = Dense(weights, transposed[name], moments)
    for name, rows in public.shared.rows.items():
        none = jnp.zeros((0, *rows.shape), x.dtype)
        moments = own.shared_opt["rows"][name] if side.carry.shared else none
        layers[name] = input_rows(rows, moments, x) if name == INPUT else OutputRows(rows, moments)
    return layers
