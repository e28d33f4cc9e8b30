"""Secret sharing: by hand, every subset, and that fewer shares say nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfr_jax.privacy.secure_sum.shamir import PRIME, Random, combine, interpolate, split

secret_bytes = st.binary(min_size=32, max_size=32)


def drawn(seed: int) -> Random:
    return np.random.default_rng(seed).bytes


def test_by_hand() -> None:
    # The line 5 + 3 x has 8 at 1, 11 at 2 and 14 at 3.
    assert interpolate({1: 8, 3: 14}, 0) == 5
    assert interpolate({1: 8, 3: 14}, 2) == 11
    # The parabola 7 + x^2.
    assert combine({1: 8, 2: 11, 3: 16}, 3) == (7).to_bytes(32, "big")
    # One coefficient from bytes that are all zero but the last bit of 257: 1, so the line s + x.
    one = split(bytes(31) + b"\x05", 2, [1, 2], lambda n: bytes(n - 1) + b"\x80")
    assert one == {1: 6, 2: 7}


def test_the_prime_is_one() -> None:
    """Miller and Rabin's test to 20 bases, none of which a number that is no prime would pass."""
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 22):
        powers = [pow(base, odd * 2**i, PRIME) for i in range(twos)]
        assert powers[0] == 1 or PRIME - 1 in powers


@given(secret_bytes, st.integers(1, 6), st.integers(0, 3), st.integers(0, 2**32), st.data())
def test_any_shares_reconstruct(
    secret: bytes, threshold: int, more: int, seed: int, data: st.DataObject
) -> None:
    points = st.integers(1, 2**32)
    count = threshold + more
    at = data.draw(st.lists(points, min_size=count, max_size=count, unique=True))
    shares = split(secret, threshold, at, drawn(seed))
    for subset in itertools.combinations(at, threshold):
        assert combine({point: shares[point] for point in subset}, threshold) == secret
    with pytest.raises(ValueError, match="fewer than the threshold"):
        combine({point: shares[point] for point in at[: threshold - 1]}, threshold)


@given(secret_bytes, secret_bytes, st.integers(2, 6), st.integers(0, 2**32))
def test_fewer_shares_fit_every_secret(
    secret: bytes, other: bytes, threshold: int, seed: int
) -> None:
    """For any other secret exactly one polynomial has the same shares, and all polynomials are
    drawn equally often: so the shares say nothing."""
    shares = split(secret, threshold, range(1, threshold + 1), drawn(seed))
    missing = shares.popitem()[0]
    other_share = interpolate({0: int.from_bytes(other, "big"), **shares}, missing)
    assert combine({**shares, missing: other_share}, threshold) == other


def test_shares_of_different_secrets_are_spread_alike() -> None:
    """The top 3 bits of a share of two unlike secrets, 4,000 times each; chi-square with 7
    degrees of freedom is beyond 24.3 once in a thousand."""
    for secret in (bytes(32), b"\xff" * 32):
        random = drawn(3)
        found = [split(secret, 2, [1, 2], random)[1] >> 253 for _ in range(4000)]
        counts = np.bincount(found, minlength=8)[:8]
        assert ((counts - 500) ** 2 / 500).sum() < 24.3


def test_nonsense_is_refused() -> None:
    for secret, threshold, points in (
        (bytes(31), 1, [1]),
        (bytes(32), 3, [1, 2]),
        (bytes(32), 0, [1]),
        (bytes(32), 1, [0, 1]),
        (bytes(32), 1, [2, 2]),
    ):
        with pytest.raises(ValueError):
            split(secret, threshold, points)
    with pytest.raises(ValueError, match="not of one secret"):
        combine({1: PRIME - 1}, 1)
