"""Secure sums: the plain sum bit for bit, what the server sees, what is refused, what it weighs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfr_jax.privacy.secure_sum import server as server_module
from pfr_jax.privacy.secure_sum.client import Client
from pfr_jax.privacy.secure_sum.costs import client_costs
from pfr_jax.privacy.secure_sum.keys import KeyPair, seal, unseal
from pfr_jax.privacy.secure_sum.masks import pair_mask, stream
from pfr_jax.privacy.secure_sum.messages import (
    Advert,
    Mailbox,
    Masked,
    ProtocolError,
    Revealed,
    Roster,
    SealedShares,
    Survivors,
)
from pfr_jax.privacy.secure_sum.server import Server
from pfr_jax.privacy.secure_sum.session import secure_sum
from pfr_jax.privacy.secure_sum.shamir import combine


def drawn_vectors(clients: int, length: int, seed: int = 0) -> dict[int, np.ndarray]:
    """Small signed numbers, as their remainders, with client numbers that are not in a row."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice(1000, clients, replace=False).tolist()
    return {n: rng.integers(-9, 9, length, dtype=np.int32).view(np.uint32) for n in numbers}


def plain_sum(vectors: dict[int, np.ndarray], gone: set[int]) -> np.ndarray:
    return np.sum([v for n, v in vectors.items() if n not in gone], axis=0, dtype=np.uint32)


def agreed(clients: int, threshold: int, seed: int = 1) -> tuple[dict[int, Client], Any, Server]:
    """Clients 0, 1, ... after round 1, their mailboxes, and the server; vectors have 4 numbers."""
    random = np.random.default_rng(seed).bytes
    all_clients = {n: Client(n, threshold, random) for n in range(clients)}
    server = Server(threshold, 4)
    roster = server.collect_adverts([c.advertise() for c in all_clients.values()])
    mailboxes = server.pass_on([c.share(roster) for c in all_clients.values()])
    return all_clients, mailboxes, server


def masked(clients: int, threshold: int) -> tuple[dict[int, Client], Server, Survivors]:
    """The same after round 2."""
    all_clients, mailboxes, server = agreed(clients, threshold)
    vector = np.arange(4, dtype=np.uint32)
    survivors = server.collect_masked(
        [c.mask(vector, mailboxes[n]) for n, c in all_clients.items()]
    )
    return all_clients, server, survivors


def test_the_masks_of_two_clients_by_hand() -> None:
    """y_u = x_u + PRG(b_u) + PRG(s), y_v = x_v + PRG(b_v) - PRG(s) for u above v."""
    keys = KeyPair(bytes(31) + b"\x01"), KeyPair(bytes(31) + b"\x02")
    adverts = [Advert(n, b"", key.public) for n, key in enumerate(keys)]
    upper = pair_mask(keys[1], 1, adverts[0], 5)
    lower = pair_mask(keys[0], 0, adverts[1], 5)
    assert upper.dtype == np.uint32 and upper.any()
    np.testing.assert_array_equal(upper + lower, np.zeros(5, np.uint32))
    shared = keys[0].agree(keys[1].public, b"pfr_jax secure sum: mask")
    np.testing.assert_array_equal(upper, stream(shared, 5))


def test_the_stream_is_that_of_rfc_8439() -> None:
    """Its appendix A.1, test vector 1: key, nonce and counter of zeros."""
    expected = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    assert stream(bytes(32), 8).tobytes() == expected


@settings(max_examples=20)
@given(st.integers(2, 9), st.integers(1, 7), st.integers(0, 2**32), st.data())
def test_the_sum_of_who_stayed(clients: int, length: int, seed: int, data: st.DataObject) -> None:
    """Whoever leaves, and whenever, as long as enough stay."""
    vectors = drawn_vectors(clients, length, seed)
    threshold = data.draw(st.integers(clients // 2 + 1, clients))
    leaving = data.draw(st.permutations(list(vectors)))[: clients - threshold]
    when = [data.draw(st.integers(0, 2)) for _ in leaving]
    departures = list(zip(leaving, when, strict=True))
    before, between, after = ({n for n, w in departures if w == k} for k in range(3))
    random = np.random.default_rng(seed).bytes
    total, _, _ = secure_sum(vectors, threshold, before, between, after, random)
    np.testing.assert_array_equal(total, plain_sum(vectors, before | between))


def test_fifty_clients_and_what_they_weigh() -> None:
    """With system randomness; of each client that stayed the bytes are those computed."""
    vectors = drawn_vectors(50, 1000)
    numbers = list(vectors)
    before, between, after = set(numbers[:4]), set(numbers[4:10]), set(numbers[10:17])
    total, tally, server = secure_sum(vectors, 30, before, between, after)
    np.testing.assert_array_equal(total, plain_sum(vectors, before | between))
    costs = client_costs(1000, 50, 46, 40)
    for number in numbers[17:]:
        assert (tally.up[number], tally.down[number]) == (costs.up, costs.down)
    assert server.survivors == set(numbers[10:])
    # By hand: keys 68; 49 boxes of 82 and a name of 4 each; 4 per number; 46 shares of 33 and 4.
    assert costs.up == 68 + (4 + 49 * 86) + (4 + 4000) + (4 + 46 * 37)
    assert costs.down == 50 * 68 + 45 * 86 + 40 * 4
    assert costs.round_trips == 4


def held(value: object) -> Iterator[object]:
    """Every number, text and array that can be reached from a value."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield key
            yield from held(entry)
    elif isinstance(value, list | tuple | set | frozenset):
        for entry in value:
            yield from held(entry)
    elif hasattr(value, "__dict__"):
        yield from held(vars(value))
    else:
        yield value


def test_no_plain_vector_reaches_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that it was ever handed, and everything that it holds in the end."""
    handed: list[Any] = []
    for name in ("collect_adverts", "pass_on", "collect_masked", "unmask"):
        method = getattr(Server, name)

        def recorded(self: Server, messages: Any, method: Any = method) -> Any:
            handed.append(messages)
            return method(self, messages)

        monkeypatch.setattr(server_module.Server, name, recorded)
    vectors = drawn_vectors(12, 40)
    gone, late = list(vectors)[0], list(vectors)[1]
    _, _, server = secure_sum(vectors, 8, (), {gone}, {late}, np.random.default_rng(5).bytes)
    kinds = {type(message) for messages in handed for message in messages}
    assert kinds == {Advert, SealedShares, Masked, Revealed}
    seen = list(held([handed, server]))
    arrays = [value for value in seen if isinstance(value, np.ndarray)]
    texts = b"|".join(value for value in seen if isinstance(value, bytes))
    assert len(arrays) == 11 + 1  # masked vectors that it was handed, and their sum
    for vector in vectors.values():
        assert vector.tobytes()[:16] not in texts
        for array in arrays:
            assert (array == vector).mean() < 0.1
    # Of a survivor its shares give the seed, of the one that is gone the key: one secret each.
    assert set(server.shares) == set(vectors)
    assert KeyPair(combine(server.shares[gone], 8)).public == server.adverts[gone].mask_key
    for number in server.survivors:
        assert KeyPair(combine(server.shares[number], 8)).public != server.adverts[number].mask_key


def test_a_masked_vector_looks_uniform() -> None:
    """Of zeros, by its bytes: chi-square with 255 degrees of freedom is beyond 347.7 once in ten
    thousand; unmasked it would be far beyond."""
    all_clients, mailboxes, _ = agreed(3, 2)
    found = all_clients[1].mask(np.zeros(20_000, np.uint32), mailboxes[1]).vector
    counts = np.bincount(found.view(np.uint8), minlength=256)
    assert ((counts - 312.5) ** 2 / 312.5).sum() < 347.7


def test_what_is_read_is_what_was_sent() -> None:
    advert = Advert(7, b"a" * 32, b"b" * 32)
    for message in (
        advert,
        Roster((advert, Advert(8, b"c" * 32, b"d" * 32))),
        SealedShares(7, {8: b"x" * 82, 2**32 - 2: b"y" * 82}),
        Mailbox({8: b"x" * 82}),
        Survivors(frozenset({1, 300})),
        Revealed(7, {1: 5, 8: 2**256}),
    ):
        assert type(message).decode(message.encode()) == message
    sent = Masked(7, np.array([1, 2**32 - 1], np.uint32))
    read = Masked.decode(sent.encode())
    assert read.client == 7
    np.testing.assert_array_equal(read.vector, sent.vector)
    with pytest.raises(ProtocolError, match="not whole"):
        Mailbox.decode(b"x" * 85)


@pytest.mark.parametrize("left", [(2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (0, 1, 1)])
def test_too_few_are_refused(left: tuple[int, int, int]) -> None:
    vectors = drawn_vectors(4, 3)
    numbers = iter(vectors)
    gone = [{next(numbers) for _ in range(count)} for count in left]
    with pytest.raises(ProtocolError, match="the threshold is 3"):
        secure_sum(vectors, 3, *gone)


def test_a_client_gives_no_second_answer() -> None:
    """Told once that client 3 is there and once that it is gone, it would give both its secrets."""
    all_clients, _, survivors = masked(4, 3)
    answer = all_clients[0].reveal(survivors)
    assert set(answer.shares) == {0, 1, 2, 3}
    with pytest.raises(ProtocolError, match="will not reveal now"):
        all_clients[0].reveal(Survivors(frozenset({0, 1, 2})))


@pytest.mark.parametrize(
    ("survivors", "message"),
    [({0, 1}, "the threshold is 3"), ({1, 2, 3}, "not in the sum"), ({0, 1, 2, 9}, "not share")],
)
def test_sums_that_a_client_does_not_help_with(survivors: set[int], message: str) -> None:
    all_clients, _, _ = masked(4, 3)
    with pytest.raises(ProtocolError, match=message):
        all_clients[0].reveal(Survivors(frozenset(survivors)))


def test_mailboxes_that_are_refused() -> None:
    vector = np.zeros(4, np.uint32)
    all_clients, mailboxes, _ = agreed(4, 3)
    boxes = mailboxes[0].boxes
    with pytest.raises(ProtocolError, match="2 clients shared; the threshold is 3"):
        all_clients[0].mask(vector, Mailbox({1: boxes[1]}))
    with pytest.raises(ProtocolError, match="of a stranger"):
        all_clients[1].mask(vector, Mailbox({**mailboxes[1].boxes, 9: boxes[1]}))
    with pytest.raises(ProtocolError, match="another key"):  # a box that is not for it
        all_clients[2].mask(vector, Mailbox({**mailboxes[2].boxes, 1: boxes[1]}))


def test_different_stories_give_no_client_away() -> None:
    """Whatever a server tells whom of client 0, it has too few shares of one of its secrets."""
    all_clients, _, _ = masked(5, 3)
    with_it, without = frozenset(range(5)), frozenset({1, 2, 3, 4})
    told = {n: with_it if n < 3 else without for n in range(5)}
    shares = {n: all_clients[n].reveal(Survivors(told[n])).shares[0] for n in range(5)}
    of_seed = {n + 1: share for n, share in shares.items() if 0 in told[n]}
    of_key = {n + 1: share for n, share in shares.items() if 0 not in told[n]}
    assert min(len(of_seed), len(of_key)) < 3
    with pytest.raises(ProtocolError, match="not more than half"):
        agreed(4, 2)


def test_rosters_that_are_refused() -> None:
    others = [Client(n, 2).advertise() for n in (1, 2)]

    def share(*adverts: Advert) -> None:
        client = Client(0, 2)
        client.advertise()
        client.share(Roster(adverts))

    own = Client(0, 2).advertise()
    with pytest.raises(ProtocolError, match="same client"):
        share(own, others[0], Advert(1, b"a" * 32, b"b" * 32))
    with pytest.raises(ProtocolError, match="same key"):
        share(own, others[0], Advert(2, others[1].box_key, others[0].mask_key))
    with pytest.raises(ProtocolError, match="not on the roster"):
        share(*others)
    with pytest.raises(ProtocolError, match="out of range"):
        Client(2**32 - 1, 2)
    with pytest.raises(ProtocolError, match="same client"):
        Server(2, 4).collect_adverts([own, own])


def test_messages_out_of_turn_and_of_strangers() -> None:
    all_clients, mailboxes, server = agreed(3, 2)
    with pytest.raises(TypeError, match="int32"):
        all_clients[2].mask(np.zeros(4, np.int32), mailboxes[2])
    vector = np.zeros(4, np.uint32)
    both = [all_clients[n].mask(vector, mailboxes[n]) for n in (0, 1)]
    with pytest.raises(ProtocolError, match="stranger"):
        server.collect_masked([*both, Masked(9, vector)])
    with pytest.raises(ProtocolError, match=r"handed over \(3,\)"):
        server.collect_masked([both[0], Masked(1, vector[:3])])
    with pytest.raises(ProtocolError, match="will not mask now"):
        all_clients[0].mask(vector, mailboxes[0])


def test_wrong_shares_are_noticed() -> None:
    """Of a mask key, whose public key is known."""
    all_clients, mailboxes, server = agreed(3, 2)
    vector = np.zeros(4, np.uint32)
    survivors = server.collect_masked([all_clients[n].mask(vector, mailboxes[n]) for n in (0, 1)])
    first, second = (all_clients[n].reveal(survivors) for n in (0, 1))
    changed = Revealed(0, {**first.shares, 2: first.shares[2] // 2})
    with pytest.raises(ProtocolError, match="shares of client 2"):
        server.unmask([changed, second])
    with pytest.raises(ProtocolError, match="lack some"):
        server.unmask([first, Revealed(1, {0: 1})])
    np.testing.assert_array_equal(server.unmask([first, second]), vector)


def test_a_box_is_opened_by_its_key_only() -> None:
    key, other = b"k" * 32, b"o" * 32
    assert unseal(key, seal(key, b"text")) == b"text"
    with pytest.raises(ProtocolError, match="another key"):
        unseal(other, seal(key, b"text"))
