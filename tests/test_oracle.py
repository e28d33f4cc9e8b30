"""The compiled federation equals the plain loop of ``oracle.py``, on the change of every leaf."""

import itertools
from typing import Any

import jax
import numpy as np
import pytest
from federations import leaves_by_name, of_two_buckets, small_simulation, unpacked
from oracle import Client, Settings, is_shared, run_round

from pfr_jax.evaluation.implicit import IMPLICIT
from pfr_jax.simulation.loop import initial_state
from pfr_jax.simulation.setup import Simulation
from pfr_jax.simulation.start import initial_params, seed_keys

SHARED = {
    "personalfr": ("decoder", "profile"),
    "fedper": ("encoder",),
    "fedavg": ("encoder", "decoder", "profile"),
    "local": (),
}
ROUNDS = 3

# Every pair of (algorithm, clients, compression) with the rest dealt round, so that each value
# of each setting meets each algorithm and both kinds of client.
STRUCTURES = list(itertools.product(SHARED, (0, 3), (True, False)))
REST = itertools.cycle(
    [
        {"denominator": "clients", "clip_norm": 1.0},
        {"denominator": "contributors", "clip_norm": 1e3, "shared_momentum": "restart"},
        {"denominator": "sqrt", "clip_norm": 0.3, "private_momentum": "restart"},
        {
            "denominator": "sqrt",
            "clip_norm": 0.0,
            "private_momentum": "restart",
            "shared_momentum": "restart",
        },
        {"denominator": "contributors", "clip_norm": 0.05},
    ]
)
CASES = [
    {"algorithm": a, "num_clients": n, "partial_compression": c, "batch_size": 2, **next(REST)}
    for _ in range(2)
    for a, n, c in STRUCTURES
]
for number, case in enumerate(CASES):
    if number % 3 == 1:
        case["user_profile"] = True
    if number % 3 == 2:
        case["input_offset"] = 0.7
    if number % 4 >= 2:
        case["feedback"] = "implicit"
        case["center"] = "user" if number % 8 >= 6 else "none"
CASES += [
    {"algorithm": name, "upload": "decoy", "input_offset": 0.7, "center": "bias", **more}
    for name, more in [
        ("personalfr", {"engine": "factored"}),
        ("personalfr", {"engine": "active_rows", "user_profile": True}),
        ("fedper", {"clip_norm": 0.05}),
        ("fedavg", {"denominator": "sqrt"}),
    ]
]


def oracle_clients(simulation: Simulation) -> list[Client]:
    ratings, population = simulation.ratings, simulation.population
    dtype = population.buckets[0].values.dtype
    train = simulation.split.train
    values = np.zeros((ratings.num_users, ratings.num_items), dtype)
    observed = np.zeros(values.shape, bool)
    where = ratings.user[train], ratings.item[train]
    values[where] = simulation.standard.values(
        simulation.target[train], ratings.user[train], ratings.item[train]
    )
    observed[where] = True
    rated, decoys = observed.copy(), simulation.decoys
    where = decoys.user, decoys.item
    values[where] = simulation.standard.values(decoys.target, *where)
    observed[where] = True
    profile = np.zeros((ratings.num_users, 0), dtype)
    if simulation.config.data.user_profile:
        profile = ratings.profile.astype(dtype)
    start = {k: v.astype(np.float64) for k, v in leaves_by_name(initial_params(simulation)).items()}
    return [
        Client(
            *(values[users], observed[users], profile[users], dict(start)),
            rated=rated[users] if len(decoys) else None,
        )
        for users in map(
            lambda c: np.flatnonzero(population.client_of_user == c), range(population.num_clients)
        )
    ]


def oracle_settings(simulation: Simulation) -> Settings:
    config = simulation.config
    return Settings(
        shared=SHARED[config.run.algorithm],
        partial_compression=config.client.partial_compression,
        denominator=config.server.denominator,
        carry_private=config.client.private_momentum == "carry",
        carry_shared=config.client.shared_momentum == "carry",
        clip_norm=config.client.clip_norm,
        learning_rate=config.client.client_learning_rate,
        momentum=config.client.momentum,
        weight_decay=config.client.weight_decay,
        local_epochs=config.client.local_epochs,
        dropout=config.model.dropout,
        batch_size=config.client.batch_size,
        rounds=config.run.rounds,
        implicit=simulation.task is IMPLICIT,
        input_offset=config.model.input_offset,
    )


def one_client(simulation: Simulation, state: Any, client: int) -> tuple[dict[str, Any], Any]:
    """Unpadded private displacement by leaf name, and the client's whole state."""
    own = jax.tree.map(np.asarray, unpacked(simulation, state, client))
    rows = simulation.population.rows[client]
    private = {
        name: leaf[:rows] if "/item_" in name else leaf
        for name, leaf in leaves_by_name(own.private).items()
    }
    return private, own


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    """Largest difference relative to the largest change."""
    scale = np.abs(expected).max()
    assert np.abs(actual - expected).max() <= tolerance * scale + 1e-300, what


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, np.float64) for case in CASES] + [(case, np.float32) for case in CASES[:6]],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_change_of_every_leaf(case: dict[str, Any], dtype: type) -> None:
    with jax.enable_x64(dtype is np.float64):
        check_change_of_every_leaf(case, dtype, 1e-8 if dtype is np.float64 else 1e-3)


def check_change_of_every_leaf(case: dict[str, Any], dtype: type, tolerance: float) -> None:
    # That two buckets do what one does, float64 shows; of float32 the rounding is looked at.
    make = of_two_buckets if dtype is np.float64 else small_simulation
    simulation = make(dtype, **case)
    settings = oracle_settings(simulation)
    clients = oracle_clients(simulation)
    start = dict(clients[0].weights)
    server = {name: start[name] for name in start if is_shared(name, settings)}
    state = initial_state(simulation)
    step = jax.jit(simulation.algorithm.round)
    _, rounds_key = seed_keys(0)
    num_clients = len(clients)
    for round in range(ROUNDS):
        # The same clients come again, among others.
        cohort = np.unique([0, 1, num_clients - 1, (round + 2) % num_clients])
        key = jax.random.fold_in(rounds_key, round)
        laid_out = simulation.population.cohort(cohort, simulation.federation.block_sizes)
        state, report = step(state, simulation.population.buckets, laid_out, key)
        server = run_round(server, clients, list(cohort), round, key, settings)

        for name, leaf in leaves_by_name(state.server.shared).items():
            change = leaf.astype(np.float64) - start[name]
            assert_close(change, server[name] - start[name], tolerance, f"round {round}: {name}")
        for index, client in enumerate(clients):
            private, own = one_client(simulation, state, index)
            for name, change in private.items():
                expected = client.weights[name] - start[name]
                if "/item_" in name:
                    expected = expected[client.items]
                assert_close(change, expected, tolerance, f"client {index}: {name}")
            check_momentum(own, client, settings, tolerance)
    assert np.isfinite(float(report.loss))


def check_momentum(own: Any, client: Client, settings: Settings, tolerance: float) -> None:
    """The carried momentum of each part equals the oracle's; a client never sampled has none."""
    for opt_state, carried, rows in (
        (own.private_opt, settings.carry_private, client.items),
        (own.shared_opt, settings.carry_shared, shared_rows(client, settings)),
    ):
        if not carried:
            assert opt_state is None
            continue
        (trace,) = [s for s in jax.tree.leaves(opt_state, is_leaf=is_trace) if is_trace(s)]
        for name, leaf in leaves_by_name(trace.trace).items():
            expected = client.momentum.get(name)
            if expected is None:
                assert not leaf.any()
                continue
            if "/item_" in name:
                leaf, expected = leaf[: rows.sum()], expected[rows]
            assert_close(leaf, expected, tolerance, f"momentum of {name}")


def shared_rows(client: Client, settings: Settings) -> np.ndarray:
    return client.items if settings.partial_compression else np.full(len(client.items), True)


def is_trace(node: Any) -> bool:
    return hasattr(node, "trace") and hasattr(node, "_fields")
