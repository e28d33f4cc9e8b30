"""What a secure sum weighs, computed; a test asserts that the messages are as many bytes."""

from dataclasses import dataclass

from pfr_jax.privacy.secure_sum.messages import (
    Advert,
    Mailbox,
    Masked,
    Revealed,
    Roster,
    SealedShares,
    Survivors,
)

ROUND_TRIPS = 4  # messages up, before each of which a client waits for all the others


@dataclass(frozen=True)
class Costs:
    """What a client that stays to the end sends and receives, bytes."""

    up: int
    down: int
    round_trips: int = ROUND_TRIPS


def client_costs(
    length: int, asked: int, shared: int | None = None, masked: int | None = None
) -> Costs:
    """Bytes of a client that stays to the end.

    Args:
      length: of the vectors, d.
      asked: clients on the roster.
      shared: of them that shared their secrets; left out: all.
      masked: of them whose masked vectors arrived; left out: all that shared.
    """
    shared = asked if shared is None else shared
    masked = shared if masked is None else masked
    return Costs(
        up=Advert.BYTES
        + SealedShares.size(asked - 1)
        + Masked.size(length)
        + Revealed.size(shared),
        down=Roster.size(asked) + Mailbox.size(shared - 1) + Survivors.size(masked),
    )
