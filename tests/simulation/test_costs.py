"""Bytes on paper against the arrays that really cross from client to server."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from federations import leaves_by_name, small_simulation

from pfr_jax.client.block import Payload
from pfr_jax.models.autoencoder import AutoEncoder
from pfr_jax.models.model import init_params
from pfr_jax.simulation.costs import client_costs, traffic_ledger
from pfr_jax.simulation.ledger import Traffic, shared_ledger
from pfr_jax.simulation.loop import initial_state, simulate
from pfr_jax.simulation.rounds import state_shapes
from pfr_jax.simulation.setup import Simulation


def payloads(simulation: Simulation) -> list[tuple[Payload, Any]]:
    """Every bucket's clients in one block, with two empty places: shapes only, nothing is run."""
    state = state_shapes(simulation.algorithm, simulation.model, simulation.population.buckets)
    out = []
    for bucket, states in zip(simulation.population.buckets, state.clients, strict=True):
        slots = jnp.arange(len(bucket) + 2)
        payload = jax.eval_shape(
            lambda state, states, bucket, slots: simulation.federation.engine.train_block(
                simulation.federation.side,
                state.start,
                state.server.shared,
                states,
                bucket,
                slots,
                jax.random.key(0),
                jnp.asarray(0.1, bucket.values.dtype),
            )[1],
            state,
            states,
            bucket,
            slots,
        )
        out.append((payload, bucket))
    return out


def sent_bytes(payload: Payload, rows: int) -> tuple[int, int]:
    """(change of the shared part, indices) of one client, without the padding of its rows."""

    def nbytes(leaf: Any, name: str) -> int:
        shape = leaf.shape  # summed over clients: one client's is of the same shape
        if "/item_" in name and payload.items is not None:
            shape = (rows, *shape[2:])
        return int(np.prod(shape)) * leaf.dtype.itemsize

    flat, _ = jax.tree_util.tree_flatten_with_path(payload.delta)
    change = sum(nbytes(leaf, "/".join(k.key for k in path)) for path, leaf in flat)
    return change, 0 if payload.items is None else rows * payload.items.dtype.itemsize


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("algorithm", ["personalfr", "fedavg"])
def test_counted_bytes_are_those_of_the_payload(algorithm, compressed, dtype):
    with jax.enable_x64(dtype is np.float64):
        simulation = small_simulation(dtype, algorithm=algorithm, partial_compression=compressed)
        population, ledger = simulation.population, traffic_ledger(simulation)
        total = Traffic()
        for payload, bucket in payloads(simulation):
            assert payload.present.shape == (len(bucket) + 2,)
            for client in bucket.client.tolist():
                rows = population.rows[client]
                change, indices = sent_bytes(payload, rows)
                traffic = ledger.round_traffic(*2 * [population.rows[[client]]])
                assert traffic == Traffic(change, indices, change)
                total += traffic
        assert total == ledger.round_traffic(*2 * [population.rows])


# Paper: 256 and 128 wide, ML-100K with 1,682 items, f32.
HIDDEN = (128 * 256 + 256) + 2 * 256  # decoder 128 -> 256 and its norm
ROW = 256 + 1  # weights and bias of an output row
ENCODER_HIDDEN = 256 + 2 * 256 + (256 * 128 + 128) + 2 * 128  # input bias, norm, 256 -> 128, norm


@pytest.mark.parametrize(
    ("shared", "compressed", "up", "index", "total"),
    [
        # 33,536 + 106 x 257 = 60,778 numbers, 106 indices
        (("decoder",), True, 4 * (HIDDEN + 106 * ROW), 4 * 106, 243_536),
        # the whole decoder: 33,536 + 1,682 x 257 = 465,810 numbers
        (("decoder",), False, 4 * (HIDDEN + 1682 * ROW), 0, 1_863_240),
        # + encoder: 33,920 + 256 per item
        (
            ("encoder", "decoder"),
            True,
            4 * (HIDDEN + ENCODER_HIDDEN + 106 * (ROW + 256)),
            4 * 106,
            487_760,
        ),
        (
            ("encoder", "decoder"),
            False,
            4 * (HIDDEN + ENCODER_HIDDEN + 1682 * (ROW + 256)),
            0,
            3_721_288,
        ),
    ],
)
def test_paper_sizes_by_hand(shared, compressed, up, index, total):
    """A mean client of ML-100K has 106 ratings."""
    model = AutoEncoder((256, 128), 1682)
    params = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    ledger = shared_ledger({name: params[name] for name in shared}, 1682, compressed)
    traffic = ledger.round_traffic(*2 * [np.array([106])])
    assert traffic == Traffic(payload_up=up, index_up=index, payload_down=up)
    assert (traffic.up, traffic.down) == (total, total - index)
    three = ledger.round_traffic(*2 * [np.array([106, 106, 106])])
    assert three == traffic + traffic + traffic


def test_costs_of_a_client_by_hand():
    """Two clients of ML-100K's sizes with 100 and 112 items, one user each, 5 epochs.

    A pass: 6 x (2 x 256 x 128 + 106 x 256) + 4 x 106 x 256 = 664,576 in the mean, five times that.
    Kept: an encoder of 33,920 + 106 x 256 numbers twice (momentum), and 106 ratings.
    """
    model = AutoEncoder((256, 128), 1682)
    params = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    rows, users = np.array([100, 112]), np.array([1, 1])
    private, shared = {"encoder": params["encoder"]}, {"decoder": params["decoder"]}
    ledger = shared_ledger(shared, 1682, True)
    costs = client_costs(private, ledger, rows, users, model, 5, (1, 0))
    assert costs.flops_per_round == 5 * 664_576
    assert costs.resident_bytes == 2 * 4 * (ENCODER_HIDDEN + 106 * 256) + 8 * 106
    assert costs.ranking_download_bytes == 4 * (HIDDEN + 1682 * ROW)
    whole = client_costs(private, shared_ledger(shared, 1682, False), rows, users, model, 5, (1, 1))
    assert whole.flops_per_round == 5 * (6 * (2 * 256 * 128 + 1682 * 256) + 4 * 106 * 256)
    assert whole.resident_bytes - costs.resident_bytes == 4 * (HIDDEN + 1682 * ROW)


def test_items_own_bias_is_paid_for_in_the_first_round():
    common = {"rounds": 2, "max_buckets": 1, "local_epochs": 1, "test_fraction": 0.0}
    plain, paid = (
        [r.traffic for r in simulate(small_simulation(output_bias=bias, **common))]
        for bias in ("zero", "item")
    )
    ratings = len(small_simulation(**common).split.train)
    # A sum and a count per row; a sum and a count per client, and the mean sent back.
    assert paid[0].payload_up - plain[0].payload_up == 8 * ratings + 8 * 13
    assert paid[0].index_up - plain[0].index_up == 4 * ratings
    assert paid[1] == plain[1] and paid[0].down - plain[0].down == 4 * 13


def test_rounds_report_the_rows_of_their_own_cohort():
    simulation = small_simulation(rounds=2, max_buckets=1, local_epochs=1, test_fraction=0.0)
    shared = leaves_by_name(initial_state(simulation).server.shared)
    dense = sum(leaf.nbytes for name, leaf in shared.items() if "/item_" not in name)
    row = sum(leaf[0].nbytes for name, leaf in shared.items() if "/item_" in name)
    rows = [
        len({int(i) for i in simulation.ratings.item[simulation.split.train][own]})
        for own in (simulation.ratings.user[simulation.split.train] == u for u in range(13))
    ]
    for record in simulate(simulation):
        sent = sum(rows[client] for client in record.clients)
        assert record.traffic.down == len(record.clients) * dense + sent * row
        assert record.traffic.up == record.traffic.down + 4 * sent
