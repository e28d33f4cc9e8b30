"""``python -m experiments.chaos``: the same as ``pfr chaos``."""

from pfr_jax.cli import run_program

if __name__ == "__main__":
    run_program("chaos")
