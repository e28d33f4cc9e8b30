"""``python -m experiments.reproduce``: the same as ``pfr reproduce``."""

from pfr_jax.cli import run_program

if __name__ == "__main__":
    run_program("reproduce")
