"""What settings are made of: a default with its help, and what is asked of values."""

import math
from dataclasses import field
from typing import Any

from pfr_jax.errors import InputError


def option(default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field with a default, the help text its flag will show and, where its type does
    not say so, the values it can have.
    """
    return field(default=default, metadata={"help": help, "choices": choices})


def require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def require_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(0 < value < math.inf, f"--{name}={value}: must be positive and finite")


def require_seed(config: object, name: str) -> None:
    """JAX keys hold 32 bits: a larger seed would silently be another one."""
    value = getattr(config, name)
    require(0 <= value < 2**32, f"--{name}={value}: must lie in [0, 2**32)")
