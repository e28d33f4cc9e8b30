"""``python -m experiments.benchmark``: the same as ``pfr benchmark``."""

from pfr_jax.cli import run_program

if __name__ == "__main__":
    run_program("benchmark")
