"""Ratings: the table, files, named sources, the synthetic generator and splits."""

from pfr_jax.data.formats import ReadOptions
from pfr_jax.data.sources import load
from pfr_jax.data.splits import Split, random_split
from pfr_jax.data.table import Ratings, Scale

__all__ = ["Ratings", "ReadOptions", "Scale", "Split", "load", "random_split"]
