"""What local training is: how every client trains, on what, and the two parts of all that moves.

Legend: V users of a client, L rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pfr_jax.algorithms.spec import Objective, loss_of_one_model, one_model
from pfr_jax.models.item_rows import Tree
from pfr_jax.models.losses import Loss
from pfr_jax.models.model import Model, Params


@dataclass(frozen=True)
class LocalTraining:
    """How every client trains."""

    model: Model
    optimizer: "Parts"  # of optax transformations, built with learning rate 1
    loss: Loss
    dropout: float
    # Global norm over private and shared together, of two models over each; 0: no clipping.
    clip_norm: float
    # Whether each part moves, per local epoch: of bool[epochs]. One that does not is frozen, and
    # left out of the clipping; its optimizer stands still.
    moves: "Parts"
    proximal: float = 0.0  # pull of the shared part to where the round began (FedProx)
    objective: Objective = loss_of_one_model  # see ``AlgorithmSpec``, as the next ones
    predicts: Callable[[Params, Params, float], Params] = one_model
    coupling: float = 0.0
    two_models: bool = False
    input_offset: float = 0.0  # what the encoder sees of a rating is its centred value plus this
    encodes_choices: bool = False  # the encoder is told of choices, and not of drawn negatives

    @property
    def local_epochs(self) -> int:
        return len(self.moves.private)

    def model_of(self, params: "Parts") -> Params:
        """The parts of the model that a client predicts with."""
        return self.predicts(*params, self.coupling)

    def inputs(self, values: jax.Array, known: jax.Array) -> jax.Array:
        """What the encoder is given of what is ``known``; 0 elsewhere.

        A choice has a value above 0, whatever the centre.
        """
        if self.encodes_choices:
            known &= values > 0
        return jnp.where(known, values + self.input_offset, 0)


class ClientData(NamedTuple):
    """What one client trains on; the factored engine drops the axis V, which is 1 there."""

    inputs: jax.Array  # f[V, L_in]
    profile: jax.Array  # f[V, P]
    targets: jax.Array  # f[V, L_out]
    observed: jax.Array  # bool[V, L_out]
    rated: jax.Array | None = None  # bool[V, L_out], of these, what is no decoy; None: all


class Parts(NamedTuple):
    """Something for the private and for the shared part: parameters, optimizers, their states."""

    private: Tree
    shared: Tree
