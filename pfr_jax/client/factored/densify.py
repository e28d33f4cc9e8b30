"""The state of a factored client as the rows and matrices it stands for. Exact; not invertible."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.client.factored import storage
from pfr_jax.client.factored.members import OF_STATE, as_parameters, over_members
from pfr_jax.client.factored.state import ALPHA, INPUT, Flat, V, kinds, seen_by
from pfr_jax.client.training import Parts
from pfr_jax.models.item_rows import Tree, nest


def unpack(
    side: ClientSide,
    start: Tree,
    shared: Tree,
    state: ClientState,
    items: jax.Array,
    inputs: jax.Array,
) -> ClientState:
    """One client's state as the engine ``active_rows`` would keep it; see ``Engine.unpack``."""
    public = Parts(*(seen_by(side, kinds(part), items) for part in (start, shared)))
    own = storage.read(state, inputs.dtype)
    one = over_members(side, partial(_of_member, side, inputs[0]), (0, OF_STATE), OF_STATE)
    whole: ClientState = one(public, own)
    return dataclasses.replace(
        whole,
        private=as_parameters(side, whole.private),
        private_opt=as_parameters(side, whole.private_opt),
        shared_opt=as_parameters(side, whole.shared_opt),
    )


def _of_member(side: ClientSide, x: jax.Array, public: Parts, own: ClientState) -> ClientState:
    """``unpack`` for one member; ``public`` is the client's view."""
    private_moment = _moment(own.private_opt)
    shared_moment = _moment((own.shared_opt or {}).get("vectors"))

    def matrices(vectors: Flat, which: int) -> Tree:
        """The private part from its vectors and the ``which``-th matrix of each stack."""
        flat = {name: leaf for name, leaf in vectors.items() if name not in (ALPHA, V)}
        for name in public.private.dense:
            flat[f"{name}/kernel"] = own.private["dense"][name][which]
        if INPUT in public.private.rows:
            outer = x[:, None] * vectors[V][None, :]
            flat[f"{INPUT}/item_kernel"] = vectors[ALPHA] * public.private.rows[INPUT] + outer
        return nest(flat)

    optimizer, private_opt, shared_opt = side.training.optimizer, None, None
    if side.carry.private:
        moment = None if private_moment is None else matrices(private_moment, 1)
        private_opt = _opt_state(optimizer.private, matrices(own.private["vectors"], 0), moment)
    if side.carry.shared:
        flat = dict(public.shared.vectors)
        for name, matrix in public.shared.dense.items():
            flat[f"{name}/kernel"] = matrix
        for name, rows in public.shared.rows.items():
            flat[f"{name}/item_kernel"] = rows
        moment = None
        if shared_moment is not None:
            of_dense = {f"{n}/kernel": m[0] for n, m in own.shared_opt["dense"].items()}
            of_rows = {f"{n}/item_kernel": m[0] for n, m in own.shared_opt["rows"].items()}
            moment = nest({**shared_moment, **of_dense, **of_rows})
        shared_opt = _opt_state(optimizer.shared, nest(flat), moment)
    return ClientState(
        private=matrices(own.private["vectors"], 0),
        private_opt=private_opt,
        shared_opt=shared_opt,
        rounds=own.rounds,
    )


def _moment(opt_state: Any) -> Flat | None:
    """The momentum of the vectors; None where the optimizer has none."""
    return optax.tree.get(opt_state, "trace")


def _opt_state(optimizer: optax.GradientTransformation, params: Tree, moment: Tree | None) -> Any:
    """The state of SGD for ``params`` whose momentum is ``moment``."""
    state = optimizer.init(jax.tree.map(jnp.zeros_like, params))
    return state if moment is None else optax.tree.set(state, trace=moment)
