"""``python -m experiments.compile_check``: the same as ``pfr compile-check``."""

from pfr_jax.cli import run_program

if __name__ == "__main__":
    run_program("compile-check")
