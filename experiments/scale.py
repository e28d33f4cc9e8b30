"""What a round costs by users, items and devices: measured, modelled, checked, and foretold.

    python -m experiments.scale

Rounds of the default recipe (bfloat16, six block shapes) are timed on slices: few enough users to
be here, with as many items and as long a tail of ratings as a larger federation has. A round costs
what its cohort does, so its milliseconds are modelled as

    a + b C / D + c R / D + e I

of C clients in the cohort, R rows (distinct items of a client) of theirs, D devices and I items;
a, b, c, e >= 0 make the sum of squared relative errors least over the sizes of ``FITTED``. Those of
``CHECKED`` were not fitted. Bytes need no measurement: clients' states and traffic are those of the
run's own estimate, from shapes, and stand beside the real ones. ``--output`` has a row per size,
and the last row is ``TARGET``, of which nothing is run.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from absl import app, flags
from scipy.optimize import nnls

import pfr_jax
from pfr_jax.data.splits import random_split
from pfr_jax.data.synthetic import PRESETS, SyntheticSpec, generate
from pfr_jax.models.item_rows import tree_bytes
from pfr_jax.population.devices import client_mesh
from pfr_jax.programs.ahead_of_time.shapes import bare_simulation, users_like
from pfr_jax.simulation import memory
from pfr_jax.simulation.costs import traffic_ledger
from pfr_jax.simulation.setup import Simulation

WHOLE = PRESETS["synthetic-million"]
ROUNDS, TIMED = 24, 14  # of a slice; the last ones count, when most clients have been there before
COHORT = 0.25  # of a slice's clients


@dataclass(frozen=True)
class Size:
    users: int
    items: int
    ratings: int  # of a user, in the mean
    devices: int = 2
    cohort: float = COHORT

    @property
    def spec(self) -> SyntheticSpec:
        """The target's ratings, of so many users and items."""
        return dataclasses.replace(
            WHOLE,
            name=f"{self.users} users, {self.items} items",
            num_users=self.users,
            num_items=self.items,
            num_ratings=self.users * self.ratings,
            max_per_user=min(7 * self.items // 10, WHOLE.max_per_user),
            max_per_item=self.users,
        )

    @property
    def config(self) -> pfr_jax.Config:
        return pfr_jax.Config().with_settings(
            state_dtype="bfloat16",
            max_buckets=6,
            cohort_fraction=self.cohort,
            num_devices=self.devices,
            rounds=ROUNDS,
            eval_every=ROUNDS + 1,
        )


FITTED = (
    Size(4_000, 2_000, 80),
    Size(4_000, 2_000, 80, devices=1),
    Size(8_000, 5_000, 143),
    Size(4_000, 20_000, 143, devices=1),
    Size(12_000, 10_000, 60),
    Size(3_000, 50_000, 250),
    Size(16_000, 20_000, 100),
    Size(2_000, 100_000, 143),
)
CHECKED = (Size(8_000, 20_000, 200), Size(24_000, 10_000, 143), Size(20_000, 100_000, 143))
TARGET = Size(WHOLE.num_users, WHOLE.num_items, 143, cohort=0.01)
_OUTPUT = flags.DEFINE_string("output", "experiments/results/scale_cpu.csv", "The CSV file.")


def cohort_facts(size: Size, simulation: Simulation) -> dict[str, Any]:
    """What a round and the clients' states come to, by shapes: ``simulation`` may be bare."""
    needed = memory.estimate(simulation)
    rows = simulation.population.rows[simulation.population.trainable]
    share = simulation.cohort_size / len(rows)
    ledger = traffic_ledger(simulation)
    of_all = ledger.round_traffic(rows, rows)  # if all clients took part
    return {
        **asdict(size),
        "clients": simulation.cohort_size,
        "rows": share * float(rows.sum()),
        "state_gib": needed.clients_all / memory.GIB,
        "traffic_mib": share * (of_all.up + of_all.down) / 2**20,
    }


def bare(size: Size) -> Simulation:
    users = users_like(size.spec, size.config.data)
    return bare_simulation(size.config, users, client_mesh(size.devices))


def measured(size: Size) -> dict[str, Any]:
    """The same of real rounds, and their milliseconds."""
    ratings, data = generate(size.spec), size.config.data
    split = random_split(len(ratings), data.validation_fraction, data.test_fraction, 0)
    simulation = pfr_jax.prepare(size.config, ratings, split)
    rounds = list(
        (record.timing.train, record.traffic, tree_bytes(record.state.clients))
        for record in itertools.islice(pfr_jax.simulate(simulation), ROUNDS - 1)
    )
    seconds, traffic, states = zip(*rounds[-TIMED:], strict=True)
    real = np.mean([one.up + one.down for one in traffic]) / 2**20
    return {
        "milliseconds": 1e3 * float(np.median(seconds)),
        "real_traffic_mib": float(real),
        "real_state_gib": states[-1] / memory.GIB,
    }


def terms(table: pd.DataFrame) -> np.ndarray:
    """What milliseconds are a sum of, f64[sizes, 4]."""
    per_device = table[["clients", "rows"]].div(table["devices"], axis=0)
    return np.column_stack([np.ones(len(table)), per_device, table["items"]])


def main(argv: Sequence[str]) -> None:
    del argv
    pfr_jax.set_up_jax()
    rows = []
    for kind, sizes in (("fitted", FITTED), ("checked", CHECKED)):
        for size in sizes:
            rows.append({"kind": kind} | cohort_facts(size, bare(size)) | measured(size))
            print(pd.Series(rows[-1]).to_frame().T.to_string(index=False), flush=True)
    rows.append({"kind": "target"} | cohort_facts(TARGET, bare(TARGET)))
    table = pd.DataFrame(rows)
    fitted = table[table["kind"] == "fitted"]
    relative = terms(fitted) / fitted["milliseconds"].to_numpy()[:, None]
    weights, _ = nnls(relative, np.ones(len(fitted)))
    table["modelled_ms"] = terms(table) @ weights
    table["error"] = table["modelled_ms"] / table["milliseconds"] - 1
    print(
        f"ms = {weights[0]:.3g} + {weights[1]:.3g} C/D + {weights[2]:.3g} R/D + {weights[3]:.3g} I"
    )
    print(table.to_string(index=False))
    table.to_csv(_OUTPUT.value, index=False, float_format="%.5g")


if __name__ == "__main__":
    app.run(main)
