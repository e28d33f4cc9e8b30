"""When a checkpoint is written, and how a run is asked to stop."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

LEAST_SECONDS = 60.0  # between two checkpoints that nobody asked for by number
SHARE = 0.05  # of the time, that writing them may take
SHARE_AT_THE_END = 0.1


class Stop:
    """While entered, SIGTERM and SIGINT are remembered in ``signal`` instead of ending the program.

    A second one does end it; and so does a first Ctrl-C (SIGINT) before there is ``progress`` that
    would be lost. With ``active=False`` all is as ever.
    """

    signal: int = 0
    progress: bool = False

    def __init__(self, active: bool = True) -> None:
        self._active, self._before = active, dict[int, Any]()

    def __enter__(self) -> "Stop":
        if self._active:
            self._before = {
                s: signal.signal(s, self._remember) for s in (signal.SIGTERM, signal.SIGINT)
            }
        return self

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()
        if number == signal.SIGINT and not self.progress:
            handler = self._before[number]
            if callable(handler):
                handler(number, frame)
            raise KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()


class Schedule:
    """Every ``every`` rounds and after the last. 0: as often as a twentieth of the time allows, not
    more than once a minute, and after the last where a tenth does. And when asked to stop.

    ``seconds`` is what the first one is expected to take.
    """

    def __init__(self, every: int, stop: Stop, seconds: float = 0.0) -> None:
        self._every, self._stop = every, stop
        self._cost, self._since = seconds, time.perf_counter()
        self._began = self._since

    def due(self, round: int, last: bool) -> tuple[bool, int]:
        """Whether to write one now, and the signal to stop for afterwards (0: go on).

        All processes get the same answer.
        """
        now = time.perf_counter()
        if self._every:
            due = last or round % self._every == 0
        elif last:
            due = self._cost <= SHARE_AT_THE_END * (now - self._began)
        else:
            due = now - self._since >= max(LEAST_SECONDS, self._cost * (1 / SHARE - 1))
        asked = agreed(due, self._stop.signal)
        return bool(asked[0] or asked[1]), asked[1]

    def written(self, seconds: float) -> None:
        """A checkpoint has just been written, in so many seconds."""
        self._cost, self._since = seconds, time.perf_counter()


def agreed(*numbers: int) -> list[int]:
    """The largest of each number (from 0 on) over all processes, so that all go on alike."""
    own = np.array(numbers, np.int32)
    if jax.process_count() > 1:
        own = np.asarray(multihost_utils.process_allgather(own)).max(axis=0)
    return [int(number) for number in own]
