"""How clients' stacks lie in an accelerator's memory: as the round's loops want them.

A compiler has its own order of axes for a loop's arrays. Where arguments come in another, it copies
all of a stack before the loop and back behind it, in every round.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.layout import Format, Layout

from pfr_jax.algorithms.federated import FederationState, RoundReport


def jitted_round(round: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The round, jitted, for which the compiler chooses how the clients' states lie.

    Args:
      round: ``Algorithm.round``; the state is given up to it.
      arguments: its arguments, as shapes with the places that they have.
    """

    def as_given(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.sharding, tree)

    state, *others = arguments
    clients = jax.tree.map(lambda leaf: Format(Layout.AUTO, leaf.sharding), state.clients)
    chosen = dataclasses.replace(as_given(state), clients=clients)
    places = (chosen, *map(as_given, others))
    return jax.jit(round, donate_argnums=0, in_shardings=places, out_shardings=(chosen, None))


def bytes_needed(analysis: Any) -> int:
    """Of a device, by a compiled program's ``memory_analysis``: arguments, temporaries, and outputs
    that take no argument's place; 0 where the compiler does not tell (None)."""
    if analysis is None:
        return 0
    outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return int(analysis.argument_size_in_bytes + outputs + analysis.temp_size_in_bytes)


class LaidOutRound:
    """A compiled ``jitted_round``. The clients' first states are brought into its order, and what
    it returns lies in it already."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._formats = compiled.input_formats[0][0].clients
        self.num_bytes = bytes_needed(compiled.memory_analysis())

    def __call__(self, state: FederationState, *others: Any) -> tuple[FederationState, RoundReport]:
        """The next state and the report; the state is used up."""
        clients = jax.tree.map(_laid_out, state.clients, self._formats)
        found: tuple[FederationState, RoundReport] = self._compiled(
            dataclasses.replace(state, clients=clients), *others
        )
        return found


def _laid_out(leaf: Any, wanted: Format) -> jax.Array:
    there = leaf.format.layout == wanted.layout
    found: jax.Array = leaf if there else jax.device_put(leaf, wanted, donate=True)
    return found
