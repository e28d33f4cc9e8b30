"""What ``pfr search`` may change in a recipe: settings, and the values that each may take."""

from collections.abc import Sequence
from typing import Any

from pfr_jax.config import Config
from pfr_jax.errors import InputError

Settings = dict[str, Any]
Space = dict[str, Sequence[Any]]  # setting -> values, of which a trial has one

MODEL: Space = {
    "members": (1, 2, 4, 8),
    "dropout": (0.0, 0.1, 0.2, 0.3, 0.5),
    "ridge": (0.1, 0.2, 0.4, 0.8, 1.6),
    "weighting": ("ratings", "clients"),
}
AUTOENCODER: Space = {
    "hidden_sizes": ((32, 16), (64, 32), (128, 64), (256, 128)),
    "input_offset": (0.0, 1.0, 2.0, 4.0),
}
FEDERATION: Space = {
    "client_learning_rate": (0.05, 0.1, 0.2),
    "momentum": (0.0, 0.9),
    "local_epochs": (2, 5, 10),
    "denominator": ("sqrt", "contributors", "clients"),
    "server_learning_rate": (0.7, 1.0, 1.4, 2.0, 3.0),
    "server_momentum": (0.0, 0.5, 0.8, 0.9),
}
PRIVATE: Space = {"private_rate_factor": (0.3, 0.5, 1.0, 2.0, 10.0)}
RANKING: Space = {
    "weight_decay": (5e-4, 1e-3, 2e-3, 5e-3, 1e-2),
    "negatives": (2, 4, 8),
    "ranking_loss": ("bce", "multinomial", "bpr"),
}

SPACES: dict[str, Space] = {
    "personalfr": MODEL | AUTOENCODER | FEDERATION | PRIVATE,
    "fedavg": MODEL | AUTOENCODER | FEDERATION,
    "mf": MODEL | {"hidden_sizes": ((16,), (32,), (64,), (128,))} | FEDERATION | PRIVATE,
    "joint": MODEL
    | AUTOENCODER
    | {
        "client_learning_rate": (3e-4, 1e-3, 3e-3, 1e-2),
        "batch_size": (25, 50, 100, 200),
        "schedule": ("constant", "cosine"),
        "clip_norm": (0.0, 1.0),
    },
    "ranking": AUTOENCODER | FEDERATION | PRIVATE | RANKING,
}


def around(recipe: Config, space: Space) -> Space:
    """The space with the recipe's own values, which come first, and without those that the recipe's
    other settings refuse.
    """

    def goes(name: str, value: Any) -> bool:
        try:
            recipe.with_settings(**{name: value})
        except InputError:
            return False
        return True

    own = recipe.flat()
    return {
        name: (own[name], *(v for v in values if v != own[name] and goes(name, v)))
        for name, values in space.items()
    }
