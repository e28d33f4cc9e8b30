"""All local steps of one member of one client: the numbers of ``factored.step``.

A client's item rows and matrices are constant in a round (``coefficients``): they are read from
where they lie, and what the local steps add to them is kept as outer products, in registers.
Legend as in ``records``.
"""

from typing import Any

import jax
import jax.numpy as jnp

from pfr_jax.client.factored.kernel import DROPPED
from pfr_jax.client.factored.on_gpu.hidden import end_matrices, norm_tanh, product, product_back
from pfr_jax.client.factored.on_gpu.records import Inputs, Memory, Outputs, Plan
from pfr_jax.client.factored.on_gpu.rows import end_rows, output
from pfr_jax.client.factored.state import ALPHA, INPUT, Flat, V
from pfr_jax.client.moves import clip_factor, move, with_proximal_term
from pfr_jax.client.training import Parts


def program(plan: Plan, given: Inputs, out: Outputs) -> None:
    """The body of the kernel; all leaves are references."""
    begin = {name: ref[...] for name, ref in given.shared.items()}
    vectors = Parts({name: _read(name, ref) for name, ref in given.own.items()}, begin)
    optimizer = plan.training.optimizer
    of_private = optimizer.private.init(vectors.private)
    if given.opt is not None:
        of_private = jax.tree_util.tree_map_with_path(
            lambda path, ref: _read(path[-1].key, ref), given.opt
        )
    opt = Parts(of_private, optimizer.shared.init(vectors.shared))

    def one(step: jax.Array, carry: tuple[Parts, Parts, Memory, jax.Array]) -> Any:
        vectors, opt, memory, total = carry
        both = {**vectors[0], **vectors[1]}
        grads, memory, loss = _gradients(plan, given, out, memory, step, both)
        parts = Parts(*({name: grads[name] for name in part} for part in vectors))
        parts = with_proximal_term(plan.training, parts, vectors.shared, begin)
        moves = Parts(jnp.bool_(True), jnp.bool_(True))
        moved = move(plan.training, vectors, parts, opt, given.learning_rate[0], moves)
        return *moved, memory, total + loss

    carry = vectors, opt, _empty(plan, given), jnp.float32(0)
    vectors, opt, memory, loss = jax.lax.fori_loop(0, plan.steps, one, carry)
    jax.tree_util.tree_map_with_path(_write, out.own, vectors.private)
    if out.opt is not None:
        jax.tree_util.tree_map_with_path(_write, out.opt, opt.private)
    for name, begun in begin.items():
        out.changes[name][...] = vectors.shared[name] - begun
    for name in memory.inputs:
        out.inputs[name][...] = memory.inputs[name]
        out.deltas[name][...] = memory.deltas[name]
    end_matrices(plan, given, out, memory)
    out.loss[0] = loss + end_rows(plan, given, out, memory)


def _read(name: str, ref: Any) -> jax.Array:
    """A private vector, or what the optimizer keeps of it; alpha as a number."""
    found: jax.Array = ref[0] if name == ALPHA else ref[...]
    return found


def _write(path: tuple[Any, ...], ref: Any, vector: jax.Array) -> None:
    ref[0 if path[-1].key == ALPHA else ...] = vector


def _empty(plan: Plan, given: Inputs) -> Memory:
    def zeros(width: int) -> jax.Array:
        return jnp.zeros((plan.places, width), jnp.float32)

    shapes = {name: matrix.shape for name, matrix in given.matrices.items()}
    return Memory(
        {name: zeros(n) for name, (n, _) in shapes.items()},
        {name: zeros(m) for name, (_, m) in shapes.items()},
        zeros(given.projection.shape[0]),
        jnp.zeros((plan.places,), jnp.float32),
    )


def _gradients(
    plan: Plan, given: Inputs, out: Outputs, memory: Memory, step: jax.Array, vectors: Flat
) -> tuple[Flat, Memory, jax.Array]:
    """The clipped gradients of all vectors, the memory with this step, and the loss.

    As in ``step``, v gets the gradient at the first layer's output, and alpha gets 0.
    """
    factor, squared_input = given.factor[0], given.squared_input[0]
    mask = 1.0 if given.masks is None else given.masks[step, :]
    hidden = vectors[ALPHA] * given.projection[...] + squared_input * vectors[V]
    hidden, back_first = norm_tanh(
        hidden + vectors[f"{INPUT}/bias"],
        vectors["encoder/norm_0/scale"],
        vectors["encoder/norm_0/bias"],
    )
    seen, backs = {}, {}
    for layer in plan.layers:
        hidden = seen[layer.name] = hidden * mask if layer.name == DROPPED else hidden
        before = product(plan, layer, given, memory, step, hidden) + vectors[f"{layer.name}/bias"]
        of_norm = vectors[f"{layer.norm}/scale"], vectors[f"{layer.norm}/bias"]
        hidden, backs[layer.name] = norm_tanh(before, *of_norm)
    if DROPPED not in seen:
        hidden = hidden * mask
    squared, back = output(plan, given, out, memory, step, hidden)
    back = 2 * factor * back
    back = back if DROPPED in seen else back * mask
    length = 4 * factor * factor * squared * (1 + jnp.sum(hidden * hidden))
    grads: Flat = {}
    for layer in reversed(plan.layers):
        delta, grads[f"{layer.norm}/scale"], grads[f"{layer.norm}/bias"] = backs[layer.name](back)
        grads[f"{layer.name}/bias"] = delta
        length += jnp.sum(delta * delta) * jnp.sum(seen[layer.name] * seen[layer.name])
        back = product_back(plan, layer, given, memory, step, delta)
        back = back * mask if layer.name == DROPPED else back
    delta, grads["encoder/norm_0/scale"], grads["encoder/norm_0/bias"] = back_first(back)
    grads[f"{INPUT}/bias"] = delta
    length += squared_input * jnp.sum(delta * delta)
    clip = jnp.float32(1)
    if plan.training.clip_norm:
        squares = [jnp.sum(leaf * leaf) for leaf in grads.values()]
        clip = clip_factor(jnp.sqrt(sum(squares, length)), plan.training.clip_norm)
    grads = {name: leaf * clip for name, leaf in grads.items()}
    deltas = {layer.name: grads[f"{layer.name}/bias"] for layer in plan.layers}
    memory = _remembered(plan, memory, step, Memory(seen, deltas, hidden, 2 * clip * factor))
    return {**grads, V: grads[f"{INPUT}/bias"], ALPHA: jnp.float32(0)}, memory, factor * squared


def _remembered(plan: Plan, memory: Memory, step: jax.Array, new: Memory) -> Memory:
    """The memory with what is ``new`` in this step's place."""

    def one(table: jax.Array, row: jax.Array) -> jax.Array:
        here = jax.lax.broadcasted_iota(jnp.int32, table.shape, 0) == step
        return jnp.where(here, jnp.broadcast_to(row, table.shape), table)

    return jax.tree.map(one, memory, new)
