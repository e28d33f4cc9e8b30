"""``python -m experiments.synthesize``: the same as ``pfr synthesize``."""

from pfr_jax.cli import run_program

if __name__ == "__main__":
    run_program("synthesize")
