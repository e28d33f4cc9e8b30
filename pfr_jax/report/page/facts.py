"""The sections that tell facts of runs: what ran, bytes, what the server sees, faults, settings."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from pfr_jax.config import Config
from pfr_jax.privacy.report import sentences
from pfr_jax.report.page.finished import FinishedRun
from pfr_jax.report.page.parts import NOTHING, Section, Table, across, count, digits
from pfr_jax.report.tables import bytes_text


def what_ran(runs: Sequence[FinishedRun]) -> Section:
    """Data, algorithm and size of each run."""
    summaries = [run.summary for run in runs]
    facts = {
        what: [str(summary[name]) for summary in summaries]
        for what, name in (
            ("data set", "dataset"),
            ("algorithm", "algorithm"),
            ("task", "feedback"),
        )
    }
    for what, name in (
        *(("users", "num_users"), ("items", "num_items"), ("clients", "num_clients")),
        *(("clients asked per round", "cohort_size"), ("rounds", "rounds")),
        ("round selected on validation", "selected_round"),
    ):
        facts[what] = [count(summary[name]) for summary in summaries]
    facts["seconds of training"] = [f"{s['seconds']['train']:,.1f}" for s in summaries]
    sentence = "The data, the algorithm and the size of each run."
    table = across("What ran", _names(runs), facts)
    return Section("runs", "What ran", sentence, tables=(table,))


def bytes_section(runs: Sequence[FinishedRun]) -> Section:
    """What had travelled when validation was first as good as the simple baseline."""
    reached = [run.summary["reached"] or {} for run in runs]

    def cells(name: str) -> list[str]:
        return [bytes_text(one[name]) if name in one else NOTHING for one in reached]

    facts = {
        "round": [count(one.get("round")) for one in reached],
        "bytes per client until then": cells("bytes_per_client"),
        "had all rows travelled": cells("whole_bytes_per_client"),
        "sent up by all clients until then": cells("bytes_up"),
        "sent down until then": cells("bytes_down"),
        "sent up in the whole run": [bytes_text(r.summary["bytes_up_total"]) for r in runs],
        "sent down in the whole run": [bytes_text(r.summary["bytes_down_total"]) for r in runs],
    }
    sentence = (
        "What had travelled when a run's validation figure was first as good as the simple "
        f"baseline's; {NOTHING} stands for a run that did not get there."
    )
    table = across("Bytes until the simple baseline was reached", _names(runs), facts)
    return Section("bytes", "Bytes until the baseline", sentence, tables=(table,))


def privacy_section(runs: Sequence[FinishedRun]) -> Section:
    """What the server sees, what differential privacy costs, what attacks found."""
    said: dict[str, list[str]] = {}
    for run in runs:
        found = run.summary["privacy"]
        text = " ".join(sentences(found)) if found else "All ratings are in one place."
        said.setdefault(text, []).append(run.name)
    notes = [f"{', '.join(names)}: {text}" for text, names in said.items()]
    tables = [_attacks(run) for run in runs if run.attacks]
    sentence = "What the server learns of clients from what it is sent."
    if not tables and any(run.summary["privacy"] for run in runs):
        notes.append("These runs were not attacked; pfr attack RUN does it.")
    return Section("privacy", "What the server sees", sentence, tuple(notes), tables=tuple(tables))


def _attacks(run: FinishedRun) -> Table:
    rows = tuple(
        (
            str(row["attack"]),
            str(row["figure"]),
            digits(row["value"]),
            digits(row["chance"]),
            count(row["round"]),
            count(row["clients"]),
        )
        for row in run.attacks
    )
    headings = "attack", "figure", "value", "by a guess", "rounds done", "clients attacked"
    return Table(f"Attacks on {run.name}", headings, rows)


def faults_section(runs: Sequence[FinishedRun]) -> Section:
    """Clients whose updates were not taken."""
    lost = [run.summary["clients_not_taken"] for run in runs]
    causes = dict.fromkeys(cause for one in lost for cause in one)
    facts = {c.replace("_", " "): [count(one.get(c, 0)) for one in lost] for c in causes}
    sentence = "How many updates of clients were not taken, all rounds together, and why."
    none = not any(any(one.values()) for one in lost)
    notes = ("All updates that were asked for were taken.",) if none else ()
    table = across("Updates not taken", _names(runs), facts)
    return Section("faults", "Faults", sentence, notes, tables=(table,))


def settings_section(runs: Sequence[FinishedRun]) -> Section:
    """Settings that differ between the runs, then all of them."""
    helps = _helps()
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    values = {name: [_text(run.settings.get(name)) for run in runs] for name in names}
    differ = {f"--{name}": texts for name, texts in values.items() if len(set(texts)) > 1}
    all_of_them = Table(
        "All settings",
        ("flag", "value", "what it means"),
        tuple(
            (f"--{name}", "; ".join(dict.fromkeys(texts)), helps.get(name, ""))
            for name, texts in values.items()
        ),
        numbers=False,
        search="Show settings with",
    )
    tables = [all_of_them]
    if differ:
        tables.insert(0, across("Settings that differ", _names(runs), differ, numbers=False))
    notes = ("The runs have all settings in common.",) if len(runs) > 1 and not differ else ()
    sentence = "The flags that make these runs again: first those that differ, then all."
    return Section("settings", "Settings", sentence, notes, tables=tuple(tables))


def _helps() -> dict[str, str]:
    """Flag -> its help text."""
    sections = vars(Config()).values()
    return {f.name: f.metadata["help"] for one in sections for f in dataclasses.fields(one)}


def _text(value: Any) -> str:
    """A setting as it is typed after its flag."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return NOTHING if value is None else str(value)


def _names(runs: Sequence[FinishedRun]) -> list[str]:
    return [run.name for run in runs]
