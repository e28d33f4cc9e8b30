"""A whole secure sum in one process, every message as bytes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pfr_jax.privacy.secure_sum.client import Client
from pfr_jax.privacy.secure_sum.server import Server
from pfr_jax.privacy.secure_sum.shamir import Random, system_random


@dataclass
class Tally:
    """Bytes that were sent, by client; a message passes as bytes and is read again."""

    up: dict[int, int] = field(default_factory=dict)
    down: dict[int, int] = field(default_factory=dict)

    def sent(self, message: Any) -> Any:
        return self._pass(message, message.client, self.up)

    def received(self, client: int, message: Any) -> Any:
        return self._pass(message, client, self.down)

    def _pass(self, message: Any, client: int, counted: dict[int, int]) -> Any:
        data = message.encode()
        counted[client] = counted.get(client, 0) + len(data)
        return type(message).decode(data)


def secure_sum(
    vectors: Mapping[int, np.ndarray],
    threshold: int,
    gone_before_sharing: Collection[int] = (),
    gone_before_masking: Collection[int] = (),
    gone_after_masking: Collection[int] = (),
    random: Random = system_random,
) -> tuple[np.ndarray, Tally, Server]:
    """Runs all rounds; clients may leave between them.

    Args:
      vectors: u32[d] by client.
      threshold: clients that must stay to the end; more than half of them.
      gone_before_sharing: clients that are silent from round 1 on.
      gone_before_masking: from round 2 on: their vectors are not in the sum.
      gone_after_masking: from round 4 on: their vectors are in the sum.
      random: where secrets come from.

    Returns:
      The sum u32[d] modulo 2^32, the bytes that travelled, and the server as it was left.

    Raises:
      ProtocolError: fewer than the threshold stayed.
    """
    length = len(next(iter(vectors.values())))
    server, tally = Server(threshold, length), Tally()
    clients = {number: Client(number, threshold, random) for number in vectors}

    roster = server.collect_adverts([tally.sent(c.advertise()) for c in clients.values()])
    roster_of = {number: tally.received(number, roster) for number in clients}

    stay = [number for number in clients if number not in gone_before_sharing]
    mailboxes = server.pass_on([tally.sent(clients[n].share(roster_of[n])) for n in stay])
    mailboxes = {number: tally.received(number, box) for number, box in mailboxes.items()}

    stay = [number for number in stay if number not in gone_before_masking]
    masked = [tally.sent(clients[n].mask(vectors[n], mailboxes[n])) for n in stay]
    survivors = server.collect_masked(masked)

    stay = [number for number in stay if number not in gone_after_masking]
    told = {number: tally.received(number, survivors) for number in stay}
    total = server.unmask([tally.sent(clients[n].reveal(told[n])) for n in stay])
    return total, tally, server
