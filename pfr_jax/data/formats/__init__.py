"""Files of ratings, read strictly and fast: text of any separator, parquet and feather."""

from pfr_jax.data.formats.files import read_files, read_ratings
from pfr_jax.data.formats.options import FixedLayout, ReadOptions

__all__ = ["FixedLayout", "ReadOptions", "read_files", "read_ratings"]
