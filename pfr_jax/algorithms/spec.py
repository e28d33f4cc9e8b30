"""What an algorithm is, as a record: known before any engine is chosen or any array made.

An algorithm of one's own is one more record; see `catalog` for those that come with the package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

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


@dataclass(frozen=True)
class AlgorithmSpec:
    """What a server averages, what moves when, and what a client keeps.

    Attributes:
      name: what the flag and the files call it.
      description: a sentence for --help, after the name and a colon.
      shared: the sides of the model that the server averages; all others are private, stay on the
        client and are not in any payload.
      schedule: (private epochs, local epochs) of the settings -> which part moves in which epoch.
      stateless: clients keep nothing of their private part; it is learned anew in every round.
      centralized: no federation. One trainer holds everybody's ratings and the whole model.
    """

    name: str
    description: str
    shared: tuple[Side, ...]
    schedule: Callable[[int, int], Moves] = at_once
    stateless: bool = False
    centralized: bool = False

    @property
    def has_private(self) -> bool:
        """Whether anything of the model stays on the clients."""
        return set(self.shared) != set(BOTH)
