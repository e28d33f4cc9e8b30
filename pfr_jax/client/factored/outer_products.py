"""Linear layers of one client whose weights are a sum: public + own terms + outer products.

``Weights`` of ``coefficients`` say how much of each. Legend: n inputs and m outputs of a layer, r
matrices in a client's stack, K local steps, L item rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pfr_jax.client.factored.coefficients import Weights

UNROLLED = 8  # local steps; with more of them a matrix product is faster


class Memory(NamedTuple):
    """The outer products of the local steps so far: G_k = inputs[k] (x) deltas[k]; 0 later."""

    inputs: jax.Array  # f[K, n]
    deltas: jax.Array  # f[K, m], clipped gradients at the layer's output

    def remember(self, step: jax.Array, inputs: jax.Array, delta: jax.Array) -> "Memory":
        return Memory(self.inputs.at[step].set(inputs), self.deltas.at[step].set(delta))

    def bound(self, gradients: jax.Array) -> jax.Array:
        """What no entry of the sum of outer products weighed with f[K] exceeds in size, f[...]."""
        squares = [jnp.einsum("...kn,...kn->...k", leaf, leaf) for leaf in self]
        norms = jnp.sqrt(squares[0]) * jnp.sqrt(squares[1])
        return jnp.einsum("k,...k->...", jnp.abs(gradients), norms)


def _sum_of_outer(gradients: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
    """Weighted sums of left[k] (x) right[k], f[rows, n, m]; f[rows, K], f[K, n] and f[K, m].

    Term by term it is computed where it is added to something; a product with K in the middle
    leaves a matrix in memory, that has to be read once more.
    """
    scaled = gradients[:, :, None] * left[None]
    if len(left) > UNROLLED:
        return jnp.einsum("rkn,km->rnm", scaled, right)
    terms = [scaled[:, k, :, None] * right[k, None, None, :] for k in range(len(left))]
    return sum(terms[1:], terms[0])


def empty_memory(layer: "Layer", steps: int) -> Memory:
    """Of a layer that has seen no local step."""
    widths = layer.public.shape[::-1] if isinstance(layer, OutputRows) else layer.public.shape
    return Memory(*(jnp.zeros((steps, width), layer.public.dtype) for width in widths))


@jax.custom_vjp
def _product(inputs: jax.Array, matrix: jax.Array, transposed: jax.Array) -> jax.Array:
    """inputs f[n] @ matrix f[n, m]; the way back multiplies by its transpose as it lies there.

    For a block of clients these are two matrix products. A CPU would otherwise turn the matrix
    around in every step, which takes longer than the product.
    """
    del transposed
    return inputs @ matrix


def _product_and_transposed(*args: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _product(*args), args[2]


def _product_back(transposed: jax.Array, gradient: jax.Array) -> tuple[jax.Array, None, None]:
    return gradient @ transposed, None, None


_product.defvjp(_product_and_transposed, _product_back)


class Dense(NamedTuple):
    """A hidden layer: f[n] -> f[m]."""

    public: jax.Array  # f[n, m]
    transposed: jax.Array  # f[m, n], the same
    own: jax.Array  # f[r, n, m]

    def product(self, weights: Weights, memory: Memory, inputs: jax.Array) -> jax.Array:
        """W_k^T h, f[m], with the weights of step k."""
        # The stack is read in one product, of the input repeated with the stack's weights.
        repeated = (weights.own[:, None] * inputs[None, :]).reshape(-1)
        of_own = repeated @ self.own.reshape(-1, self.own.shape[-1])
        past = weights.gradients * (memory.inputs @ inputs)
        of_public = _product(inputs, self.public, self.transposed)
        return weights.public * of_public + of_own + past @ memory.deltas

    def outer(self, gradients: jax.Array, memory: Memory) -> jax.Array:
        """Weighted sums of the outer products, f[rows, n, m]; gradients f[rows, K]."""
        return _sum_of_outer(gradients, memory.inputs, memory.deltas)

    def squared_input(self, inputs: jax.Array) -> jax.Array:
        return jnp.vdot(inputs, inputs)


class OutputRows(NamedTuple):
    """The output layer on a client's items: f[n] -> f[L]. A row per output."""

    public: jax.Array  # f[L, n]
    own: jax.Array  # f[r, L, n]

    def product(self, weights: Weights, memory: Memory, inputs: jax.Array) -> jax.Array:
        of_own = weights.own @ (self.own @ inputs)
        past = weights.gradients * (memory.inputs @ inputs)
        return weights.public * (self.public @ inputs) + of_own + past @ memory.deltas

    def outer(self, gradients: jax.Array, memory: Memory) -> jax.Array:
        return _sum_of_outer(gradients, memory.deltas, memory.inputs)

    def squared_input(self, inputs: jax.Array) -> jax.Array:
        return jnp.vdot(inputs, inputs)


class InputRows(NamedTuple):
    """A shared first layer on a client's items; its input x f[L] is always the same."""

    public: jax.Array  # f[L, m]
    own: jax.Array  # f[r, L, m]
    x: jax.Array  # f[L]
    public_product: jax.Array  # f[m], public^T x
    own_product: jax.Array  # f[r, m]

    def product(self, weights: Weights, memory: Memory, inputs: jax.Array) -> jax.Array:
        del inputs
        past = self.squared_input(self.x) * (weights.gradients @ memory.deltas)
        return weights.public * self.public_product + weights.own @ self.own_product + past

    def outer(self, gradients: jax.Array, memory: Memory) -> jax.Array:
        return self.x[None, :, None] * (gradients @ memory.deltas)[:, None, :]

    def squared_input(self, inputs: jax.Array) -> jax.Array:
        del inputs
        return jnp.vdot(self.x, self.x)


def input_rows(public: jax.Array, own: jax.Array, x: jax.Array) -> InputRows:
    return InputRows(public, own, x, x @ public, jnp.einsum("l,rlm->rm", x, own))


Layer = Dense | OutputRows | InputRows


def combine(layer: Layer, weights: Weights, memory: Memory) -> jax.Array:
    """A matrix like the layer's for each row of ``weights``: f[rows, ...]."""

    def scaled(factors: jax.Array, matrix: jax.Array) -> jax.Array:
        return factors[:, None, None] * matrix[None]

    total = scaled(weights.public, layer.public) + layer.outer(weights.gradients, memory)
    for which in range(len(layer.own)):
        total += scaled(weights.own[:, which], layer.own[which])
    return total


def block_sum(
    public: jax.Array, own: jax.Array | None, weights: Weights, memory: Memory, present: jax.Array
) -> jax.Array:
    """``combine`` of a dense layer for one row of weights, summed over a block: f[n, m].

    ``own`` f[B, r, n, m] (None: r = 0) and ``memory`` f[B, K, .] have an entry per client,
    weighed by ``present`` f[B]; the sum over clients and steps is one matrix product.
    """
    scaled = present[:, None, None] * weights.gradients[None, :, None] * memory.inputs
    outer = scaled.reshape(-1, scaled.shape[-1]).T @ memory.deltas.reshape(
        -1, memory.deltas.shape[-1]
    )
    total = present.sum() * weights.public * public + outer
    if own is not None:
        total += jnp.einsum("br,brnm->nm", present[:, None] * weights.own[None, :], own)
    return total
