"""What a run shows on the console besides its progress."""

import dataclasses

import pandas as pd
from rich.console import Console

from pfr_jax.baselines.catalog import LABELS
from pfr_jax.evaluation.metrics import Figures
from pfr_jax.evaluation.task import AnyFigures
from pfr_jax.privacy.report import sentences
from pfr_jax.report.paper_table import table_figures
from pfr_jax.report.tables import bytes_text, facts_table, results_table
from pfr_jax.runs.environment import peak_rss_bytes
from pfr_jax.runs.trainer import Report
from pfr_jax.simulation.setup import Simulation


def engine_facts(simulation: Simulation) -> dict[str, object]:
    """How the clients will be computed, and why so."""
    federation = simulation.federation
    if simulation.spec.centralized:
        size = min(simulation.config.client.batch_size, simulation.ratings.num_users)
        return {"engine": f"one trainer, minibatches of {size} users"}
    kept = "bfloat16, rounded stochastically" if federation.side.store else "float32"
    lengths = [str(bucket.items.shape[1]) for bucket in simulation.population.buckets]
    return {
        "engine": f"{federation.engine.name} ({simulation.engine_choice})",
        "matrices are kept in": kept,
        **({"clients are kept in": "this machine's memory"} if federation.on_host else {}),
        "block shapes": ", ".join(
            f"{size} x {length} rows"
            for size, length in zip(federation.block_sizes, lengths, strict=True)
        ),
    }


def print_results(console: Console, report: Report) -> None:
    simulation, outcome, references = report.simulation, report.outcome, report.references
    name, task = simulation.spec.name, simulation.task
    lists = f" (lists of {simulation.config.run.top_k})" if task.lists else ""
    results: dict[str, AnyFigures] = {}
    of_warm: dict[str, AnyFigures] = {}
    new_users: dict[str, AnyFigures] = {}
    reported = {"selected on validation": outcome.selected, "last": outcome.last}
    if outcome.selected and outcome.selected.round == outcome.last.round:
        reported = {"last, selected on validation": outcome.last}
    for what, one in reported.items():
        if one:
            label = f"{name}, round {one.round} ({what})"
            if one.evaluation.test:
                results[label] = one.evaluation.test
            if one.evaluation.test_warm:
                of_warm[label] = one.evaluation.test_warm
            for encoder, figures in one.evaluation.new_users.items():
                new_users[f"{label}, {encoder}"] = figures

    def show(title: str, rows: dict[str, AnyFigures], baselines: dict[str, AnyFigures]) -> None:
        if baselines:
            reference = task.best_reference(baselines)
            simple = {n: f for n, f in baselines.items() if n not in references.centralised}
            others = {LABELS.get(n, n): f for n, f in baselines.items() if n not in simple}
            groups = {"": rows | simple, "centralised": others}
            console.print(results_table(f"{title}{lists}", groups, reference, task.headings))

    show("Test figures", results, references.test)
    of_whom = f"of users and items with {task.cold.training} alone"
    show(f"Test figures {of_whom}", of_warm, references.test_warm)
    again = outcome.retrained
    if again and again.last.evaluation.test:
        label = f"{name}, round {again.last.round}"
        title = "Test figures, trained again on training and validation ratings"
        rows = {label: again.last.evaluation.test}
        shown = *task.references, *references.centralised
        show(title, rows, {name: again.baselines[name] for name in shown})
    show("New users, never trained on", new_users, references.new_users)
    floor = references.test.get("noise_floor")
    selected = outcome.selected.evaluation if outcome.selected else None
    if isinstance(floor, Figures) and selected and isinstance(selected.test, Figures):
        bias_only = task.criterion(references.test["bias_only"])
        closed = (bias_only - selected.test.rmse) / (bias_only - floor.rmse)
        gap = "the gap between bias-only and the noise floor"
        found = f"{closed:.0%} of {gap} is closed"
        console.print(f"{found if closed > 0 else f'Nothing of {gap} is closed'}.")


def print_seeds(console: Console, reports: list[Report]) -> None:
    """Means and standard deviations over the seeds of what each one's table starts with."""
    task = reports[0].simulation.task
    if not reports[0].references.test:
        return  # no test ratings
    table = pd.DataFrame([table_figures(report.summary, task) for report in reports])
    facts = {name: f"{table[name].mean():.4f} ({table[name].std():.4f})" for name in task.shown}
    if "best_baseline" in table:
        facts["best_baseline"] = ", ".join(table["best_baseline"].unique()).replace("_", " ")
    title = f"Test figures, mean (standard deviation) of {len(reports)} seeds"
    console.print(facts_table(title, facts))


def print_costs(console: Console, report: Report) -> None:
    totals, seconds, traffic = report.totals, report.totals.seconds, report.totals.traffic
    lost = {what: count for what, count in dataclasses.asdict(totals.faults).items() if count}
    if lost:
        texts = (f"{count} {what.replace('_', ' ')}" for what, count in lost.items())
        console.print(f"Updates not taken, all rounds together: {', '.join(texts)}.")
    asked = max(1, totals.asked)
    console.print(
        f"{bytes_text(traffic.up)} up and {bytes_text(traffic.down)} down "
        f"({bytes_text(traffic.up / asked)} and "
        f"{bytes_text(traffic.down / asked)} per client asked and round). "
        f"Seconds: data {seconds['data']:.1f}, compile {seconds['compile']:.1f}, "
        f"train {seconds['train']:.1f}, eval {seconds['eval']:.1f}, "
        f"checkpoint {seconds['checkpoint']:.1f}. "
        f"Peak memory {bytes_text(peak_rss_bytes())}."
    )
    if found := report.summary["privacy"]:
        for sentence in sentences(found):
            console.print(sentence, soft_wrap=True, highlight=False)
