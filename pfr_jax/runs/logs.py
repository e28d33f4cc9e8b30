"""The lines that a run's logs get, round by round."""

from dataclasses import asdict
from typing import Any

from pfr_jax.evaluation.evaluate import Evaluation
from pfr_jax.runs.folder import RunFolder, flat_figures
from pfr_jax.runs.progress import Totals
from pfr_jax.simulation.records import RoundRecord


def log_round(
    folder: RunFolder, record: RoundRecord, totals: Totals, spent: dict[str, float | None]
) -> dict[str, Any]:
    """Appends an evaluated round to metrics.jsonl and timings.jsonl; ``spent``: of epsilon.

    Returns:
      The line of metrics.jsonl.
    """
    line = _line(record, totals, spent)
    folder.append_line("metrics.jsonl", line)
    folder.append_line("timings.jsonl", {"round": record.round, **totals.seconds})
    return line


def _line(record: RoundRecord, totals: Totals, spent: dict[str, float | None]) -> dict[str, Any]:
    evaluation = record.evaluation
    assert evaluation is not None
    return {
        "round": record.round,
        "loss": record.loss,
        "learning_rate": record.learning_rate,
        "model_shrinkage": evaluation.shrinkage,
        **spent,
        **flat_figures("validation", evaluation.validation),
        **flat_figures("validation_warm", evaluation.validation_warm),
        **flat_figures("test", evaluation.test),
        **flat_figures("test_warm", evaluation.test_warm),
        **_new_user_figures(evaluation),
        "clients": record.taken,
        **{f"clients_{what}": count for what, count in asdict(record.faults).items()},
        "payload_bytes_up": record.traffic.payload_up,
        "index_bytes_up": record.traffic.index_up,
        "payload_bytes_down": record.traffic.payload_down,
        "bytes_up_total": totals.traffic.up,
        "bytes_down_total": totals.traffic.down,
    }


def _new_user_figures(evaluation: Evaluation) -> dict[str, float]:
    return {
        name: value
        for encoder, figures in evaluation.new_users.items()
        for name, value in flat_figures(f"new_users_{encoder}", figures).items()
    }
