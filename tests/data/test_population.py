"""The stacked population against plain loops over clients, users and ratings."""

import numpy as np
import pytest
from federations import ragged_ratings
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.data.population import build_population, deal_users
from pfr_jax.data.splits import random_split
from pfr_jax.data.table import Ratings

RATINGS = ragged_ratings()
TRAIN = random_split(len(RATINGS), 0.0, 0.2, seed=1).train


def slow_centers(ratings: Ratings, train: np.ndarray, center: str) -> list[float]:
    stars = [float(ratings.rating[n]) for n in train]
    mean = sum(stars) / len(stars)
    centers = []
    for user in range(ratings.num_users):
        own = [float(ratings.rating[n]) - mean for n in train if ratings.user[n] == user]
        shrunk = mean + sum(own) / (len(own) + 5)
        centers.append({"none": 0.0, "global": mean, "user": shrunk}[center])
    return centers


def check_against_loops(ratings, train, client_of_user, **settings):
    """Every entry of every client's place in the stacks, padding included."""
    population = build_population(ratings, train, client_of_user, **settings)
    centers = slow_centers(ratings, train, settings["center"])
    np.testing.assert_allclose(population.center, centers, rtol=1e-13)
    places, centred = set(), []
    for client in range(max(client_of_user) + 1):
        users = [u for u in range(ratings.num_users) if client_of_user[u] == client]
        own = [n for n in train if ratings.user[n] in users]
        items = sorted({int(ratings.item[n]) for n in own})
        bucket = population.buckets[population.bucket_of[client]]
        slot = population.slot_of[client]
        places.add((int(population.bucket_of[client]), int(slot)))

        num_slots, num_rows = bucket.values.shape[1:]
        assert bucket.steps == -(-len(users) // settings["batch_size"])
        assert num_slots % bucket.steps == 0 and len(users) <= num_slots
        assert num_slots // bucket.steps <= settings["batch_size"]
        assert bucket.client[slot] == client
        assert population.rows[client] == len(items)
        padding = [ratings.num_items] * (num_rows - len(items))
        assert bucket.items[slot].tolist() == items + padding
        padding = [ratings.num_users] * (num_slots - len(users))
        assert bucket.users[slot].tolist() == users + padding

        values, observed = np.zeros((num_slots, num_rows)), np.zeros((num_slots, num_rows), bool)
        for n in own:
            where = users.index(ratings.user[n]), items.index(ratings.item[n])
            values[where] = float(ratings.rating[n]) - centers[ratings.user[n]]
            observed[where] = True
            centred.append(values[where])
        np.testing.assert_allclose(bucket.values[slot], values, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(bucket.observed[slot], observed)
    # Every place of every bucket belongs to exactly one client.
    assert places == {(b, s) for b, own in enumerate(population.buckets) for s in range(len(own))}
    assert population.mean_value == pytest.approx(sum(centred) / len(centred), abs=1e-12)
    return population


@pytest.mark.parametrize("center", ["none", "global", "user"])
@pytest.mark.parametrize("num_clients", [0, 1, 4, 5])
@pytest.mark.parametrize(("batch_size", "max_buckets"), [(2, 4), (10, 1)])
def test_stacks_agree_with_loops(center, num_clients, batch_size, max_buckets):
    check_against_loops(
        RATINGS,
        TRAIN,
        deal_users(RATINGS.num_users, num_clients, seed=2),
        center=center,
        batch_size=batch_size,
        max_buckets=max_buckets,
    )


@pytest.mark.parametrize("num_clients", [0, 6])
def test_users_without_training_ratings(num_clients):
    """Users 0 and 5 have none; with 13 clients that is two clients without a row."""
    train = TRAIN[~np.isin(RATINGS.user[TRAIN], [0, 5])]
    settings = {"center": "user", "batch_size": 2, "max_buckets": 3}
    deal = deal_users(RATINGS.num_users, num_clients, seed=0)
    population = check_against_loops(RATINGS, train, deal, **settings)
    mean = RATINGS.rating[train].astype(np.float64).mean()
    assert population.center[[0, 5]] == pytest.approx([mean, mean])
    assert (population.rows == 0).sum() == (2 if num_clients == 0 else 0)


@given(users=st.integers(1, 60), clients=st.integers(1, 60), seed=st.integers(0, 2**40))
def test_users_are_dealt_evenly(users, clients, seed):
    clients = min(users, clients)
    client = deal_users(users, clients, seed)
    counts = np.bincount(client, minlength=clients)
    assert len(client) == users and len(counts) == clients
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(client, deal_users(users, clients, seed))


def test_dealing_depends_on_the_seed_and_mixes_users():
    deals = [deal_users(300, 10, seed) for seed in range(5)]
    assert len({tuple(deal) for deal in deals}) == 5
    # In file order a client would get every tenth user; at random, about 3 of its 30.
    in_order = np.arange(300) % 10
    assert all((deal == in_order).mean() < 0.2 for deal in deals)
    np.testing.assert_array_equal(deal_users(7, 0, 1), np.arange(7))


@pytest.fixture(scope="module")
def population():
    return build_population(RATINGS, TRAIN, np.arange(RATINGS.num_users), max_buckets=3)


@given(data=st.data(), size=st.integers(1, 13), block_size=st.integers(1, 7))
def test_a_cohort_holds_each_client_once(population, data, size, block_size):
    clients = np.array(data.draw(st.permutations(range(13)))[:size])
    cohort = population.cohort(clients, block_size)
    found = []
    for bucket, slots, blocks in zip(population.buckets, cohort.slots, cohort.blocks, strict=True):
        slots, used = np.asarray(slots), int(blocks) * block_size
        present = slots < len(bucket)
        found += np.asarray(bucket.client)[slots[present]].tolist()
        assert len(np.unique(slots)) == len(slots)  # as the scatter of the states requires
        assert not present[used:].any()  # the blocks in use hold all of them
        assert used - present.sum() < block_size  # and no block in use is empty
    assert sorted(found) == sorted(clients.tolist())
    assert float(cohort.clients) == size
    # Any other cohort of this size has the same shapes.
    shapes = [slots.shape for slots in cohort.slots]
    assert shapes == [slots.shape for slots in population.cohort(np.arange(size), block_size).slots]
    assert all(shape[0] % block_size == 0 for shape in shapes)
