"""All local steps of a few clients in a TPU's vector memory: the numbers of ``factored.step``.

A client's item rows and matrices are constant in a round (``coefficients``), so they are read once;
what the local steps add to them is kept as outer products. Vectors of T clients are moved together;
matrices are multiplied client by client. Legend as in ``records``.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from pfr_jax.client.factored.kernel import DROPPED
from pfr_jax.client.factored.on_tpu import lanes
from pfr_jax.client.factored.on_tpu.hidden import end_matrices, norm_tanh, product, product_back
from pfr_jax.client.factored.on_tpu.lanes import LANES, lane_sum, wide
from pfr_jax.client.factored.on_tpu.records import Inputs, Outputs, Plan, Scratch
from pfr_jax.client.factored.on_tpu.rows import end_rows, output
from pfr_jax.client.factored.state import ALPHA, INPUT, Flat, V
from pfr_jax.client.moves import clip_factor, move, with_proximal_term
from pfr_jax.client.training import Parts


def program(plan: Plan, given: Inputs, out: Outputs, scratch: Scratch) -> None:
    """The body of the kernel; all leaves are references."""
    _begin(plan, given, out, scratch)
    vectors = Parts({name: ref[0] for name, ref in given.own.items()}, _everybodys(given))
    optimizer = plan.training.optimizer
    of_private = jax.tree.map(lambda ref: ref[0], given.opt)
    if given.opt is None:
        of_private = optimizer.private.init(vectors.private)
    opt = Parts(of_private, optimizer.shared.init(vectors.shared))

    def one(step: jax.Array, carry: tuple[Parts, Parts, jax.Array]) -> Any:
        vectors, opt, total = carry
        grads, loss = _gradients(plan, given, out, scratch, step, {**vectors[0], **vectors[1]})
        parts = Parts(*({name: grads[name] for name in part} for part in vectors))
        parts = with_proximal_term(plan.training, parts, vectors.shared, _everybodys(given))
        moves = Parts(jnp.bool_(True), jnp.bool_(True))
        moved = move(plan.training, vectors, parts, opt, given.learning_rate[0], moves)
        return *moved, total + loss

    carry = vectors, opt, jnp.zeros_like(given.factor[0])
    vectors, opt, loss = jax.lax.fori_loop(0, plan.steps, one, carry)
    for name, vector in vectors.private.items():
        out.own[name][0] = vector
    if out.opt is not None:
        for ref, leaf in zip(jax.tree.leaves(out.opt), jax.tree.leaves(opt.private), strict=True):
            ref[0] = leaf
    for name, begun in _everybodys(given).items():
        out.changes[name][0] = vectors.shared[name] - begun
    end_matrices(plan, given, out, scratch)
    out.loss[0] = loss + end_rows(plan, given, out, scratch)


def _everybodys(given: Inputs) -> Flat:
    """The shared vectors as the round begins, for each client."""
    clients = given.factor.shape[1]
    return {
        name: jnp.broadcast_to(ref[...], (clients, ref.shape[1]))
        for name, ref in given.shared.items()
    }


def _begin(plan: Plan, given: Inputs, out: Outputs, scratch: Scratch) -> None:
    """Puts the targets beside the rows. Memories of steps to come count for nothing, but must be
    numbers."""
    for ref in (*out.inputs.values(), *out.deltas.values(), scratch.features, scratch.scales):
        ref[...] = jnp.zeros(ref.shape, ref.dtype)
    for name, ref in scratch.whole.items():
        ref[...] = given.matrices[name][...][None] + given.stacks[name][:, 0]
    clients, length, _ = given.rows.shape
    for client in range(clients):
        for at in range(0, length, LANES):
            size = min(LANES, length - at)
            rows = pl.ds(at, size)
            targets = given.values[0, at // LANES].T[:size, client : client + 1]
            kind = lanes.features(size, plan.places)
            beside = given.beside[client, rows, :]
            out.beside[client, rows, :] = jnp.where(kind == 1 + plan.steps, targets, beside)


def _gradients(
    plan: Plan, given: Inputs, out: Outputs, scratch: Scratch, step: jax.Array, vectors: Flat
) -> tuple[Flat, jax.Array]:
    """The clipped gradients of all vectors, and the loss f[T, 128]; outer products are remembered.

    As in ``step``, v gets the gradient at the first layer's output, and alpha gets 0.
    """
    places, factor = plan.places, given.factor[0]
    mask = 1.0 if given.masks is None else given.masks[step, 0]
    squared_input = given.squared_input[0]
    of_rank_one = wide(squared_input, given.projection.shape[2]) * vectors[V]
    hidden = vectors[ALPHA] * given.projection[0] + of_rank_one + vectors[f"{INPUT}/bias"]
    hidden, back_first = norm_tanh(plan, "encoder/norm_0", plan.first, hidden, vectors)
    seen, backs = {}, {}
    for layer in plan.layers:
        hidden = seen[layer.name] = hidden * mask if layer.name == DROPPED else hidden
        before = product(plan, layer, given, out, scratch, step, hidden)
        before += vectors[f"{layer.name}/bias"]
        hidden, backs[layer.name] = norm_tanh(plan, layer.norm, layer.outputs, before, vectors)
    if DROPPED not in seen:
        hidden = hidden * mask
    squared, back = output(plan, given, out, scratch, step, hidden)
    back = 2 * wide(factor, back.shape[1]) * back
    back = back if DROPPED in seen else back * mask
    length = 4 * factor * factor * squared * (1 + lane_sum(hidden * hidden, places))
    grads: Flat = {}
    for layer in reversed(plan.layers):
        delta, grads[f"{layer.norm}/scale"], grads[f"{layer.norm}/bias"] = backs[layer.name](back)
        grads[f"{layer.name}/bias"] = delta
        of_inputs = lane_sum(seen[layer.name] * seen[layer.name], places)
        length += lane_sum(delta * delta, places) * of_inputs
        back = product_back(plan, layer, given, out, scratch, step, delta)
        back = back * mask if layer.name == DROPPED else back
    delta, grads["encoder/norm_0/scale"], grads["encoder/norm_0/bias"] = back_first(back)
    grads[f"{INPUT}/bias"] = delta
    length += squared_input * lane_sum(delta * delta, places)
    clip = _clip(plan, grads, length)
    grads |= {V: delta, ALPHA: jnp.zeros_like(delta)}
    grads = {name: leaf * wide(clip, leaf.shape[1]) for name, leaf in grads.items()}
    for layer in plan.layers:
        out.inputs[layer.name][step, 0] = seen[layer.name]
        out.deltas[layer.name][step, 0] = grads[f"{layer.name}/bias"]
    scratch.features[step] = hidden
    scratch.scales[step] = 2 * clip * factor
    return grads, factor * squared


def _clip(plan: Plan, grads: Flat, of_matrices: jax.Array) -> jax.Array:
    """What scales each member's gradients, f[T, 128], from those of the vectors and the squared
    length of all others."""
    if not plan.training.clip_norm:
        return jnp.ones_like(of_matrices)
    squares = [lane_sum(leaf * leaf, plan.places) for leaf in grads.values()]
    return clip_factor(jnp.sqrt(sum(squares, of_matrices)), plan.training.clip_norm)
