"""The stacked population against plain loops over clients, users and ratings."""

import numpy as np
import pytest
from federations import ragged_ratings
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.data.splits import random_split
from pfr_jax.population.devices import client_mesh
from pfr_jax.population.population import deal_users, deal_with_new_users
from pfr_jax.population.stacking import Held, build_population

RATINGS = ragged_ratings()
TRAIN = random_split(len(RATINGS), 0.0, 0.2, seed=1).train


PROFILE = np.random.default_rng(2).integers(0, 2, (RATINGS.num_users, 3)).astype(np.float32)


def build(train, client_of_user, **settings):
    value = RATINGS.rating[train].astype(np.float64) - 3
    return build_population(
        Held(RATINGS.user[train], RATINGS.item[train], value, PROFILE),
        client_of_user,
        num_items=RATINGS.num_items,
        **settings,
    )


def check_against_loops(ratings, train, client_of_user, **settings):
    """Every entry of every client's place in the stacks, padding included."""
    population = build(train, client_of_user, **settings)
    places = set()
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
            values[where] = float(ratings.rating[n]) - 3
            observed[where] = True
        np.testing.assert_allclose(bucket.values[slot], values, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(bucket.observed[slot], observed)
        np.testing.assert_array_equal(bucket.profile[slot][: len(users)], PROFILE[users])
        assert not bucket.profile[slot][len(users) :].any()
    # Every place of every bucket belongs to exactly one client.
    assert places == {(b, s) for b, own in enumerate(population.buckets) for s in range(len(own))}
    return population


@pytest.mark.parametrize("num_clients", [0, 1, 4, 5])
@pytest.mark.parametrize(("batch_size", "max_buckets"), [(2, 4), (10, 1)])
def test_stacks_agree_with_loops(num_clients, batch_size, max_buckets):
    check_against_loops(
        RATINGS,
        TRAIN,
        deal_users(RATINGS.num_users, num_clients, seed=2),
        batch_size=batch_size,
        max_buckets=max_buckets,
    )


def test_more_buckets_than_a_byte_can_number():
    count = 8 * np.arange(1, 151)
    user, item = np.repeat(np.arange(150), count), np.concatenate([np.arange(n) for n in count])
    held = Held(user, item, np.ones(len(user)), np.zeros((150, 0), np.float32))
    population = build_population(held, np.arange(150), num_items=1200, max_buckets=150)
    assert len(population.buckets) == 150
    for client, bucket in enumerate(population.buckets):
        assert bucket.client.tolist() == [client] and bool(bucket.observed.all())


@pytest.mark.parametrize("num_clients", [0, 6])
def test_users_without_training_ratings(num_clients):
    """Users 0 and 5 have none; with 13 clients that is two clients without a row."""
    train = TRAIN[~np.isin(RATINGS.user[TRAIN], [0, 5])]
    deal = deal_users(RATINGS.num_users, num_clients, seed=0)
    population = check_against_loops(RATINGS, train, deal, batch_size=2, max_buckets=3)
    empty = [0, 5] if num_clients == 0 else []
    assert np.flatnonzero(population.rows == 0).tolist() == empty
    # They could learn nothing and would only decay what is shared.
    assert population.trainable.tolist() == [c for c in range(num_clients or 13) if c not in empty]


def test_new_users_are_clients_of_their_own_that_never_train():
    new = np.zeros(RATINGS.num_users, bool)
    new[[2, 7]] = True
    deal = deal_with_new_users(new, 4, seed=0)
    assert deal[new].tolist() == [4, 5] and set(deal[~new]) == {0, 1, 2, 3}
    population = check_against_loops(
        RATINGS, TRAIN, deal, batch_size=2, max_buckets=3, new_users=new
    )
    assert population.trainable.tolist() == [0, 1, 2, 3]
    everybody = deal_with_new_users(np.zeros(13, bool), 4, seed=0)
    np.testing.assert_array_equal(everybody, deal_users(13, 4, seed=0))


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


@pytest.fixture(scope="module", params=[1, 3])
def population(request):
    users = np.arange(RATINGS.num_users)
    return build(TRAIN, users, max_buckets=3, mesh=client_mesh(request.param))


@given(data=st.data(), size=st.integers(1, 13), block_size=st.integers(1, 7))
def test_a_cohort_holds_each_client_once(population, data, size, block_size):
    clients = np.array(data.draw(st.permutations(range(13)))[:size])
    sizes = (block_size,) * len(population.buckets)
    cohort = population.cohort(clients, sizes)
    found = []
    devices = population.mesh.size
    for bucket, slots, blocks in zip(population.buckets, cohort.slots, cohort.blocks, strict=True):
        of_device = np.asarray(bucket.client).reshape(devices, -1)
        for client, slots_, blocks_ in zip(
            of_device, np.asarray(slots).reshape(devices, -1), np.asarray(blocks), strict=True
        ):
            used = blocks_ * block_size
            present = slots_ < len(client)
            found += client[slots_[present]].tolist()
            assert len(np.unique(slots_)) == len(slots_)  # as the scatter of the states requires
            assert not present[used:].any()  # the blocks in use hold all of them
            assert used - present.sum() < block_size  # and no block in use is empty
    assert sorted(found) == sorted(clients.tolist())
    assert float(cohort.clients) == size
    # Any other cohort of this size has the same shapes.
    shapes = [slots.shape for slots in cohort.slots]
    assert shapes == [slots.shape for slots in population.cohort(np.arange(size), sizes).slots]
    assert all(shape[0] % block_size == 0 for shape in shapes)
