"""Shamir's secret sharing: any ``threshold`` shares give the secret, fewer say nothing of it.

A secret is the value at 0 of a polynomial with otherwise random coefficients, its shares are the
values at other points (Shamir 1979; section 3.1 of Bonawitz et al. 2017). Numbers are taken
modulo a prime just above 2^256, so that any 32 bytes are a secret.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping

Random = Callable[[int], bytes]  # that many random bytes
system_random: Random = secrets.token_bytes

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def split(
    secret: bytes, threshold: int, points: Iterable[int], random: Random = system_random
) -> dict[int, int]:
    """Shares a secret.

    Args:
      secret: 32 bytes.
      threshold: how many shares give it back, at least 1.
      points: where the shares lie, distinct and from 1 to the prime.
      random: where the coefficients come from.

    Returns:
      For each point its share, below the prime.

    Raises:
      ValueError: the secret has another size, points repeat, are out of range or too few.
    """
    points = list(points)
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    if len(set(points)) != len(points) or not all(0 < point < PRIME for point in points):
        raise ValueError("points of shares must be distinct, above 0 and below the prime")
    if not 1 <= threshold <= len(points):
        raise ValueError(f"{len(points)} shares cannot have a threshold of {threshold}")
    random_part = [_element(random) for _ in range(threshold - 1)]
    coefficients = [int.from_bytes(secret, "big"), *random_part]
    return {point: _value(coefficients, point) for point in points}


def combine(shares: Mapping[int, int], threshold: int) -> bytes:
    """Gives back a shared secret.

    Args:
      shares: by point; more than the threshold do no harm.
      threshold: that it was shared with.

    Returns:
      The secret, 32 bytes.

    Raises:
      ValueError: too few shares, or shares that no secret of 32 bytes has.
    """
    if len(shares) < threshold:
        raise ValueError(f"{len(shares)} shares are fewer than the threshold of {threshold}")
    secret = interpolate(dict(list(shares.items())[:threshold]), 0)
    if secret >= 2 ** (8 * SECRET_BYTES):
        raise ValueError("these shares are not of one secret")
    return secret.to_bytes(SECRET_BYTES, "big")


def interpolate(values: Mapping[int, int], at: int) -> int:
    """The value at a point of the polynomial of least degree through these (point: value)."""
    total = 0
    for point, value in values.items():
        above = below = 1
        for other in values:
            if other != point:
                above = above * (at - other) % PRIME
                below = below * (point - other) % PRIME
        total += value * above * pow(below, -1, PRIME)
    return total % PRIME


def _value(coefficients: list[int], point: int) -> int:
    total = 0
    for coefficient in reversed(coefficients):
        total = (total * point + coefficient) % PRIME
    return total


def _element(random: Random) -> int:
    """Uniform below the prime: numbers beyond it are drawn again, for a remainder has a bias."""
    while True:
        drawn = int.from_bytes(random(SHARE_BYTES), "big") >> (8 * SHARE_BYTES - 257)
        if drawn < PRIME:
            return drawn
