"""What the server makes of payloads: by hand, against a loop, and what must not change it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfr_jax.aggregation import add_flat_rows, add_payload, add_rows, cohort_sum, empty_sum
from pfr_jax.client.block import Payload, hand_over
from pfr_jax.client.screening import Verdict
from pfr_jax.server import DENOMINATORS, ServerState, server_step

NUM_ITEMS, WIDTH = 5, 2
PLAIN = optax.sgd(1.0)


class Changes(NamedTuple):
    """What each client of a block would hand over: all leaves f[B, ...]."""

    delta: dict
    items: jax.Array | None
    present: jax.Array


def handed_over(one: Changes) -> Payload:
    nobody = jnp.zeros((2,), jnp.int32)
    verdict = Verdict(one.present > 0, one.present, nobody)
    return hand_over(one.delta, one.items, verdict, NUM_ITEMS)


add = jax.jit(lambda total, one: add_payload(total, handed_over(one)))
step = jax.jit(server_step, static_argnames=("denominator", "optimizer"))


def shared_part(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "decoder": {
            "norm": {"bias": jnp.asarray(rng.normal(size=3), jnp.float32)},
            "output": {
                "item_bias": jnp.asarray(rng.normal(size=NUM_ITEMS), jnp.float32),
                "item_kernel": jnp.asarray(rng.normal(size=(NUM_ITEMS, WIDTH)), jnp.float32),
            },
        }
    }


def payload(held: list[list[int]], seed: int = 1, rows: int = NUM_ITEMS, empty: int = 0) -> Changes:
    """A client per list of item rows, each client's changes drawn by (seed, client); padded."""
    num_clients = len(held) + empty
    items = np.full((num_clients, rows), NUM_ITEMS, np.int32)
    kernel, bias = np.zeros((num_clients, rows, WIDTH)), np.zeros((num_clients, rows))
    dense = np.full((num_clients, 3), 1e6)  # what an empty place computes must not count
    for client, own in enumerate(held):
        rng = np.random.default_rng([seed, client])
        items[client, : len(own)] = own
        kernel[client, : len(own)] = rng.normal(size=(len(own), WIDTH))
        bias[client, : len(own)] = rng.normal(size=len(own))
        dense[client] = rng.normal(size=3)
    kernel[len(held) :], bias[len(held) :] = 1e6, 1e6
    return make_payload(dense, bias, kernel, items, len(held))


def make_payload(dense, bias, kernel, items, present: int) -> Changes:
    f32 = jnp.float32
    return Changes(
        delta={
            "decoder": {
                "norm": {"bias": jnp.asarray(dense, f32)},
                "output": {
                    "item_bias": jnp.asarray(bias, f32),
                    "item_kernel": jnp.asarray(kernel, f32),
                },
            }
        },
        items=None if items is None else jnp.asarray(items, jnp.int32),
        present=jnp.asarray(np.arange(len(dense)) < present, f32),
    )


def aggregate(shared, payloads, denominator="clients", optimizer=PLAIN):
    total = empty_sum(shared, NUM_ITEMS, np.float32)
    for one in payloads:
        total = add(total, one)
    state = ServerState(shared, optimizer.init(shared))
    of = DENOMINATORS[denominator]
    told = cohort_sum(total, None, None, of.counts)
    return step(state, told, of, optimizer).shared["decoder"], total


def select(one: Changes, order) -> Changes:
    order = np.asarray(order)
    return jax.tree.map(lambda leaf: leaf[order], one)


@pytest.mark.parametrize(
    ("denominator", "divisors"),
    [
        # Rows 0..4 are held by 2, 1, 1, 1 and 0 of 2 clients.
        ("clients", [2, 2, 2, 2, 2]),
        ("contributors", [2, 1, 1, 1, 1]),
        ("sqrt", [2, 2**0.5, 2**0.5, 2**0.5, 2**0.5]),
    ],
)
def test_denominators_by_hand(denominator, divisors):
    shared = shared_part()
    bias = [[1.0, 2.0, 7.0], [10.0, 20.0, 30.0]]
    items = [[0, 3, NUM_ITEMS], [0, 1, 2]]
    kernel = np.stack([bias, 2 * np.array(bias)], axis=-1)
    one = make_payload([[1.0, 2.0, 3.0], [3.0, 4.0, -3.0]], bias, kernel, items, 2)
    new, total = aggregate(shared, [one], denominator)
    assert total.holders.tolist() == [2, 1, 1, 1, 0]
    assert float(total.clients) == 2
    old = shared["decoder"]
    change = np.array([11.0, 20.0, 30.0, 2.0, 0.0]) / divisors
    np.testing.assert_allclose(
        new["output"]["item_bias"] - old["output"]["item_bias"], change, atol=1e-5
    )
    np.testing.assert_allclose(
        new["output"]["item_kernel"] - old["output"]["item_kernel"],
        np.stack([change, 2 * change], axis=-1),
        atol=1e-5,
    )
    np.testing.assert_allclose(new["norm"]["bias"] - old["norm"]["bias"], [2, 3, 0], atol=1e-6)


ROWS = st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=NUM_ITEMS)
# A fixed number of clients: every other one would be another program to compile.
HELD = st.lists(ROWS, min_size=4, max_size=4)
NAMES = st.sampled_from(sorted(DENOMINATORS))


@settings(deadline=None)
@given(held=HELD, name=NAMES, order=st.permutations(range(6)))
def test_order_blocks_and_empty_places_change_nothing(held, name, order):
    shared = shared_part()
    one = payload(held, empty=2)
    expected, _ = aggregate(shared, [one], name)
    shuffled = select(one, order)
    for payloads in ([shuffled], [select(shuffled, order[:3]), select(shuffled, order[3:])]):
        actual, _ = aggregate(shared, payloads, name)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), actual, expected
        )


@settings(deadline=None)
@given(held=HELD, name=NAMES)
def test_rows_that_nobody_holds_stay_bit_for_bit(held, name):
    shared = shared_part()
    new, _ = aggregate(shared, [payload(held)], name)
    nobody = sorted(set(range(NUM_ITEMS)) - {item for own in held for item in own})
    for leaf in ("item_bias", "item_kernel"):
        before, after = (part["output"][leaf] for part in (shared["decoder"], new))
        assert np.asarray(after)[nobody].tobytes() == np.asarray(before)[nobody].tobytes()


@settings(deadline=None)
@given(held=HELD, name=NAMES)
def test_sum_agrees_with_a_loop_over_clients(held, name):
    shared, one = shared_part(), payload(held)
    new, _ = aggregate(shared, [one], name)
    kernels = np.asarray(one.delta["decoder"]["output"]["item_kernel"], np.float64)
    for item in range(NUM_ITEMS):
        changes = [kernels[c, own.index(item)] for c, own in enumerate(held) if item in own]
        n = max(1, len(changes))
        divisor = {"clients": 4, "expected": 4, "contributors": n, "sqrt": (4 * n) ** 0.5}[name]
        expected = np.asarray(shared["decoder"]["output"]["item_kernel"][item], np.float64)
        expected = expected + sum(changes, np.zeros(WIDTH)) / divisor
        np.testing.assert_allclose(new["output"]["item_kernel"][item], expected, atol=1e-5)
    # What is not per item is divided by all clients, whoever holds what.
    mean = np.asarray(one.delta["decoder"]["norm"]["bias"], np.float64).sum(axis=0) / 4
    change = new["norm"]["bias"] - shared["decoder"]["norm"]["bias"]
    np.testing.assert_allclose(change, mean, atol=1e-5)


@pytest.mark.parametrize("name", ["contributors", "sqrt"])
def test_when_everyone_holds_every_row_all_denominators_are_the_plain_mean(name):
    shared = shared_part()
    one = payload([list(range(NUM_ITEMS))] * 4, empty=1)
    everything = Changes(one.delta, None, one.present)  # partial compression off
    plain, _ = aggregate(shared, [one], "clients")
    for payloads in ([one], [everything]):
        actual, total = aggregate(shared, payloads, name)
        assert total.holders.tolist() == [4] * NUM_ITEMS
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), actual, plain)


def test_server_sgd_1_is_the_mean_of_the_clients_own_weights():
    """The federated mean as the paper writes it: of weights, not of changes."""
    shared = shared_part()
    one = payload([list(range(NUM_ITEMS))] * 3)
    new, _ = aggregate(shared, [one])
    weights = jax.tree.map(
        lambda old, change: np.asarray(old) + np.asarray(change), shared, one.delta
    )["decoder"]
    jax.tree.map(
        lambda a, own: np.testing.assert_allclose(a, np.mean(own, axis=0), atol=1e-6), new, weights
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from([(), (3,), (4, 3), (1, 2)]))
@settings(max_examples=30)
def test_rows_are_added_the_same_way_on_every_platform(seed: int, row: tuple[int, ...]) -> None:
    """Against a loop; a bias, a row, and rows of several members. A TPU adds flat ones."""
    rng = np.random.default_rng(seed)
    leaf = rng.integers(-9, 9, (NUM_ITEMS, *row)).astype(np.float32)
    delta = rng.integers(-9, 9, (2, 3, *row)).astype(np.float32)
    items = rng.integers(0, NUM_ITEMS + 1, (2, 3)).astype(np.int32)
    wanted = leaf.copy()
    for item, change in zip(items.reshape(-1), delta.reshape(-1, *row), strict=True):
        if item < NUM_ITEMS:
            wanted[item] += change
    for way in (add_rows, add_flat_rows):
        found = way(jnp.asarray(leaf), jnp.asarray(delta), jnp.asarray(items))
        np.testing.assert_array_equal(found, wanted)
