"""Uploads with decoys: what leaves a client, what it weighs, and what nothing of it touches."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from federations import leaves_by_name, ragged_ratings, simulation_of, small_config

from pfr_jax.data.table import Ratings
from pfr_jax.errors import InputError
from pfr_jax.evaluation.evaluate import evaluate
from pfr_jax.runs.checkpoints.identity import identity
from pfr_jax.simulation.costs import Traffic, traffic_before, traffic_ledger
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.setup import Simulation


def wide_ratings() -> Ratings:
    """From 2 to 23 of 38 items per user: two in three of them have rated others than the third."""
    few = ragged_ratings()
    item = np.where(few.user % 3 == 0, few.item, few.item + 15)
    return Ratings.from_columns(few.user, item, few.rating, few.scale, "wide")


def decoy_simulation(**changes: Any) -> Simulation:
    return simulation_of(small_config(upload="decoy", **changes), wide_ratings())


def rows_of(simulation: Simulation, user: int) -> np.ndarray:
    """The items of a user's ratings and decoys, ascending."""
    parts = simulation.examples, simulation.decoys
    return np.sort(np.concatenate([part.item[part.user == user] for part in parts]))


def upload_of(simulation: Simulation, client: int) -> Any:
    """The payload of one client alone."""
    population, state = simulation.population, initial_state(simulation)
    bucket = population.bucket_of[client]
    table = population.buckets[bucket]
    slots = np.array([population.slot_of[client], len(table)], np.int32)  # and an empty place
    _, payload, _ = simulation.federation.engine.train_block(
        *(simulation.federation.side, state.start, state.server.shared, state.clients[bucket]),
        *(table, jnp.asarray(slots), jax.random.key(0), jnp.float32(0.1)),
    )
    return payload


@pytest.mark.parametrize(
    "how",
    [
        {"engine": "factored"},
        {"engine": "active_rows"},
        {"algorithm": "fedavg", "engine": "factored"},
        {"algorithm": "fedper"},
        {"algorithm": "ditto"},
        {"model": "mf"},
    ],
    ids=str,
)
def test_a_payload_has_the_rows_of_ratings_and_decoys_and_all_change(how: dict[str, Any]) -> None:
    """No weight decay, which would move rows by itself."""
    simulation = decoy_simulation(weight_decay=0.0, dropout=0.0, center="user", **how)
    for client in (0, 4, 7):
        payload = upload_of(simulation, client)
        items = np.asarray(payload.items)[0]
        items = items[items < simulation.ratings.num_items]
        np.testing.assert_array_equal(items, rows_of(simulation, client))
        assert len(items) & (len(items) - 1) == 0
        for name, leaf in leaves_by_name(payload.delta).items():
            if "/item_" in name:
                change = np.abs(leaf[0][: len(items)].reshape(len(items), -1)).max(axis=1)
                assert (change > 0).all(), name


@pytest.mark.parametrize("engine", ["factored", "active_rows"])
def test_a_private_encoder_is_told_of_real_ratings_alone(engine: str) -> None:
    """Other made-up ratings change what is uploaded, and nothing that is private."""
    simulation = decoy_simulation(engine=engine, clip_norm=0.0, local_epochs=1, momentum=0.0)
    (bucket, *_), state = simulation.population.buckets, initial_state(simulation)
    others = np.where(bucket.observed & ~bucket.known, -bucket.values + 1, bucket.values)

    def trained(values: Any) -> Any:
        return simulation.federation.engine.train_block(
            *(simulation.federation.side, state.start, state.server.shared, state.clients[0]),
            *(dataclasses.replace(bucket, values=jnp.asarray(values)), jnp.arange(2)),
            *(jax.random.key(0), jnp.float32(0.1)),
        )

    one, other = trained(bucket.values), trained(others)
    jax.tree.map(np.testing.assert_array_equal, one[0].private, other[0].private)
    kernels = [run[1].delta["decoder"]["output"]["item_kernel"] for run in (one, other)]
    assert not np.allclose(*kernels)


@pytest.mark.parametrize("algorithm", ["personalfr", "fedavg", "fedper"])
def test_evaluation_sees_real_ratings_alone(algorithm: str) -> None:
    """Figures of a federation that nothing has trained, with decoys and without."""
    how = {"algorithm": algorithm, "validation_fraction": 0.1, "center": "adaptive"}
    how |= {"standardize": True, "weighting": "ratings", "output_bias": "item"}
    found = []
    for upload in ("plain", "decoy"):
        simulation = simulation_of(small_config(upload=upload, **how), wide_ratings())
        found.append(evaluate(simulation, initial_state(simulation), np.inf, last=True))
        # Nobody and nothing is warm by decoys, and the centre is that of ratings.
        centre = simulation.standard
        found[-1] = found[-1], simulation.fallback, centre.user, centre.item, centre.scale
    (one, *public), (other, *likewise) = found
    assert one.test is not None and one.test.rmse == pytest.approx(other.test.rmse, rel=1e-6)
    assert one.validation.rmse == pytest.approx(other.validation.rmse, rel=1e-6)
    jax.tree.map(np.testing.assert_array_equal, public, likewise)


def test_implicit_feedback_ranks_without_what_was_seen() -> None:
    """Decoys stay candidates of a list: their users have not rated them."""
    found = []
    for upload in ("plain", "decoy"):
        config = small_config(
            upload=upload, feedback="implicit", implicit_threshold=3.5, top_k=3, dropout=0.0
        )
        simulation = simulation_of(config, wide_ratings())
        found.append(evaluate(simulation, initial_state(simulation), np.inf, last=True).test)
    assert found[0] == found[1]


def test_new_users_have_no_decoys_and_are_judged_as_before() -> None:
    simulation = decoy_simulation(holdout_users=0.3, rounds=1)
    new = np.flatnonzero(simulation.new_users)
    assert len(new) and not np.isin(simulation.decoys.user, new).any()
    record = list(simulate(simulation))[-1]
    assert np.isfinite(record.evaluation.new_users["adapted_encoder"].rmse)


def test_bytes_of_a_round_by_hand() -> None:
    simulation = decoy_simulation()
    rows = simulation.population.rows
    rated = np.bincount(simulation.examples.user, minlength=13)
    wanted = [2 ** int(np.ceil(np.log2(2 * n))) for n in rated]
    popular = len(np.unique(simulation.examples.item))
    assert rows.tolist() == [min(n, popular) for n in wanted]
    dense, row = 4 * ((5 * 7 + 7) + 2 * 7), 4 * (7 + 1)  # decoder 5 -> 7, its norm; output
    asked = np.array([0, 4])
    up = 2 * dense + row * (rows[0] + rows[4])
    traffic = traffic_ledger(simulation).round_traffic(rows[asked], rows[asked])
    assert traffic == Traffic(int(up), 4 * int(rows[0] + rows[4]), int(up))


@pytest.mark.parametrize(
    ("how", "up_per_item", "up", "down_per_row", "down"),
    [
        ({"center": "none"}, 1, 0, 0, 0),  # how many rated it
        # Besides, in 10 sweeps a sum up and an effect down; for the mean a sum and a count.
        ({"center": "bias"}, 1 + 10, 2, 10, 1),
        ({"center": "none", "output_bias": "item"}, 1 + 1, 2, 0, 1),
        ({"center": "none", "weighting": "ratings"}, 1, 1, 0, 1),  # the rows of the mean user
    ],
)
def test_bytes_before_the_first_round_by_hand(how, up_per_item, up, down_per_row, down) -> None:
    """A client sends a number for every item: which it has no number for it would not have rated.

    And everybody is told how popular every item is.
    """
    simulation = decoy_simulation(**how)
    clients, items, rows = 13, 38, int(simulation.population.rows.sum())
    assert traffic_before(simulation) == Traffic(
        payload_up=4 * clients * (up_per_item * items + up),
        index_up=4 * rows if down_per_row else 0,
        payload_down=4 * (clients * (items + down) + down_per_row * rows),
    )


def test_a_checkpoint_knows_its_decoys() -> None:
    one = identity(decoy_simulation(), {})
    assert identity(decoy_simulation(), {}) == one
    simulation = decoy_simulation()
    target = simulation.decoys.target.copy()
    target[0] += 1
    other = dataclasses.replace(
        simulation, decoys=dataclasses.replace(simulation.decoys, target=target)
    )
    assert identity(other, {})["examples"] != one["examples"]
    plain = simulation_of(small_config(), wide_ratings())
    assert not len(plain.decoys) and plain.population.buckets[0].rated is None


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"algorithm": "joint"}, "--algorithm=joint uploads nothing"),
        ({"algorithm": "local"}, "--algorithm=local uploads nothing"),
        ({"partial_compression": False}, "no row tells what was rated"),
        ({"feedback": "ranking"}, "negatives of --feedback=ranking"),
        ({"num_clients": 3}, r"--num_clients=3\); take 0"),
    ],
)
def test_what_does_not_go_with_decoys_is_refused(how: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=f"--upload=decoy: .*{why}"):
        small_config(upload="decoy", **how)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_there_must_be_decoys(value: float) -> None:
    with pytest.raises(InputError, match="--decoys_per_rating"):
        small_config(upload="decoy", decoys_per_rating=value)
