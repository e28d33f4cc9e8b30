"""Algorithms: records of what is shared and what moves when, and what makes rounds of them."""

from pfr_jax.algorithms.catalog import ALGORITHMS
from pfr_jax.algorithms.spec import AlgorithmSpec

__all__ = ["ALGORITHMS", "AlgorithmSpec"]
