"""``python -m pfr_jax PROGRAM``: the command ``pfr``."""

from pfr_jax.cli import main

main()
