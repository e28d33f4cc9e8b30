"""``python -m experiments.compare``: the same as ``pfr compare``."""

from pfr_jax.cli import run_program

if __name__ == "__main__":
    run_program("compare")
