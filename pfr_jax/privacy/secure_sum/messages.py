"""All that travels between clients and server, and what each weighs in bytes.

A client is a number below 2^32 - 1. Numbers are little-endian; what a message's length already
says is not sent. In the order of figure 4 of Bonawitz et al. 2017:

    round 0   Advert        up     public keys                 Roster     down   those of everybody
    round 1   SealedShares  up     a box of shares per peer    Mailbox    down   those for a client
    round 2   Masked        up     the masked vector           Survivors  down   who handed one over
    round 4   Revealed      up     one share per client

Round 3 is their consistency check, for servers that lie; there is none here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pfr_jax.privacy.secure_sum.shamir import SHARE_BYTES

WORD = np.dtype("<u4")
ID_BYTES = 4
PUBLIC_BYTES = 32
BOX_BYTES = 2 * SHARE_BYTES + 16  # of a seed and of a key, and the tag
MOST_CLIENTS = 2**32 - 1  # a share's point is the client's number and 1


class ProtocolError(Exception):
    """A party was asked for what the protocol forbids, and does not go on."""


@dataclass(frozen=True)
class Advert:
    """A client's public keys: of its boxes, and of its pairwise masks."""

    client: int
    box_key: bytes
    mask_key: bytes

    BYTES = ID_BYTES + 2 * PUBLIC_BYTES

    def encode(self) -> bytes:
        return _number(self.client) + self.box_key + self.mask_key

    @classmethod
    def decode(cls, data: bytes) -> "Advert":
        rest = data[ID_BYTES:]
        return cls(_first(data), rest[:PUBLIC_BYTES], rest[PUBLIC_BYTES:])


@dataclass(frozen=True)
class Roster:
    """Who takes part."""

    adverts: tuple[Advert, ...]

    def encode(self) -> bytes:
        return b"".join(advert.encode() for advert in self.adverts)

    @classmethod
    def decode(cls, data: bytes) -> "Roster":
        return cls(tuple(map(Advert.decode, _cut(data, Advert.BYTES))))

    @staticmethod
    def size(clients: int) -> int:
        return Advert.BYTES * clients


@dataclass(frozen=True)
class SealedShares:
    """A client's shares for its peers, in boxes that the server cannot open."""

    client: int
    boxes: Mapping[int, bytes]  # by receiver

    def encode(self) -> bytes:
        return _number(self.client) + _table(self.boxes)

    @classmethod
    def decode(cls, data: bytes) -> "SealedShares":
        return cls(_first(data), _read_table(data[ID_BYTES:], BOX_BYTES))

    @staticmethod
    def size(peers: int) -> int:
        return ID_BYTES + (ID_BYTES + BOX_BYTES) * peers


@dataclass(frozen=True)
class Mailbox:
    """The boxes for one client."""

    boxes: Mapping[int, bytes]  # by sender

    def encode(self) -> bytes:
        return _table(self.boxes)

    @classmethod
    def decode(cls, data: bytes) -> "Mailbox":
        return cls(_read_table(data, BOX_BYTES))

    @staticmethod
    def size(peers: int) -> int:
        return (ID_BYTES + BOX_BYTES) * peers


@dataclass(frozen=True)
class Masked:
    """A client's vector under its masks."""

    client: int
    vector: np.ndarray = field(repr=False)  # u32[d]

    def encode(self) -> bytes:
        return _number(self.client) + self.vector.astype(WORD).tobytes()

    @classmethod
    def decode(cls, data: bytes) -> "Masked":
        return cls(_first(data), np.frombuffer(data, WORD, offset=ID_BYTES))

    @staticmethod
    def size(length: int) -> int:
        return ID_BYTES + WORD.itemsize * length


@dataclass(frozen=True)
class Survivors:
    """Whose masked vectors are in the sum: their own masks are to go, and others' pairwise ones."""

    clients: frozenset[int]

    def encode(self) -> bytes:
        return b"".join(map(_number, sorted(self.clients)))

    @classmethod
    def decode(cls, data: bytes) -> "Survivors":
        return cls(frozenset(map(_first, _cut(data, ID_BYTES))))

    @staticmethod
    def size(clients: int) -> int:
        return ID_BYTES * clients


@dataclass(frozen=True)
class Revealed:
    """One share per client: of a survivor's seed or else of a mask key, never of both."""

    client: int
    shares: Mapping[int, int]  # by owner

    def encode(self) -> bytes:
        table = {owner: s.to_bytes(SHARE_BYTES, "little") for owner, s in self.shares.items()}
        return _number(self.client) + _table(table)

    @classmethod
    def decode(cls, data: bytes) -> "Revealed":
        table = _read_table(data[ID_BYTES:], SHARE_BYTES)
        return cls(_first(data), {o: int.from_bytes(s, "little") for o, s in table.items()})

    @staticmethod
    def size(clients: int) -> int:
        return ID_BYTES + (ID_BYTES + SHARE_BYTES) * clients


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ProtocolError(message)


def require_distinct(clients: Iterable[int]) -> None:
    clients = list(clients)
    require(len(set(clients)) == len(clients), "two messages are of the same client")
    require(all(0 <= c < MOST_CLIENTS for c in clients), "a client's number is out of range")


def _number(value: int) -> bytes:
    return value.to_bytes(ID_BYTES, "little")


def _first(data: bytes) -> int:
    return int.from_bytes(data[:ID_BYTES], "little")


def _cut(data: bytes, width: int) -> list[bytes]:
    require(len(data) % width == 0, f"a message of {len(data)} bytes is not whole")
    return [data[start : start + width] for start in range(0, len(data), width)]


def _table(entries: Mapping[int, bytes]) -> bytes:
    return b"".join(_number(client) + entry for client, entry in entries.items())


def _read_table(data: bytes, width: int) -> dict[int, bytes]:
    entries = _cut(data, ID_BYTES + width)
    return {_first(entry): entry[ID_BYTES:] for entry in entries}
