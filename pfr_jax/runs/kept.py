"""The model that a run's figures are of, kept in ``best/`` as a checkpoint of its round.

That is the round which validation selected, the last one where there is no validation split, and
with --retrain the last one of the second training. The model is the server's part and every
client's private state. A better round is written when the time since the last such writing is nine
times what it takes, so that at most a tenth of the run goes into it; without that, it would be
written at nearly every evaluation of the first rounds. If the round that is selected in the end was
passed over, it is trained once more, from the newest round before it that is on the disk: the same
numbers come of it.
"""

import time
from dataclasses import astuple
from pathlib import Path

import numpy as np
from rich.console import Console

from pfr_jax.algorithms.federated import FederationState
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import Evaluation
from pfr_jax.runs.checkpoints.schedule import agreed
from pfr_jax.runs.checkpoints.store import Checkpoints, Saved
from pfr_jax.runs.progress import Reported
from pfr_jax.simulation.loop import simulate
from pfr_jax.simulation.records import Begin, RoundRecord
from pfr_jax.simulation.setup import Simulation

BEST = "best"  # folder of a run
SHARE = 0.1  # of the time that writing may take


class KeptModel:
    """The folder ``best/`` of a run in ``folder``, whose checkpoints are in ``checkpoints``.

    Every process calls every method.
    """

    def __init__(
        self, folder: Path, simulation: Simulation, checkpoints: Path, retrained: bool
    ) -> None:
        """``retrained``: ``simulation`` trains on the validation ratings, too."""
        self._simulation, self._retrained = simulation, retrained
        self._place, self._checkpoints = folder / BEST, checkpoints
        self._store = Checkpoints(self._place, simulation, keep=1)
        self._cost, self._since = self._store.expected_seconds, time.perf_counter()
        self._written = 0  # the round that this process knows to be in the folder

    def offer(self, record: RoundRecord, rounds: int) -> float:
        """Writes a round that is the best so far, if that pays or it is the last of so many.

        Returns:
          The seconds that it took.
        """
        started = time.perf_counter()
        pays = started - self._since >= self._cost * (1 / SHARE - 1)
        if not agreed(pays or record.round == rounds)[0]:
            return 0.0
        assert record.evaluation is not None
        self._write(record.round, record.state, record.evaluation.shrinkage)
        self._since = time.perf_counter()
        self._cost = self._since - started
        return self._cost

    def finish(self, reported: Reported, console: Console) -> None:
        """Sees to it that the round which is reported is the one in the folder."""
        round, shrinkage = reported.round, reported.evaluation.shrinkage
        if self._written == round:
            return
        state, again, found = None, None, self._newest_before(round, console)
        begin = None
        if found:
            store, saved = found
            if saved.round == round and saved.content == self._content(shrinkage):
                return
            begin = Begin(store.restore(saved), saved.round)
            state = begin.state
        for record in simulate(self._simulation, round, begin):
            state, again = record.state, record.evaluation
        assert state is not None
        self._write(round, state, shrinkage)
        if again and not _alike(again, reported.evaluation):
            console.print(
                f"{self._place}: round {round} was trained once more to be kept, and its figures "
                "are not quite those that are reported: devices that add in an order of their own "
                "do not repeat themselves, see --deterministic_sum.",
                soft_wrap=True,
            )

    def _newest_before(self, round: int, console: Console) -> tuple[Checkpoints, Saved] | None:
        """The newest good checkpoint of this simulation up to ``round``, and the folder's store."""
        found: tuple[Checkpoints, Saved] | None = None
        for place in (self._place, self._checkpoints):
            store = Checkpoints(place, self._simulation, keep=1)
            try:
                saved = store.latest(console.print, up_to=round)
            except InputError:  # all are damaged, or of another training
                continue
            if saved and (found is None or saved.round > found[1].round):
                found = store, saved
        return found

    def _write(self, round: int, state: FederationState, shrinkage: float) -> None:
        self._store.save(round, state, self._content(shrinkage), {})
        self._written = round

    def _content(self, shrinkage: float) -> dict[str, float | bool]:
        return {"model_shrinkage": shrinkage, "retrained": self._retrained}


def _alike(one: Evaluation, other: Evaluation) -> bool:
    """Whether their figures on validation, else on test, are the same to float rounding."""
    first, second = (found.validation or found.test for found in (one, other))
    if first is None or second is None:
        return first is second
    return np.allclose(astuple(first), astuple(second), rtol=1e-6, equal_nan=True)
