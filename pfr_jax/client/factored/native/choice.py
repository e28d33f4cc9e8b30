"""Whether the kernel can compute a federation's rounds."""

import jax
import jax.numpy as jnp

from pfr_jax.client.block import ClientSide
from pfr_jax.client.factored.native.build import load
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.losses import ByRating, masked_squared_error
from pfr_jax.models.members import one_of
from pfr_jax.population.population import Bucket

LANES = 8  # of the kernel's vectors


def obstacle(
    side: ClientSide, shared: tuple[str, ...], decay_biases: bool, buckets: tuple[Bucket, ...]
) -> str:
    """Why it cannot, a clause, where the factored engine can; "": it can.

    ``shared`` are the model's parts that the server averages.
    """
    training, model = side.training, one_of(side.training.model)
    loss = training.loss.loss if isinstance(training.loss, ByRating) else training.loss
    sizes = model.hidden_sizes if isinstance(model, AutoEncoder) else ()
    obstacles = {
        "it is for CPUs": jax.default_backend() != "cpu",
        "it is for two hidden sizes, multiples of eight": len(sizes) != 2
        or any(size % LANES for size in sizes),
        "it is for a private encoder": "encoder" in shared,
        "it is for squared errors of ratings": loss is not masked_squared_error,
        "users have profiles": bool(model.profile_size),
        "clients keep nothing": side.stateless,
        "some part stands still": not all((*training.moves.private, *training.moves.shared)),
        "there is a proximal term": bool(training.proximal),
        "biases do not decay": not decay_biases,
        "every change is looked at by itself": side.whole_changes,
        "matrices are kept in 16 bit": side.store is not None,
        "it is for float32": any(b.values.dtype != jnp.float32 for b in buckets),
        "there are decoys": any(bucket.rated is not None for bucket in buckets),
    }
    return next((text for text, there in obstacles.items() if there), "") or load()
