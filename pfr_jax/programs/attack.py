"""Measures what the server learns of a run's clients from what it is sent.

    pfr attack runs/mine
    pfr attack runs/mine --after=0,20,100 --clients=100

The run is trained once more from its settings, which gives the same numbers, and attacked when so
many rounds are done. A table is shown, and all rows are written to attacks.json in the run's
folder. Rounds that the run did not have are left out.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from pfr_jax.errors import InputError
from pfr_jax.privacy.attacks.catalog import ATTACKS, attack, attacked_clients
from pfr_jax.privacy.attacks.view import Watcher
from pfr_jax.programs.flags import one_line_errors
from pfr_jax.report.tables import attacks_table
from pfr_jax.runs.settings import config_of
from pfr_jax.simulation.loading import load_ratings
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.setup import prepare

ARGUMENTS = ("RUN",)  # what stands beside the flags: the folder of a run
_AFTER = flags.DEFINE_list(
    "after",
    ["0", "20", "100", "last"],
    "Attack when so many rounds are done; last: all of them, where no upload follows whose ratings "
    "could be attacked.",
)
_CLIENTS = flags.DEFINE_integer("clients", 100, "How many clients are attacked.", 1)
_THOROUGH = flags.DEFINE_integer(
    "thorough_clients", 20, "Of these, by attacks that take seconds per client; 0: none.", 0
)


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        if len(argv) != 2:
            raise InputError("pfr attack RUN: name the folder of one run")
        folder = Path(argv[1])
        rows = attacks_of(folder)
        (folder / "attacks.json").write_text(json.dumps(rows, indent=1) + "\n")
        console = Console()
        console.print(attacks_table(rows))
        console.print(f"Rows in {folder / 'attacks.json'}", soft_wrap=True)


def attacks_of(folder: Path) -> list[dict[str, Any]]:
    """Trains a run again and attacks it; a row per figure."""
    config = config_of(folder)
    config = config.with_settings(checkpoints=False)
    simulation = prepare(config, *load_ratings(config.data))
    if simulation.spec.centralized:
        raise InputError(f"{folder}: --algorithm={simulation.spec.name} has no uploads to attack")
    wanted = rounds_wanted(_AFTER.value, config.run.rounds)
    if not wanted:
        raise InputError(f"--after={','.join(_AFTER.value)}: the run has {config.run.rounds}")
    clients = attacked_clients(simulation, _CLIENTS.value)
    some = clients[: _THOROUGH.value]

    def now(state: Any, round: int) -> list[dict[str, Any]]:
        quick = [one for one in ATTACKS if not one.takes_long]
        slow = [one for one in ATTACKS if one.takes_long] if len(some) else []
        return [
            *attack(simulation, state, round, watcher, clients, quick),
            *attack(simulation, state, round, watcher, some, slow),
        ]

    watcher = Watcher(simulation, clients=clients)
    rows = now(initial_state(simulation), 0) if 0 in wanted else []
    if max(wanted):
        for record in simulate(simulation, max(wanted)):
            watcher.add(record)
            if record.round in wanted:
                rows += now(record.state, record.round)
    return rows


def rounds_wanted(texts: Sequence[str], rounds: int) -> set[int]:
    """--after as numbers; those that a run of so many rounds has."""
    try:
        wanted = {rounds if text == "last" else int(text) for text in texts}
    except ValueError:
        raise InputError(f"--after={','.join(texts)}: want numbers of rounds, or last") from None
    if min(wanted, default=-1) < 0:
        raise InputError(f"--after={','.join(texts)}: want numbers from 0 on, or last")
    return {number for number in wanted if number <= rounds}
