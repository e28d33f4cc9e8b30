"""What an algorithm is, as a record: known before any engine is chosen or any array made.

An algorithm of one's own is one more record; see `catalog` for those that come with the package.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax

from pfr_jax.errors import InputError

# The sides of a recommender: what makes a user's representation of the user's ratings (an encoder,
# a vector per user), and what makes predictions for items of it (a decoder, a table of items). A
# model says which of its parts are on which side.
Side = Literal["user", "item"]
BOTH: tuple[Side, ...] = ("user", "item")


class Moves(NamedTuple):
    """Whether the private and the shared part move, per local epoch of a round."""

    private: tuple[bool, ...]
    shared: tuple[bool, ...]


def at_once(private_epochs: int, local_epochs: int) -> Moves:
    """Both parts move in every local epoch; there are no private epochs."""
    del private_epochs
    return Moves((True,) * local_epochs, (True,) * local_epochs)


def one_after_the_other(private_epochs: int, local_epochs: int) -> Moves:
    """First the private part for its epochs, then the shared one for the local epochs."""
    first, then = (True,) * private_epochs, (False,) * local_epochs
    return Moves(first + then, tuple(not moves for moves in first + then))


Params = dict[str, Any]  # a model's parts by name, or some of them
# (the mean loss of a whole model on a minibatch, private, shared, the shared part as received,
# --coupling) -> what a client minimises
Objective = Callable[[Callable[[Params], jax.Array], Params, Params, Params, float], jax.Array]


def one_model(private: Params, shared: Params, coupling: float) -> Params:
    """The private and the shared parts are each a piece of the one model that a client has."""
    del coupling
    return {**private, **shared}


def loss_of_one_model(
    loss: Callable[[Params], jax.Array],
    private: Params,
    shared: Params,
    received: Params,
    coupling: float,
) -> jax.Array:
    """The loss of the model that both make together."""
    del received
    return loss(one_model(private, shared, coupling))


@dataclass(frozen=True)
class AlgorithmSpec:
    """What a server averages, what moves when, what a client keeps and what it minimises.

    Attributes:
      name: what the flag and the files call it.
      description: a sentence for --help, after the name and a colon.
      shared: the sides of the model that the server averages.
      private: the sides that stay on the client and are in no payload; None: all that are not
        shared. A side in both is there twice: the client trains a copy of the shared one, which it
        hands over, and one of its own.
      schedule: (private epochs, local epochs) of the settings -> which part moves in which epoch.
      objective: what a client minimises over its private and its shared part.
      predicts: (private, shared, --coupling) -> the parts of the model that a client predicts with.
      largest_coupling: of --coupling.
      stateless: clients keep nothing of their private part; it is learned anew in every round.
      centralized: no federation. One trainer holds everybody's ratings and the whole model.

    Example:
      >>> mine = AlgorithmSpec("mine", "the encoder shared, the decoder private", shared=("user",))
      >>> mine.private_sides, mine.two_models
      (('item',), False)
    """

    name: str
    description: str
    shared: tuple[Side, ...]
    private: tuple[Side, ...] | None = None
    schedule: Callable[[int, int], Moves] = at_once
    objective: Objective = loss_of_one_model
    predicts: Callable[[Params, Params, float], Params] = one_model
    largest_coupling: float = math.inf
    stateless: bool = False
    centralized: bool = False

    def __post_init__(self) -> None:
        for name, sides in {"shared": self.shared, "private": self.private_sides}.items():
            if not isinstance(sides, tuple) or not set(sides) <= set(BOTH):
                raise InputError(f"AlgorithmSpec: {name}={sides!r}: want a tuple of {BOTH}")
        if set(self.shared) | set(self.private_sides) != set(BOTH):
            raise InputError(f"AlgorithmSpec {self.name}: every side is shared, private or both")

    @property
    def private_sides(self) -> tuple[Side, ...]:
        """The sides that stay on the clients."""
        if self.private is not None:
            return self.private
        return tuple(side for side in BOTH if side not in self.shared)

    @property
    def has_private(self) -> bool:
        """Whether anything of the model stays on the clients."""
        return bool(self.private_sides)

    @property
    def two_models(self) -> bool:
        """Whether a client has some side twice: a copy of the shared one and one of its own."""
        return bool(set(self.private_sides) & set(self.shared))

    @property
    def plain(self) -> bool:
        """Whether a client has one model and minimises its loss."""
        one = self.objective is loss_of_one_model and self.predicts is one_model
        return one and not self.two_models
