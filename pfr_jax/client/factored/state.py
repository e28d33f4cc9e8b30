"""What a client of the factored engine keeps, and the layers it makes of that in a round.

A part of the model falls into vectors, which are trained as they are, and the weight matrices of
its layers. The private matrices of a client are stacks: the difference D from the common start
and, if carried, the moments; the moments of its copy of the shared matrices are stacks too. A
private first layer is alpha W_start + x (x) v: its alpha and v are two more vectors.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfr_jax.client import compressors
from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.client.factored.coefficients import num_moments
from pfr_jax.client.factored.outer_products import Dense, Layer, OutputRows, input_rows
from pfr_jax.client.factored.untouched import untouched
from pfr_jax.client.local_training import LocalTraining, Parts
from pfr_jax.models.item_rows import Tree, flatten, of_items
from pfr_jax.population.population import Bucket

INPUT = "encoder/input"
ALPHA, V = f"{INPUT}/alpha", f"{INPUT}/v"
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


def start_vectors(public: Parts, items: jax.Array) -> Parts:
    """The vectors that a client with these items (i32[L]) begins a round with, less its own."""
    private, shared = public
    factors = {}
    if INPUT in private.rows:
        kernel = private.rows[INPUT]
        factors = {ALPHA: jnp.ones((), kernel.dtype), V: jnp.zeros(kernel.shape[1], kernel.dtype)}
    return Parts(
        {**private.vectors, **factors},
        {
            name: leaf.at[items].get(mode="clip") if of_items(name) else leaf
            for name, leaf in shared.vectors.items()
        },
    )


def init(side: ClientSide, bucket: Bucket, start: Parts) -> ClientState:
    """The stacked states of a bucket's clients; no memory is touched before it is needed."""
    optimizer, num_rows = side.training.optimizer, bucket.items.shape[1]
    moments = Parts(num_moments(optimizer.private), num_moments(optimizer.shared))
    public = Parts(kinds(start.private), kinds(start.shared))
    vectors = jax.eval_shape(lambda: start_vectors(public, bucket.items[0]))

    def stacked(tree: Tree, kind: Any = None) -> Tree:
        return jax.tree.map(
            lambda leaf: untouched((len(bucket), *leaf.shape), kind or leaf.dtype), tree
        )

    def stacks(matrices: Flat, count: int, rows: int | None = None) -> Flat:
        def one(matrix: jax.Array) -> jax.ShapeDtypeStruct:
            shape = count, matrix.shape[0] if rows is None else rows, matrix.shape[1]
            return jax.ShapeDtypeStruct(shape, matrix.dtype)

        return stacked({name: one(w) for name, w in matrices.items()}, side.store)

    shared_opt = {
        "vectors": stacked(jax.eval_shape(optimizer.shared.init, vectors.shared)),
        "dense": stacks(public.shared.dense, moments.shared),
        "rows": stacks(public.shared.rows, moments.shared, num_rows),
    }
    carry = side.carry
    return ClientState(
        private={
            "vectors": stacked(vectors.private),
            "dense": stacks(public.private.dense, 1 + (moments.private if carry.private else 0)),
        },
        private_opt=stacked(jax.eval_shape(optimizer.private.init, vectors.private))
        if carry.private
        else None,
        shared_opt=shared_opt if carry.shared else None,
        rounds=jnp.zeros((len(bucket),), jnp.int32),
        residual=_residual(side, start.shared, num_rows, stacked),
        constant=_projections(side.training, public.private, bucket),
    )


def _residual(side: ClientSide, shared: Tree, num_rows: int, stacked: Any) -> Flat | None:
    """Room for what uploads lose, a matrix each; None where nothing is fed back."""
    if not side.keeps_residual:
        return None

    def one(name: str, leaf: jax.Array) -> jax.ShapeDtypeStruct:
        rows = num_rows if of_items(name) else leaf.shape[0]
        return jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype)

    shapes = {name: one(name, leaf) for name, leaf in compressors.matrices(shared).items()}
    found: Flat = stacked(shapes, side.store)
    return found


def _projections(training: LocalTraining, private: Kinds, bucket: Bucket) -> jax.Array | None:
    """W_start^T x of a private first layer, f[Nb, H]; None if there is none."""
    if INPUT not in private.rows:
        return None
    kernel = private.rows[INPUT]

    def one(client: tuple[jax.Array, jax.Array]) -> jax.Array:
        items, x = client
        return x @ kernel.at[items].get(mode="clip")  # where items are padding, x is 0

    inputs = training.inputs(bucket.values[:, 0], bucket.observed[:, 0])
    return jax.lax.map(one, (bucket.items, inputs), batch_size=32)


def layers_of(
    side: ClientSide,
    public: Parts,
    transposed: Flat,
    own: ClientState,
    items: jax.Array,
    x: jax.Array,
) -> dict[str, Layer]:
    """The layers with a matrix of one client, as a round begins; x f[L] are its ratings."""
    layers: dict[str, Layer] = {
        name: Dense(start, transposed[name], own.private["dense"][name])
        for name, start in public.private.dense.items()
    }
    for name, weights in public.shared.dense.items():
        none = jnp.zeros((0, *weights.shape), x.dtype)
        moments = own.shared_opt["dense"][name] if side.carry.shared else none
        layers[name] = Dense(weights, transposed[name], moments)
    for name, leaf in public.shared.rows.items():
        # Padding reads the last row: no gradient reaches it, and the server drops its change.
        rows = leaf.at[items].get(mode="clip")
        none = jnp.zeros((0, *rows.shape), x.dtype)
        moments = own.shared_opt["rows"][name] if side.carry.shared else none
        layers[name] = input_rows(rows, moments, x) if name == INPUT else OutputRows(rows, moments)
    return layers
