"""What may compute a block's round instead of JAX's operations, and what both kernels share.

Legend: B clients in a block, G members, L rows of a client.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfr_jax.client.block import ClientSide, ClientState
from pfr_jax.client.factored.coefficients import num_moments
from pfr_jax.client.factored.state import Flat
from pfr_jax.client.factored.step import Memories, Round
from pfr_jax.client.training import LocalTraining
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.losses import ByRating, masked_squared_error
from pfr_jax.models.members import one_of
from pfr_jax.models.model import Model
from pfr_jax.population.population import Bucket

DROPPED = "decoder/linear_0"  # the layer that sees the code, on which dropout acts


class Data(NamedTuple):
    """Of a block's clients, as in ``Bucket``; rows that are not observed are no items'."""

    items: jax.Array  # i32[B, L]
    values: jax.Array  # f[B, L]
    observed: jax.Array  # bool[B, L]
    client: jax.Array  # i32[B]


@dataclass(frozen=True)
class Kernel:
    """How a kind of accelerator computes all local steps of a block's clients at once.

    Attributes:
      name: of what it is for.
      is_for: the devices that it is taken on.
      fits: whether it can with so many rows of a client; what it can at all, ``by_kernel`` says.
      rows: clients' rows are padded to multiples of so many.
      train: (side, common, own, data) -> what ``train_client`` returns, for all clients of the
        block. Where a change of a row is not finite, the client's loss is not either.
      numbers_of_row: floats that a block keeps for each item row of a client.
      most_clients: of a block.
      interpret: it is computed by JAX's own operations, anywhere.
    """

    name: str
    is_for: Callable[[jax.Device], bool]
    fits: Callable[[ClientSide, int], bool]
    rows: int
    train: Callable[
        [ClientSide, Round, ClientState, Data], tuple[ClientState, Flat, Memories, jax.Array]
    ]
    numbers_of_row: Callable[[Model], int]
    most_clients: int
    interpret: bool = False


def by_kernel(side: ClientSide, bucket: Bucket) -> bool:
    """Whether there is a kernel and it computes what ``side`` wants; the plain path computes all.

    Args:
      side: of the clients. It has a kernel only where the encoder is private and the decoder
        shared, and the output layer's biases decay as its rows do.
      bucket: the clients, or their shapes.
    """
    training, model, kernel = side.training, side.training.model, side.kernel
    loss = training.loss.loss if isinstance(training.loss, ByRating) else training.loss
    return (
        kernel is not None
        and type(one_of(model)) is AutoEncoder  # whose layers the kernels have written out
        and bucket.values.dtype == jnp.float32
        and bucket.rated is None
        and loss is masked_squared_error
        and model.profile_size == 0
        and not (side.carry.shared and num_moments(training.optimizer.shared))
        and not (side.whole_changes or side.one_by_one)
        and all(map(all, training.moves))
        and kernel.fits(side, bucket.items.shape[1])
    )


def moments_kept(side: ClientSide) -> int:
    """S: moments of the private part that are carried from round to round."""
    return num_moments(side.training.optimizer.private) if side.carry.private else 0


@dataclass(frozen=True)
class Layer:
    """A hidden layer between vectors, with the norm behind it."""

    name: str  # encoder/linear_1
    norm: str  # encoder/norm_1
    private: bool
    outputs: int  # features


def hidden_layers(model: Model) -> tuple[Layer, ...]:
    """As they follow one another, of the encoder and then of the decoder."""
    one: Any = one_of(model)
    sizes: tuple[int, ...] = one.hidden_sizes
    encoder = [
        Layer(f"encoder/linear_{depth}", f"encoder/norm_{depth}", True, size)
        for depth, size in enumerate(sizes[1:], start=1)
    ]
    decoder = [
        Layer(f"decoder/linear_{depth}", f"decoder/norm_{depth}", False, size)
        for depth, size in enumerate(sizes[-2::-1])
    ]
    return *encoder, *decoder


def loss_factor(training: LocalTraining, data: Data) -> jax.Array:
    """f[B], what a client's sum of squared errors is multiplied by to give its loss."""
    ones, zeros = jnp.ones_like(data.values)[:, None], jnp.zeros_like(data.values)[:, None]
    count = data.observed.sum(axis=1).astype(data.values.dtype)
    return jax.vmap(training.loss)(ones, zeros, data.observed[:, None]) / jnp.maximum(count, 1)
