"""``python -m experiments.run``: the same as ``pfr run``."""

from pfr_jax.cli import run_program

if __name__ == "__main__":
    run_program("run")
