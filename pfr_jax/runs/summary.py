"""What a finished run leaves: a row per user, quantiles over users, and the summary."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pfr_jax.evaluation.evaluate import Evaluation
from pfr_jax.evaluation.task import AnyFigures, ByUser
from pfr_jax.privacy.report import facts
from pfr_jax.report.held_out import cold_counts, kinds_of_test_users
from pfr_jax.runs.baselines import Baselines, Chosen
from pfr_jax.runs.environment import peak_rss_bytes
from pfr_jax.runs.progress import Reached, Reported, Totals
from pfr_jax.server import DENOMINATORS
from pfr_jax.simulation.costs import costs_of_clients
from pfr_jax.simulation.setup import Simulation

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Retrained:
    """A second training, on training and validation ratings, for the selected number of rounds."""

    last: Reported  # its last round
    totals: Totals
    baselines: Baselines  # fitted to the same ratings
    baselines_warm: Baselines


@dataclass(frozen=True)
class References:
    """Figures of baselines, each {} where there is no such part."""

    validation: Baselines  # the simple ones alone
    test: Baselines
    test_warm: Baselines  # over warm ratings alone; {} where all are warm or none is
    new_users: Baselines
    centralised: Chosen  # which of them are centralised, and their settings


@dataclass(frozen=True)
class Outcome:
    """The rounds that are reported."""

    selected: Reported | None  # by validation; None without a validation split
    last: Reported
    retrained: Retrained | None = None

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """Suffix of their names in files ("" for selected, "_last", "_retrained") -> evaluation."""
        reported = {"": self.selected, "_last": self.last}
        if self.retrained:
            reported["_retrained"] = self.retrained.last
        return {suffix: one.evaluation for suffix, one in reported.items() if one}


def per_user(simulation: Simulation, totals: Totals, outcome: Outcome) -> dict[str, np.ndarray]:
    """The columns of per_user.csv, [U] each: who the user is, activity, figures."""
    ratings, split = simulation.ratings, simulation.split
    client = simulation.population.client_of_user
    rounds = totals.participations[client]
    columns = {
        "user": ratings.user_ids,
        "client": np.zeros_like(client) if simulation.spec.centralized else client,
        "new_user": simulation.new_users,
        "encoder": encoder_of_user(simulation, rounds),
        "rounds": rounds,
    }
    for name in ("train", "validation", "test", "support", "query"):
        rows = getattr(split, name)
        if len(rows) or name in ("train", "validation", "test"):
            counts = np.bincount(ratings.user[rows], minlength=ratings.num_users)
            columns[f"{name}_ratings"] = counts
    for suffix, evaluation in outcome.evaluations.items():
        for figure, values in (evaluation.test_by_user or {}).items():
            columns[f"test_{figure}{suffix}"] = values
        for encoder, by_user in evaluation.new_by_user.items():
            for figure, values in by_user.items():
                columns[f"query_{figure}_{encoder}{suffix}"] = values
    return columns


def encoder_of_user(simulation: Simulation, rounds: np.ndarray) -> np.ndarray:
    """What encodes each user's ratings in ``test`` figures, text[U]."""
    untrained = "shared" if simulation.spec.two_models else "private, never trained"
    encoder = np.where(rounds > 0, "private, trained", untrained)
    if "user" not in simulation.spec.private_sides:
        encoder = np.full(len(rounds), "shared")
    if simulation.fallback is None:
        return encoder
    return np.where(simulation.fallback.cold_user, "none, no ratings", encoder)


def user_quantiles(by_user: ByUser) -> dict[str, dict[str, float]]:
    """Count, mean and quantiles of each figure over the users that have it, each user once."""
    spread = {}
    for figure, values in by_user.items():
        values = values[~np.isnan(values)]
        if len(values):
            quantiles = np.quantile(values, QUANTILES)
            spread[figure] = {
                "users": len(values),
                "mean": float(values.mean()),
                **{
                    f"p{100 * q:02.0f}": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)
                },
            }
    return spread


def summary(
    simulation: Simulation,
    totals: Totals,
    outcome: Outcome,
    references: References,
    reached: Reached | None,
) -> dict[str, Any]:
    """The content of summary.json."""
    config, costs = simulation.config, costs_of_clients(simulation)
    encoder = encoder_of_user(
        simulation, totals.participations[simulation.population.client_of_user]
    )
    kinds, counts = np.unique(encoder, return_counts=True)
    selected = outcome.selected.evaluation if outcome.selected else None
    content: dict[str, Any] = {
        "algorithm": simulation.spec.name,
        "dataset": config.data.dataset,
        "feedback": simulation.task.name,
        "engine": simulation.spec.name
        if simulation.spec.centralized
        else simulation.federation.engine.name,
        "num_users": simulation.ratings.num_users,
        "num_new_users": int(simulation.new_users.sum()),
        "num_items": simulation.ratings.num_items,
        "scale": str(simulation.ratings.scale),
        "ratings_removed": simulation.ratings.removed,
        "num_clients": simulation.num_clients,
        "cohort_size": simulation.cohort_size,
        "users_by_encoder": dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
        "rounds": outcome.last.round,
        "selected_round": outcome.selected.round if outcome.selected else None,
        "validation": _fields(selected.validation if selected else None),
    }
    for suffix, evaluation in outcome.evaluations.items():
        content[f"test{suffix}"] = _fields(evaluation.test)
        content[f"model_shrinkage{suffix}"] = evaluation.shrinkage
        if evaluation.test_warm:
            content[f"test_warm{suffix}"] = _fields(evaluation.test_warm)
        content[f"test_over_users{suffix}"] = user_quantiles(evaluation.test_by_user or {})
        if evaluation.new_users:
            content[f"new_users{suffix}"] = {
                name: _fields(figures) for name, figures in evaluation.new_users.items()
            }
    content.setdefault("test", None)
    if again := outcome.retrained:
        content["baselines_retrained"] = _fields_of_all(again.baselines)
        if again.baselines_warm:
            content["baselines_warm_retrained"] = _fields_of_all(again.baselines_warm)
        content["bytes_up_total_retrained"] = again.totals.traffic.up
        content["bytes_down_total_retrained"] = again.totals.traffic.down
        content["seconds_retrained"] = again.totals.seconds
    if references.test_warm:
        content["baselines_warm"] = _fields_of_all(references.test_warm)
    if kinds_of_users := kinds_of_test_users(simulation):
        content["heldout_users"] = asdict(kinds_of_users)
    return {
        **content,
        "cold": {part: asdict(counts) for part, counts in cold_counts(simulation).items()},
        "baselines": _fields_of_all(references.test),
        "centralised_baselines": {
            name: dict(settings) for name, settings in references.centralised.items()
        },
        "new_user_baselines": _fields_of_all(references.new_users),
        "clients_not_taken": asdict(totals.faults),
        "bytes_up_total": totals.traffic.up,
        "bytes_down_total": totals.traffic.down,
        "baselines_validation": _fields_of_all(references.validation),
        "reached": asdict(reached) if reached else None,
        "client_costs": asdict(costs) if costs else None,
        "privacy": privacy_of(simulation, outcome.last.round),
        "seconds": totals.seconds,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def privacy_of(simulation: Simulation, rounds: int) -> dict[str, Any] | None:
    """What the server learns of clients in so many rounds; None where there is none."""
    if simulation.spec.centralized:
        return None
    counted = DENOMINATORS[simulation.config.server.denominator].counts
    return facts(simulation.config.privacy, simulation.plan, counted, rounds)


def _fields_of_all(baselines: Baselines) -> dict[str, Any]:
    return {name: _fields(figures) for name, figures in baselines.items()}


def _fields(figures: AnyFigures | None) -> dict[str, float] | None:
    return asdict(figures) if figures else None
