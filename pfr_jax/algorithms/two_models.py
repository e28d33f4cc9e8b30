"""Algorithms whose clients have a whole model of their own beside their copy of the shared one.

The shared model is trained and averaged as in FedAvg and does not notice the other. ``--coupling``
says how close to the shared model a client's own stays. What a client has not rated it predicts by
the shared model's rows.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pfr_jax.algorithms.spec import BOTH, AlgorithmSpec, Params


def own_model(private: Params, shared: Params, coupling: float) -> Params:
    """A client predicts with its own model."""
    del shared, coupling
    return private


def pulled_to_the_shared(
    loss: Callable[[Params], jax.Array],
    private: Params,
    shared: Params,
    received: Params,
    coupling: float,
) -> jax.Array:
    """Both models' losses, and the own one's distance from the shared one (Ditto, eq. 2)."""
    squares = jax.tree.map(lambda own, of_all: jnp.square(own - of_all).sum(), private, received)
    distance = jax.tree.reduce(jnp.add, squares)
    return loss(shared) + loss(private) + coupling / 2 * distance


DITTO = AlgorithmSpec(
    name="ditto",
    description="FedAvg, and a private whole model pulled towards the shared one by --coupling "
    "(Li et al. 2021)",
    shared=BOTH,
    private=BOTH,
    objective=pulled_to_the_shared,
    predicts=own_model,
)


def mixture(private: Params, shared: Params, coupling: float) -> Params:
    """A client predicts with a mixture: a share ``coupling`` of the shared model."""
    return jax.tree.map(
        lambda own, of_all: (1 - coupling) * own + coupling * of_all, private, shared
    )


def loss_and_that_of_the_mixture(
    loss: Callable[[Params], jax.Array],
    private: Params,
    shared: Params,
    received: Params,
    coupling: float,
) -> jax.Array:
    """The shared model's loss, and the mixture's, which moves the private one (APFL, eq. 3-5)."""
    del received
    return loss(shared) + loss(mixture(private, jax.lax.stop_gradient(shared), coupling))


APFL = AlgorithmSpec(
    name="apfl",
    description="FedAvg, and a private whole model trained in a mixture with the shared one, whose "
    "share in it is --coupling (Deng et al. 2020)",
    shared=BOTH,
    private=BOTH,
    objective=loss_and_that_of_the_mixture,
    predicts=mixture,
    largest_coupling=1.0,  # a share
)
