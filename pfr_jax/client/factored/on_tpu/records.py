"""What a program of the kernel is made of, reads, writes and keeps.

Legend: T clients of a program, K local steps, L rows of a client, P places of members (``lanes``),
S moments of the private part that are carried from round to round; a ``path``, f[K + 1, 1 + S + K],
is ``Trajectory.change`` (the shared one has S = 0). Every vector has its features and members on
lanes, f[..., width]; what is the same for all features of a member is f[..., 128].
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from pfr_jax.client.factored.kernel import Layer
from pfr_jax.client.factored.state import Flat
from pfr_jax.client.training import LocalTraining


@dataclass(frozen=True)
class Plan:
    """Everything static."""

    training: LocalTraining
    layers: tuple[Layer, ...]  # of the encoder and then of the decoder
    first: int  # features of the first layer
    places: int
    steps: int

    @property
    def value_lane(self) -> int:
        """Where the targets are beside the rows: behind the bias and the errors of all steps."""
        return (1 + self.steps) * self.places


class Inputs(NamedTuple):
    """What a program reads; all but what is common is of its T clients."""

    learning_rate: Any  # f[1]
    private_path: Any
    shared_path: Any
    private_moments: Any  # f[S, 1 + S + K], ``Trajectory.moments``; None: S = 0
    shared: Flat  # vectors f[1, width], common
    matrices: Flat  # of the hidden layers, as the round begins, f[width_n / P, width_m], common
    own: Flat  # private vectors f[1, T, width], as they begin
    opt: Any  # their optimizer state, likewise; None: it begins anew
    stacks: Flat  # private matrices: difference and moments, f[T, 1 + S, width_n / P, width_m]
    projection: Any  # f[1, T, width]
    squared_input: Any  # f[1, T, 128], the same on all lanes
    factor: Any  # f[1, T, 128], of the loss: it is this times the sum of squared errors
    masks: Any  # f[K, 1, T, width], dropout's; None: there is none
    rows: Any  # f[T, L, width]; of padding 0
    beside: Any  # f[T, L, 128]: the bias on the first P lanes; of padding 0
    values: Any  # f[1, ceil(L / 128), 8, 128], targets


class Outputs(NamedTuple):
    """What a program writes."""

    own: Flat  # private vectors as they end
    opt: Any  # their optimizer state, if it is carried
    changes: Flat  # of the shared vectors, f[1, T, width]
    stacks: Flat
    inputs: Flat  # of the hidden layers in all steps, f[K, 1, T, width]
    deltas: Flat  # clipped gradients at their outputs, likewise
    loss: Any  # f[1, T, 128], sum over the steps
    rows: Any  # changes
    beside: Any  # on the first P lanes the change of the bias


class Scratch(NamedTuple):
    features: Any  # f[K, T, width], what the output layer saw
    scales: Any  # f[K, T, 128], what makes its errors clipped gradients
    whole: Flat  # of a private layer start + difference, f[T, width_n / P, width_m]
