"""Keys that two clients agree on through the server, and boxes that only the other can open.

X25519, HKDF-SHA256 and ChaCha20-Poly1305 (RFC 7748, 5869, 8439) of the package ``cryptography``.
Keys are made for one secure sum and thrown away: that is what lets a box have no nonce.
"""

from dataclasses import dataclass, field
from functools import cached_property

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "secure sums need the package cryptography: pip install 'pfr_jax[privacy]'"
    ) from error

from pfr_jax.privacy.secure_sum.messages import ProtocolError
from pfr_jax.privacy.secure_sum.shamir import Random, system_random

KEY_BYTES = 32
_NO_NONCE = bytes(12)  # every key seals one box


@dataclass(frozen=True)
class KeyPair:
    """Half of a key agreement; ``secret`` (32 bytes) does not leave its client in one piece."""

    secret: bytes = field(repr=False)

    @classmethod
    def fresh(cls, random: Random = system_random) -> "KeyPair":
        return cls(random(KEY_BYTES))

    @property
    def public(self) -> bytes:
        """What others need to agree on a key with this one, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    def agree(self, public: bytes, purpose: bytes) -> bytes:
        """The key (32 bytes) shared with the owner of ``public``, another for each purpose."""
        shared = self._private.exchange(X25519PublicKey.from_public_bytes(public))
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(shared)

    @cached_property
    def _private(self) -> X25519PrivateKey:  # to load it takes as long as to agree
        return X25519PrivateKey.from_private_bytes(self.secret)


def seal(key: bytes, text: bytes) -> bytes:
    """Encrypts and authenticates; a key must not seal a second text. 16 bytes longer."""
    return ChaCha20Poly1305(key).encrypt(_NO_NONCE, text, None)


def unseal(key: bytes, box: bytes) -> bytes:
    """Opens what was sealed with this key.

    Raises:
      ProtocolError: it was sealed with another key, or changed.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(_NO_NONCE, box, None)
    except InvalidTag:
        raise ProtocolError("a box of shares was sealed with another key, or changed") from None
