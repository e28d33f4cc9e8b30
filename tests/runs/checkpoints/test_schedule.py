"""When a checkpoint is due."""

import signal

import pytest

from pfr_jax.runs.checkpoints import schedule
from pfr_jax.runs.checkpoints.schedule import Schedule, Stop


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(schedule, "time", clock)
    return clock


def test_every_so_many_rounds_and_the_last(clock: Clock) -> None:
    plan = Schedule(4, Stop(active=False), seconds=1e9)
    due = [round for round in range(1, 11) if plan.due(round, last=round == 10)[0]]
    assert due == [4, 8, 10]


def test_by_time(clock: Clock) -> None:
    plan = Schedule(0, Stop(active=False), seconds=5.0)  # 19 times that is more than a minute
    found = []
    for round in range(1, 301):
        clock.now = float(round)
        if plan.due(round, last=False)[0]:
            found.append(round)
            plan.written(10.0)
    assert found == [95, 285]  # 19 x 5, and 19 x 10 after that


@pytest.mark.parametrize(("seconds", "due"), [(9.0, True), (11.0, False)])
def test_the_last_one_must_be_worth_it(clock: Clock, seconds: float, due: bool) -> None:
    plan = Schedule(0, Stop(active=False), seconds)
    clock.now = 100.0
    assert plan.due(20, last=True) == (due, 0)


def test_when_asked_to_stop() -> None:
    with Stop() as stop:
        plan = Schedule(100, stop)
        assert plan.due(1, last=False) == (False, 0)
        signal.raise_signal(signal.SIGTERM)
        assert plan.due(2, last=False) == (True, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
