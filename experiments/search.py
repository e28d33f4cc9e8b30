"""``python -m experiments.search``: the same as ``pfr search``."""

from pfr_jax.cli import run_program

if __name__ == "__main__":
    run_program("search")
