"""How far a run has come, apart from its federation's state; all of it fits in a checkpoint."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pfr_jax.evaluation.evaluate import Evaluation
from pfr_jax.evaluation.task import AnyFigures
from pfr_jax.simulation.costs import costs_of_clients
from pfr_jax.simulation.ledger import Traffic
from pfr_jax.simulation.records import Faults, RoundRecord
from pfr_jax.simulation.setup import Simulation

Arrays = dict[str, np.ndarray]


@dataclass
class Totals:
    """What adds up over a run."""

    traffic: Traffic
    seconds: dict[str, float]  # data, compile, train, eval, checkpoint
    participations: np.ndarray  # i64[clients], rounds in which each client's update arrived
    faults: Faults = Faults()
    asked: int = 0  # clients, all rounds together
    delivered: int = 0  # of them, whose updates arrived

    def add(self, record: RoundRecord) -> None:
        self.traffic += record.traffic
        self.faults += record.faults
        lost = record.faults.dropped + record.faults.late + record.faults.surplus
        self.delivered += len(record.clients)
        self.asked += len(record.clients) + lost
        self.participations[record.clients] += 1
        for name, value in asdict(record.timing).items():
            self.seconds[name] += value


@dataclass(frozen=True)
class Reached:
    """When validation was first as good as the simple baseline, and what had travelled by then."""

    round: int
    bytes_up: int
    bytes_down: int
    bytes_per_client: float  # up and down, over all clients
    whole_bytes_per_client: float  # had every client sent and received all rows in as many rounds


@dataclass(frozen=True)
class Reported:
    """A round that is reported."""

    round: int
    evaluation: Evaluation


@dataclass
class RunProgress:
    """Of one training; ``selected`` is the best round on validation so far."""

    simulation: Simulation
    totals: Totals
    selected: Reported | None = None
    last: Reported | None = None  # the last evaluated round
    reached: Reached | None = None
    fruitless: int = 0  # of the last round

    @property
    def best(self) -> float:
        """The lowest criterion on validation so far."""
        validation = self.selected.evaluation.validation if self.selected else None
        return self.simulation.task.criterion(validation) if validation else math.inf

    def add(self, record: RoundRecord, reference: AnyFigures | None) -> None:
        """Takes a round in; ``reference`` are the simple baseline's figures on validation."""
        self.totals.add(record)
        self.fruitless = record.fruitless
        if not record.evaluation:
            return
        self.last = Reported(record.round, record.evaluation)
        if record.evaluation.improved:
            self.selected = self.last
        found, criterion = record.evaluation.validation, self.simulation.task.criterion
        if (
            found
            and reference
            and self.reached is None
            and criterion(found) <= criterion(reference)
        ):
            self.reached = self._reach(record.round)

    def reports(self, record: RoundRecord) -> bool:
        """Whether so far the run's figures are those of this round, which has just been added."""
        reported = self.selected or self.last
        return reported is not None and reported.round == record.round

    def select_anew(self) -> None:
        """Forgets what figures of earlier rounds decided: later ones are not comparable."""
        self.selected = self.reached = None

    def _reach(self, round: int) -> Reached:
        simulation, traffic = self.simulation, self.totals.traffic
        per_client = (traffic.up + traffic.down) / simulation.num_clients
        costs = costs_of_clients(simulation)
        visits = (self.totals.asked + self.totals.delivered) / simulation.num_clients
        whole = costs.ranking_download_bytes * visits if costs else 0.0
        return Reached(round, traffic.up, traffic.down, per_client, whole)

    def content(self) -> tuple[dict[str, Any], Arrays]:
        """For a checkpoint: what JSON holds, and arrays by name."""
        arrays: Arrays = {"participations": self.totals.participations}
        plain = {
            "traffic": asdict(self.totals.traffic),
            "seconds": self.totals.seconds,
            "faults": asdict(self.totals.faults),
            "counts": [self.totals.asked, self.totals.delivered, self.fruitless],
            "reached": asdict(self.reached) if self.reached else None,
            "selected": _pack("selected", self.selected, arrays),
            "last": _pack("last", self.last, arrays),
        }
        return plain, arrays

    def take_over(self, plain: dict[str, Any], arrays: Any) -> None:
        """Becomes what ``content`` was made from."""
        kind = self.simulation.task.figures
        reached = plain["reached"]
        self.totals.traffic = Traffic(**plain["traffic"])
        self.totals.seconds.update(plain["seconds"])
        self.totals.faults = Faults(**plain["faults"])
        self.totals.asked, self.totals.delivered, self.fruitless = plain["counts"]
        self.totals.participations = np.array(arrays["participations"])
        self.reached = Reached(**reached) if reached else None
        self.selected = _unpack("selected", plain["selected"], arrays, kind)
        self.last = _unpack("last", plain["last"], arrays, kind)


def _pack(name: str, reported: Reported | None, arrays: Arrays) -> dict[str, Any] | None:
    """A report without its figures by user, which go to ``arrays``."""
    if reported is None:
        return None
    evaluation = reported.evaluation
    all_by_user = {"": evaluation.test_by_user or {}, **evaluation.new_by_user}
    for encoder, by_user in all_by_user.items():
        for figure, values in by_user.items():
            arrays[f"{name}.{encoder}.{figure}"] = values
    return {
        "round": reported.round,
        "improved": evaluation.improved,
        "shrinkage": evaluation.shrinkage,
        "validation": _fields(evaluation.validation),
        "test": _fields(evaluation.test),
        "validation_warm": _fields(evaluation.validation_warm),
        "test_warm": _fields(evaluation.test_warm),
        "new_users": {encoder: _fields(f) for encoder, f in evaluation.new_users.items()},
        # Figures by user are arrays, which come back in no particular order.
        "figures_by_user": {encoder: list(by_user) for encoder, by_user in all_by_user.items()},
    }


def _unpack(
    name: str, plain: dict[str, Any] | None, arrays: Any, kind: Callable[..., AnyFigures]
) -> Reported | None:
    if plain is None:
        return None

    def figures(fields: dict[str, float] | None) -> AnyFigures | None:
        return kind(**fields) if fields else None

    by_user = {
        encoder: {figure: arrays[f"{name}.{encoder}.{figure}"] for figure in names}
        for encoder, names in plain["figures_by_user"].items()
    }
    evaluation = Evaluation(
        validation=figures(plain["validation"]),
        improved=plain["improved"],
        shrinkage=plain["shrinkage"],
        test=figures(plain["test"]),
        test_by_user=by_user.pop("") or None,
        new_users={encoder: kind(**fields) for encoder, fields in plain["new_users"].items()},
        new_by_user=by_user,
        validation_warm=figures(plain["validation_warm"]),
        test_warm=figures(plain["test_warm"]),
    )
    return Reported(plain["round"], evaluation)


def _fields(figures: AnyFigures | None) -> dict[str, float] | None:
    return asdict(figures) if figures else None
