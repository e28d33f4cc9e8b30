"""What a run shows of its rounds where there is no terminal."""

from types import SimpleNamespace
from typing import Any

import pytest

from pfr_jax.runs.display import Lines


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(rounds: int, seconds: float, eval_every: int) -> list[str]:
    """All lines of a run whose rounds take so many seconds."""
    clock, lines = Clock(), []
    watch = Lines(lines.append, "round", "RMSE", rounds, 2.0, clock)
    clock.now = 9.8  # compiling
    for round in range(1, rounds + 1):
        clock.now += seconds
        evaluated = round % eval_every == 0 or round == rounds
        record: Any = SimpleNamespace(
            round=round,
            loss=0.6123,
            evaluation=evaluated or None,
            timing=SimpleNamespace(compile=9.8 if round == 1 else 0.0, train=seconds, eval=0.0),
        )
        watch.show(record, 0.9512 if evaluated else None)
    return lines


def test_a_line_per_evaluation() -> None:
    lines = told(rounds=30, seconds=1.2, eval_every=10)
    assert lines == [
        "compiled in 11.8 s",
        "round 10/30  loss 0.6123  validation RMSE 0.9512  12 s",
        "round 20/30  loss 0.6123  validation RMSE 0.9512  24 s",
        "round 30/30  loss 0.6123  validation RMSE 0.9512  36 s",
    ]


def test_quick_rounds_do_not_flood() -> None:
    """20,000 rounds of a millisecond, evaluated every tenth: a line a second, and the last."""
    lines = told(rounds=20_010, seconds=0.001, eval_every=10)
    assert 18 <= len(lines) <= 22
    assert lines[-1].startswith("round 20010/20010 ")


def test_slow_ones_are_heard_of_without_an_evaluation() -> None:
    lines = told(rounds=12, seconds=11, eval_every=100)
    assert [line.split()[1] for line in lines[1:]] == ["3/12", "6/12", "9/12", "12/12"]
    assert lines[1] == "round 3/12  loss 0.6123  33 s"


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_last_round_is_always_shown(rounds: int) -> None:
    assert told(rounds, seconds=0.01, eval_every=5)[-1].startswith(f"round {rounds}/{rounds} ")
