"""A client of one secure sum: masks its vector, and helps to take the masks off the sum alone."""

import numpy as np

from pfr_jax.privacy.secure_sum.keys import KeyPair, seal, unseal
from pfr_jax.privacy.secure_sum.masks import pair_mask, stream
from pfr_jax.privacy.secure_sum.messages import (
    WORD,
    Advert,
    Mailbox,
    Masked,
    Revealed,
    Roster,
    SealedShares,
    Survivors,
    require,
    require_distinct,
)
from pfr_jax.privacy.secure_sum.shamir import (
    SECRET_BYTES,
    SHARE_BYTES,
    Random,
    split,
    system_random,
)


class Client:
    """One client during one sum: ``advertise``, ``share``, ``mask``, ``reveal``, each once.

    What it refuses protects it from a server that is curious, by accident or not: a second
    answer of any kind, a cohort in which more than one set of ``threshold`` clients could be
    told different stories, and any sum over fewer than ``threshold`` clients. Once it has
    refused it is done.

    Args:
      client: its number in the cohort, distinct.
      threshold: clients that must stay to the end; more than half of the cohort.
      random: where its secrets come from; anything but the system's is for tests.
    """

    def __init__(self, client: int, threshold: int, random: Random = system_random) -> None:
        require_distinct([client])
        self.client, self.threshold, self._random = client, threshold, random
        self._box_key, self._mask_key = KeyPair.fresh(random), KeyPair.fresh(random)
        self._seed = random(SECRET_BYTES)  # of its own mask
        self._peers: dict[int, Advert] = {}
        # By owner, its own included: what this client holds of others' (seed, mask key).
        self._held: dict[int, tuple[int, int]] = {}
        self._steps = iter(("advertise", "share", "mask", "reveal"))

    def advertise(self) -> Advert:
        """Round 0: its public keys."""
        self._begin("advertise")
        return Advert(self.client, self._box_key.public, self._mask_key.public)

    def share(self, roster: Roster) -> SealedShares:
        """Round 1: shares its seed and its mask key with everybody on the roster.

        Raises:
          ProtocolError: the roster names a client or a key twice, or not this client, or the
            threshold is not more than half of it and at most all.
        """
        self._begin("share")
        adverts = {advert.client: advert for advert in roster.adverts}
        require_distinct(advert.client for advert in roster.adverts)
        keys = {key for advert in roster.adverts for key in (advert.box_key, advert.mask_key)}
        require(len(keys) == 2 * len(adverts), "two clients have the same key")
        require(self.client in adverts, f"client {self.client} is not on the roster")
        # A share of one secret per client and owner: two disjoint sets of clients, asked
        # differently, would otherwise give both secrets away.
        require(
            len(adverts) < 2 * self.threshold <= 2 * len(adverts),
            f"a threshold of {self.threshold} is not more than half of {len(adverts)} clients",
        )
        points = {client: client + 1 for client in adverts}
        seeds, keys_shares = (
            split(secret, self.threshold, points.values(), self._random)
            for secret in (self._seed, self._mask_key.secret)
        )
        of_client = {client: (seeds[p], keys_shares[p]) for client, p in points.items()}
        self._held[self.client] = of_client.pop(self.client)
        self._peers = {client: adverts[client] for client in of_client}
        boxes = {
            client: seal(self._box(self.client, client), _pack(shares))
            for client, shares in of_client.items()
        }
        return SealedShares(self.client, boxes)

    def mask(self, vector: np.ndarray, mailbox: Mailbox) -> Masked:
        """Round 2: its vector (u32[d]) under its own mask and one per peer that shared.

        Raises:
          ProtocolError: a box is not of a peer or cannot be opened, or too few clients shared.
          TypeError: the vector is not u32[d].
        """
        self._begin("mask")
        if vector.dtype != WORD or vector.ndim != 1:
            raise TypeError(f"u32[d] is summed, not {vector.dtype}{list(vector.shape)}")
        require(mailbox.boxes.keys() <= self._peers.keys(), "a box is of a stranger")
        require(
            len(mailbox.boxes) + 1 >= self.threshold,
            f"{len(mailbox.boxes) + 1} clients shared; the threshold is {self.threshold}",
        )
        for sender, box in mailbox.boxes.items():
            self._held[sender] = _unpack(unseal(self._box(sender, self.client), box))
        masked = vector + stream(self._seed, len(vector))
        for sender in mailbox.boxes:
            masked += pair_mask(self._mask_key, self.client, self._peers[sender], len(vector))
        return Masked(self.client, masked)

    def reveal(self, survivors: Survivors) -> Revealed:
        """Round 4: a share of every survivor's seed, and of the mask key of those that are gone.

        Raises:
          ProtocolError: survivors are fewer than the threshold, strangers or without this client,
            or it was asked before: another answer might give both secrets of a client away.
        """
        self._begin("reveal")
        require(survivors.clients <= self._held.keys(), "a survivor did not share its secrets")
        require(self.client in survivors.clients, f"client {self.client} is not in the sum")
        require(
            len(survivors.clients) >= self.threshold,
            f"{len(survivors.clients)} clients are in the sum; the threshold is {self.threshold}",
        )
        return Revealed(
            self.client,
            {
                owner: seed if owner in survivors.clients else key
                for owner, (seed, key) in self._held.items()
            },
        )

    def _begin(self, step: str) -> None:
        require(next(self._steps, None) == step, f"client {self.client} will not {step} now")

    def _box(self, sender: int, receiver: int) -> bytes:
        """The key of the only box from this sender to this receiver; one of them is this client."""
        peer = self._peers[receiver if sender == self.client else sender]
        purpose = f"pfr_jax secure sum: box of {sender} for {receiver}"
        return self._box_key.agree(peer.box_key, purpose.encode())


def _pack(shares: tuple[int, int]) -> bytes:
    return b"".join(share.to_bytes(SHARE_BYTES, "little") for share in shares)


def _unpack(text: bytes) -> tuple[int, int]:
    seed, key = text[:SHARE_BYTES], text[SHARE_BYTES:]
    return int.from_bytes(seed, "little"), int.from_bytes(key, "little")
