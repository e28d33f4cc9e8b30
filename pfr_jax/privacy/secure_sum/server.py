"""The server of one secure sum: it is handed masked vectors and shares, and gets the sum."""

from collections.abc import Iterable, Sequence

import numpy as np

from pfr_jax.privacy.secure_sum.keys import KeyPair
from pfr_jax.privacy.secure_sum.masks import pair_mask, stream
from pfr_jax.privacy.secure_sum.messages import (
    WORD,
    Advert,
    Mailbox,
    Masked,
    ProtocolError,
    Revealed,
    Roster,
    SealedShares,
    Survivors,
    require,
    require_distinct,
)
from pfr_jax.privacy.secure_sum.shamir import combine

Message = Advert | SealedShares | Masked | Revealed


class Server:
    """The server during one sum; its methods are called in the order they stand in.

    These fields are all that it keeps of its clients. A plain vector is in none of them, and of
    each client the shares are of one secret only.

    Args:
      threshold: clients that must stay to the end.
      length: of the vectors, d.
    """

    def __init__(self, threshold: int, length: int) -> None:
        self.threshold = threshold
        self.adverts: dict[int, Advert] = {}  # public keys of round 0
        self.sharers: frozenset[int] = frozenset()  # whose boxes were passed on
        self.masked_sum = np.zeros(length, WORD)  # u32[d], of the survivors
        self.survivors: frozenset[int] = frozenset()  # whose masked vectors arrived
        self.shares: dict[int, dict[int, int]] = {}  # by owner, by point

    def collect_adverts(self, adverts: Sequence[Advert]) -> Roster:
        """Round 0: who takes part."""
        self._check(adverts)
        self.adverts = {advert.client: advert for advert in adverts}
        return Roster(tuple(adverts))

    def pass_on(self, sealed: Sequence[SealedShares]) -> dict[int, Mailbox]:
        """Round 1: the boxes for each client that shared, by client."""
        self._check(sealed, self.adverts)
        self.sharers = frozenset(message.client for message in sealed)
        return {
            receiver: Mailbox({m.client: m.boxes[receiver] for m in sealed if m.client != receiver})
            for receiver in self.sharers
        }

    def collect_masked(self, masked: Sequence[Masked]) -> Survivors:
        """Round 2: adds the masked vectors that arrived; they are not kept one by one."""
        self._check(masked, self.sharers)
        for message in masked:
            require(
                message.vector.shape == self.masked_sum.shape,
                f"client {message.client} handed over {message.vector.shape} numbers",
            )
        for message in masked:
            self.masked_sum += message.vector
        self.survivors = frozenset(message.client for message in masked)
        return Survivors(self.survivors)

    def unmask(self, revealed: Sequence[Revealed]) -> np.ndarray:
        """Round 4: the sum of the survivors' vectors.

        Args:
          revealed: shares, of survivors; those of the others are not needed.

        Returns:
          u32[d], modulo 2^32.

        Raises:
          ProtocolError: too few answers, an answer that lacks shares, or shares that do not fit
            together. (So does every other method: too few messages, two of one client, or one
            of a client that is not in the round.)
        """
        self._check(revealed, self.survivors)
        for message in revealed:
            require(message.shares.keys() == self.sharers, f"shares of {message.client} lack some")
        self.shares = {
            owner: {message.client + 1: message.shares[owner] for message in revealed}
            for owner in self.sharers
        }
        total, length = self.masked_sum.copy(), len(self.masked_sum)
        for client in self.survivors:
            total -= stream(self._secret(client), length)
        for gone in self.sharers - self.survivors:
            key = self._mask_key(gone)
            # What a survivor added for the one that is gone is the negative of what that one
            # would have added for the survivor.
            for client in self.survivors:
                total += pair_mask(key, gone, self.adverts[client], length)
        return total

    def _check(self, messages: Sequence[Message], known: Iterable[int] | None = None) -> None:
        clients = [message.client for message in messages]
        require_distinct(clients)
        require(known is None or set(clients) <= set(known), "a message is of a stranger")
        require(
            len(clients) >= self.threshold,
            f"{len(clients)} clients answered; the threshold is {self.threshold}",
        )

    def _secret(self, owner: int) -> bytes:
        try:
            return combine(self.shares[owner], self.threshold)
        except ValueError as error:
            raise ProtocolError(f"shares of client {owner}: {error}") from None

    def _mask_key(self, owner: int) -> KeyPair:
        key = KeyPair(self._secret(owner))
        require(key.public == self.adverts[owner].mask_key, f"shares of client {owner} are wrong")
        return key
