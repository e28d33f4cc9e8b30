"""What a program of the kernel, which is of one member of one client, is made of, reads and writes.

Legend: K local steps, P of them in memory (a power of two), L rows of a client, H features of the
output layer, S moments of the private part that are carried from round to round; a ``path``,
f[K + 1, 1 + S + P], is ``Trajectory.change`` (the shared one has S = 0).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from pfr_jax.client.factored.kernel import Layer
from pfr_jax.client.factored.state import Flat
from pfr_jax.client.training import LocalTraining


@dataclass(frozen=True)
class Plan:
    """Everything static."""

    training: LocalTraining  # of one member
    layers: tuple[Layer, ...]
    steps: int  # K
    places: int  # P
    chunk: int  # rows that are looked at together; L is a multiple
    waits: bool  # for stores to be seen, as a device must and JAX's own operations need not


class Inputs(NamedTuple):
    """References to what a program reads."""

    learning_rate: Any  # f[1]
    private_path: Any
    shared_path: Any
    private_moments: Any  # f[S, 1 + S + P], ``Trajectory.moments``; None: S = 0
    shared: Flat  # vectors as the round begins, f[n]
    matrices: Flat  # of the hidden layers as it begins, f[n, m]
    table: Any  # f[I, H], rows of all items
    biases: Any  # f[I]
    own: Flat  # private vectors as they begin, f[n]; alpha f[1]
    opt: Any  # their optimizer state, likewise; None: it begins anew
    stacks: Flat  # private matrices: difference and moments, f[1 + S, n, m]
    projection: Any  # f[H]
    squared_input: Any  # f[1]
    factor: Any  # f[1], of the loss: it is this times the sum of squared errors
    masks: Any  # f[K, code], dropout's; None: there is none
    items: Any  # i32[L]; I: padding
    chunks: Any  # i32[1], how many of them hold all of the client's rows
    values: Any  # f[L], targets


class Outputs(NamedTuple):
    """References to what it writes."""

    own: Flat  # private vectors as they end
    opt: Any  # their optimizer state, if it is carried
    changes: Flat  # of the shared vectors, f[n]
    stacks: Flat
    inputs: Flat  # of the hidden layers in all steps, f[P, n]
    deltas: Flat  # clipped gradients at their outputs, f[P, m]
    loss: Any  # f[1], sum over the steps
    rows: Any  # changes, f[L, H]; behind the last chunk undefined
    row_biases: Any  # likewise, f[L]
    errors: Any  # of all steps, f[P, L]; a memory of the program's own


class Memory(NamedTuple):
    """What a program remembers of the local steps so far; 0 of those to come."""

    inputs: Flat  # f[P, n], as in ``Outputs``
    deltas: Flat  # f[P, m]
    features: Any  # f[P, H], what the output layer saw
    scales: Any  # f[P], what makes its errors clipped gradients
