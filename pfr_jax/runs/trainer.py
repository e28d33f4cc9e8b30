"""A prepared simulation trained, logged and reported."""

import dataclasses
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from typing import Any

from rich.console import Console

from pfr_jax.evaluation.evaluate import judged_by, simple_baselines
from pfr_jax.evaluation.task import JudgeBaselines
from pfr_jax.runs.baselines import (
    baselines_of_new_users,
    baselines_of_test,
    choose_centralised,
    over_all,
    over_warm,
)
from pfr_jax.runs.folder import RunFolder
from pfr_jax.runs.progress import Reported, Totals
from pfr_jax.runs.summary import Outcome, References, Retrained, per_user, summary
from pfr_jax.runs.training import Training
from pfr_jax.simulation.setup import Simulation


@dataclass(frozen=True)
class Report:
    """A finished run.

    Attributes:
      simulation: what was trained.
      totals: bytes, seconds, and the rounds of every client.
      outcome: the selected round, the last one, and what training again led to.
      references: figures of baselines on the same splits.
      summary: what summary.json holds.
    """

    simulation: Simulation
    totals: Totals
    outcome: Outcome
    references: References
    summary: dict[str, Any]


def train_simulation(
    simulation: Simulation,
    again: Simulation | None,
    folder: RunFolder,
    console: Console,
    before: dict[str, float],
    settings: dict[str, Any],
    baselines: Future[JudgeBaselines],
) -> Report:
    """Runs all rounds, writing to ``folder`` and ``console`` as it goes.

    ``again`` is the same federation with the validation ratings to train on too; it is trained
    for as many rounds as ``simulation`` selects. ``before`` are seconds that were spent already;
    ``settings`` are those that config.json shows, and ``baselines`` the simple ones, fitted on its
    training ratings.
    """
    split = simulation.split
    simple = judged_by(simulation, baselines.result)
    rounds = simulation.config.run.rounds
    first = Training(
        simulation, folder, console, "checkpoints", rounds, before, keeps=again is None
    )
    if first.saved is None:
        folder.begin(settings)
    else:
        folder.go_on(first.saved.content["logs"], first.saved.round, settings)
    to_reach = cache(lambda: over_all(simple(split.validation, split.train)))
    first.run("round", to_reach)
    progress = first.progress
    assert progress.last is not None
    outcome = Outcome(progress.selected, progress.last)
    chosen = choose_centralised(simulation, console)
    of_test = baselines_of_test(simulation, chosen, simple)
    references = References(
        validation=to_reach(),
        test=over_all(of_test),
        test_warm=over_warm(of_test),
        new_users=over_all(baselines_of_new_users(simulation, chosen)),
        centralised=chosen,
    )
    if again is not None and progress.selected is not None:
        rounds = progress.selected.round
        again = _as_selected(again, progress.selected)
        second = Training(again, folder, console, "checkpoints_retrained", rounds, {}, logs=False)
        second.run("retrained", dict)
        assert second.progress.last is not None
        simple = simple_baselines(again, again.split.train)
        of_test = baselines_of_test(again, chosen, simple)
        retrained = Retrained(
            last=second.progress.last,
            totals=second.progress.totals,
            baselines=over_all(of_test),
            baselines_warm=over_warm(of_test),
        )
        outcome = Outcome(outcome.selected, outcome.last, retrained)
    folder.write_table("per_user.csv", per_user(simulation, progress.totals, outcome))
    content = summary(simulation, progress.totals, outcome, references, progress.reached)
    if content["privacy"] and (found := folder.lines("attacks.jsonl")):
        last = [row for row in found if row["round"] == found[-1]["round"]]
        content["privacy"]["attacks"] = last
    folder.write_json("summary.json", content)
    return Report(simulation, progress.totals, outcome, references, content)


def _as_selected(again: Simulation, selected: Reported) -> Simulation:
    """A training without a validation split, with the model's shrinkage that one has chosen."""
    config = again.config
    config = config.with_settings(model_shrinkage=selected.evaluation.shrinkage)
    return dataclasses.replace(again, config=config)
