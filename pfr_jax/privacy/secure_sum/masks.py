"""Masks: vectors that look random to whoever has not the seed, and cancel in the sum.

With x_u the vector of client u, b_u its own seed and s_uv the seed that u and v agree on, u hands
over (Bonawitz et al. 2017, section 4.1 and round 2 of figure 4; everything modulo 2^32)

    y_u = x_u + PRG(b_u) + sum over v < u of PRG(s_uv) - sum over v > u of PRG(s_uv).
"""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from pfr_jax.privacy.secure_sum.keys import KeyPair
from pfr_jax.privacy.secure_sum.messages import WORD, Advert


def stream(seed: bytes, length: int) -> np.ndarray:
    """PRG(seed): the key stream of ChaCha20, u32[length]."""
    # Neither counter nor nonce: a seed is used for one vector.
    encryptor = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor()
    return np.frombuffer(encryptor.update(bytes(WORD.itemsize * length)), WORD)


def pair_mask(own: KeyPair, client: int, peer: Advert, length: int) -> np.ndarray:
    """What ``client`` adds for its peer, u32[length]; the peer adds the negative of it."""
    mask = stream(own.agree(peer.mask_key, b"pfr_jax secure sum: mask"), length)
    return mask if client > peer.client else -mask
