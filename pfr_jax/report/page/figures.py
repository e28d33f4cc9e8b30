"""The section of test figures beside those of baselines."""

from collections.abc import Sequence
from typing import Any

from pfr_jax.baselines.catalog import LABELS
from pfr_jax.evaluation.task import Task
from pfr_jax.report.page.finished import SEEDS, FinishedRun, Group
from pfr_jax.report.page.parts import NOTHING, Section, Table, digits, mean_and_deviation
from pfr_jax.report.paper_table import reported


def figures_section(runs: Sequence[FinishedRun], groups: Sequence[Group]) -> Section:
    """Test figures and baselines: of one run a table, of several the runs side by side."""
    task = runs[0].task
    better = "higher" if task.higher_is_better else "lower"
    sentence = (
        f"The test figures of each run beside those of simple and centralised baselines on the "
        f"same ratings; of {task.heading}, {better} is better."
    )
    tested = [run for run in runs if reported(run.summary)[0]]
    if not tested:
        return Section("figures", "Figures", sentence, ("There are no test ratings.",))
    if len(tested) == 1:
        tables = [_one_run(tested[0])]
    else:
        tables = [_side_by_side(tested), _baselines(tested)]
        if several := [group for group in groups if len(group.runs) > 1]:
            tables.insert(1, _means(several))
    return Section("figures", "Figures", sentence, tables=tuple(tables))


def less_best(run: FinishedRun, figures: dict[str, Any]) -> float | None:
    """The task's figure less that of the best simple baseline; None where there is none."""
    baselines = reported(run.summary)[1]
    value, best = figures[run.task.figure], best_simple(run)
    if best is None or value is None:
        return None
    return float(value - baselines[best][run.task.figure])


def best_simple(run: FinishedRun) -> str | None:
    """The name of the best simple baseline; None where none has the task's figure."""
    baselines = reported(run.summary)[1]
    known = {n: f for n, f in baselines.items() if f.get(run.task.figure) is not None}
    return run.task.best_reference(known) if set(known) & set(run.task.references) else None


def label(baseline: str) -> str:
    """What people call a baseline."""
    return LABELS.get(baseline, baseline.replace("_", " "))


def _headings(task: Task) -> list[str]:
    return [heading.replace("\n", " ") for heading in task.headings.values()]


def _one_run(run: FinishedRun) -> Table:
    """A row for the run and each baseline."""
    figures, baselines = reported(run.summary)
    central = run.summary["centralised_baselines"]
    best = best_simple(run)
    less = f"less {label(best)}" if best else "less the best simple baseline"
    first, *others = _headings(run.task)
    rows = {f"{run.name}: {run.algorithm}": figures}
    rows |= {label(name): found for name, found in baselines.items() if name not in central}
    rows |= {f"{label(name)}, centralised": baselines[name] for name in central}
    return Table(
        f"Test figures of {run.name} and of baselines",
        ("", first, less, *others),
        tuple((name, *_cells(run, found)) for name, found in rows.items()),
    )


def _cells(run: FinishedRun, figures: dict[str, Any]) -> tuple[str, ...]:
    first, *others = (digits(figures.get(name)) for name in run.task.headings)
    return first, digits(less_best(run, figures), signed=True), *others


def _side_by_side(runs: Sequence[FinishedRun]) -> Table:
    """A row per run, with the best simple baseline of its own split."""
    first, *others = _headings(runs[0].task)
    less = "less the best simple baseline", "which is"
    rows = []
    for run in runs:
        best = best_simple(run)
        value, difference, *more = _cells(run, reported(run.summary)[0])
        compared = difference, label(best) if best else NOTHING
        seeds = (str(run.settings[name]) for name in SEEDS)
        rows.append((run.name, run.algorithm, value, *compared, *more, *seeds))
    headings = "", "algorithm", first, *less, *others, "seed", "split seed"
    return Table("Test figures of the runs", headings, tuple(rows))


def _means(groups: Sequence[Group]) -> Table:
    """A row per group of several seeds."""
    task = groups[0].runs[0].task
    first, *others = _headings(task)
    rows = []
    for group in groups:
        tested = [(run, found) for run in group.runs if (found := reported(run.summary)[0])]
        value, *more = (_mean([found[name] for _, found in tested]) for name in task.headings)
        less = _mean([less_best(run, found) for run, found in tested], signed=True)
        rows.append((group.name, str(len(tested)), value, less, *more))
    return Table(
        "Runs that differ by their seeds alone: mean (standard deviation)",
        ("", "runs", first, "less the best simple baseline", *others),
        tuple(rows),
    )


def _mean(values: Sequence[float | None], signed: bool = False) -> str:
    """Of the runs that have the figure."""
    known = [value for value in values if value is not None]
    return mean_and_deviation(known, signed) if known else NOTHING


def _baselines(runs: Sequence[FinishedRun]) -> Table:
    """A row per baseline, a column per run: the task's figure."""
    task = runs[0].task
    names = dict.fromkeys(name for run in runs for name in reported(run.summary)[1])
    rows = []
    for name in names:
        found = [reported(run.summary)[1].get(name, {}).get(task.figure) for run in runs]
        central = any(name in run.summary["centralised_baselines"] for run in runs)
        more = ", centralised" if central else ""
        rows.append((label(name) + more, *map(digits, found)))
    caption = f"{task.heading} of baselines on each run's test ratings"
    return Table(caption, ("", *(run.name for run in runs)), tuple(rows))
