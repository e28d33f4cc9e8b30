"""The systems that are searched, and the settings that each may take, a record each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Settings = dict[str, Any]
# Setting -> values, from which one is drawn. The first trial has the first ones.
Space = dict[str, Sequence[Any]]


@dataclass(frozen=True)
class System:
    """What is searched: settings that it always has, and those that are drawn.

    Attributes:
      name: what --system and the file of trials call it.
      space: what is drawn.
      fixed: settings that make it this system.
      rounds_factor: its rounds are --rounds times this (a centralised round is an epoch).
      eval_every: rounds between looks at the validation split.
    """

    name: str
    space: Space
    fixed: Mapping[str, Any]
    rounds_factor: float = 1.0
    eval_every: int = 10


COMMON: Space = {
    "center": ("user", "global"),
    "dropout": (0.5, 0.0, 0.2, 0.35, 0.65),
    "weight_decay": (1e-2, 5e-4, 2e-3, 5e-3, 7e-3, 1.4e-2, 2e-2, 3e-2),
    "decay_biases": (True, False),
    "output_bias": ("zero", "item"),
    "hidden_sizes": ((256, 128), (256, 64), (512, 128), (512, 256)),
    "input_offset": (0.0, 1.0, 2.0, 4.0),
}
FEDERATED: Space = {
    "client_learning_rate": (0.1, 0.03, 0.05, 0.07, 0.14, 0.2, 0.3),
    "local_epochs": (5, 2, 3, 8, 12),
    "denominator": ("sqrt", "contributors", "clients"),
    "server_learning_rate": (1.0, 0.5, 0.7, 1.4, 2.0, 3.0),
    "server_momentum": (0.0, 0.5, 0.8, 0.9),
    "shared_momentum": ("restart", "carry"),
    "momentum": (0.9, 0.0, 0.5, 0.8),
}
PRIVATE: Space = {"private_rate_factor": (1.0, 0.3, 0.5, 2.0, 3.0)}
OF_FACTORS: Space = {  # a model without an encoder
    "hidden_sizes": ((32,), (4,), (8,), (16,), (64,), (128,)),
    "weight_decay": (1e-2, 1e-3, 3e-3, 2e-2, 3e-2, 5e-2, 1e-1),
    "client_learning_rate": (0.1, 0.05, 0.14, 0.2, 0.3, 0.5, 1.0),
    "private_rate_factor": (1.0, 0.5, 2.0, 3.0, 5.0, 10.0),
}

# The trials in experiments/results were made so.
AS_TUNED: dict[str, Any] = {
    "standardize": False,
    "weighting": "clients",
    "ridge": 0.0,
    "model_shrinkage": 0.0,
    "members": 1,
}

SYSTEMS = {
    system.name: system
    for system in (
        System("personalfr", COMMON | FEDERATED | PRIVATE, {**AS_TUNED, "algorithm": "personalfr"}),
        System("fedavg", COMMON | FEDERATED, {**AS_TUNED, "algorithm": "fedavg"}),
        System(
            "mf",
            {
                name: values
                for name, values in (COMMON | FEDERATED | PRIVATE | OF_FACTORS).items()
                if name != "input_offset"
            },
            {**AS_TUNED, "algorithm": "personalfr", "model": "mf"},
        ),
        System(
            "joint",
            COMMON
            | {
                "client_optimizer": ("adam", "sgd"),
                "client_learning_rate": (1e-3, 1e-4, 3e-4, 3e-3, 1e-2, 0.03, 0.1),
                "batch_size": (100, 25, 50, 200),
                "schedule": ("constant", "cosine"),
                "clip_norm": (1.0, 0.0),
            },
            {**AS_TUNED, "algorithm": "joint", "local_epochs": 1},
            rounds_factor=1 / 3,
            eval_every=2,
        ),
    )
}
