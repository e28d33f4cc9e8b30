"""What less precise matrix products do to a round and to a run, emulated on a CPU.

    python -m experiments.precision --dataset=ml100k --rounds=300

A TPU multiplies bfloat16. JAX makes a product of float32 from one such product ("default"), from
three ("high") or from six ("highest", which pfr_jax asks for): a = a1 + a2 + a3, and so on. Here
every product of a compiled program is replaced by what the first two would be. Products of a GPU's
TensorFloat-32 lie between them. Written are, for each precision, the largest error of a round's
change of every leaf of the shared part, over its largest change, and the figures of a run.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import app, flags
from jax._src.lax import lax as internals  # the rule that is replaced is nowhere public
from jax.extend.core.primitives import dot_general_p
from jax.interpreters import mlir

import pfr_jax
from pfr_jax.models.item_rows import flatten
from pfr_jax.simulation.loop import initial_state

_DATASET = flags.DEFINE_string("dataset", "ml100k", "As for pfr run.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "As for pfr run.")
_ROUNDS = flags.DEFINE_integer("rounds", 300, "Of the runs.", 1)
_OUTPUT = flags.DEFINE_string("output", "", "A csv file, too.")

PRECISIONS = "highest", "high", "default"


def to_bfloat16(values: jax.Array) -> jax.Array:
    """Rounded to a bfloat16's eight bits, as float32."""
    return jax.lax.reduce_precision(values, exponent_bits=8, mantissa_bits=7)


@contextmanager
def products_of(precision: str) -> Iterator[None]:
    """What is compiled within has products of this precision."""
    plain, busy = internals._dot_general_lower, [False]

    def product(lhs: jax.Array, rhs: jax.Array, **how: Any) -> jax.Array:
        a, b = to_bfloat16(lhs), to_bfloat16(rhs)
        total: jax.Array = dot_general_p.bind(a, b, **how)
        if precision == "high":
            total += dot_general_p.bind(a, to_bfloat16(rhs - b), **how)
            total += dot_general_p.bind(to_bfloat16(lhs - a), b, **how)
        return total

    def rule(context: Any, lhs: Any, rhs: Any, **how: Any) -> Any:
        if busy[0] or context.avals_in[0].dtype != jnp.float32:
            return plain(context, lhs, rhs, platform="cpu", **how)
        busy[0] = True
        try:
            return mlir.lower_fun(product, multiple_results=False)(context, lhs, rhs, **how)
        finally:
            busy[0] = False

    if precision != "highest":
        mlir.register_lowering(dot_general_p, rule, platform="cpu")
    try:
        yield
    finally:
        again = lambda *args, **how: plain(*args, platform="cpu", **how)  # noqa: E731
        mlir.register_lowering(dot_general_p, again, platform="cpu")


def measured(config: pfr_jax.Config, precision: str) -> tuple[dict[str, Any], Any]:
    """The change of every shared leaf in the first round, and the last round's evaluation."""
    with products_of(precision):
        jax.clear_caches()
        simulation = pfr_jax.prepare(config, *pfr_jax.load_ratings(config.data))
        before = flatten(jax.device_get(initial_state(simulation).server.shared))
        for record in pfr_jax.simulate(simulation):
            if record.round == 1:
                after = flatten(jax.device_get(record.state.server.shared))
                change = {name: leaf - before[name] for name, leaf in after.items()}
        return change, record.evaluation


def main(argv: Sequence[str]) -> None:
    del argv
    pfr_jax.set_up_jax(num_devices=1)
    jax.config.update("jax_enable_compilation_cache", False)
    config = pfr_jax.Config(
        data=pfr_jax.DataConfig(dataset=_DATASET.value, data_dir=_DATA_DIR.value),
        run=dataclasses.replace(pfr_jax.RunConfig(), rounds=_ROUNDS.value, num_devices=1),
    )
    rows, exact = [], None
    for precision in PRECISIONS:
        change, evaluation = measured(config, precision)
        exact = exact or change
        errors = {
            name: float(np.abs(leaf - exact[name]).max() / np.abs(exact[name]).max())
            for name, leaf in change.items()
        }
        figures = {"validation_rmse": evaluation.validation.rmse}
        if evaluation.test:
            figures["test_rmse"] = evaluation.test.rmse
        rows.append({"precision": precision, "rounds": _ROUNDS.value, **figures, **errors})
        print(pd.Series(rows[-1]).to_string(), flush=True)
    if _OUTPUT.value:
        pd.DataFrame(rows).to_csv(_OUTPUT.value, index=False, float_format="%.6g")


if __name__ == "__main__":
    app.run(main)
