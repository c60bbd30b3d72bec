"""The guardian's BLAKE2s is that of RFC 7693 and of hashlib."""

from __future__ import annotations

import ctypes
import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgerl.runtime import core


def blake2s(message: bytes, *, key: bytes = b"", size: int = 32) -> bytes:
    digest = ctypes.create_string_buffer(size)
    core.library().erl_blake2s(key, len(key), message, len(message), ctypes.addressof(digest), size)
    return digest.raw


def test_abc_has_the_digest_of_the_rfcs_appendix_b():
    assert blake2s(b"abc").hex() == "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"


def self_test_sequence(size: int, seed: int) -> bytes:
    """Deterministic bytes, as in the RFC's appendix E."""
    a, b = 0xDEAD4BAD * seed % 2**32, 1
    out = bytearray()
    for _ in range(size):
        a, b = b, (a + b) % 2**32
        out.append(b >> 24)
    return bytes(out)


def test_it_passes_the_self_test_of_the_rfcs_appendix_e():
    whole = b""
    for size in (16, 20, 28, 32):
        for length in (0, 3, 64, 65, 255, 1024):
            message = self_test_sequence(length, length)
            whole += blake2s(message, size=size)
            whole += blake2s(message, key=self_test_sequence(size, size), size=size)
    assert blake2s(whole).hex() == "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe"


@given(st.binary(max_size=1500), st.binary(max_size=32), st.integers(1, 32))
@example(bytes(64), bytes(32), 16)
@example(bytes(63), bytes(32), 16)
@example(bytes(65), b"", 16)
@example(bytes(1456), b"k" * 32, 16)
@example(b"", b"", 32)
def test_it_is_that_of_hashlib(message, key, size):
    assert blake2s(message, key=key, size=size) == hashlib.blake2s(message, key=key, digest_size=size).digest()


@pytest.mark.parametrize("bit", [0, 7, 8, 127, 255])
def test_another_key_gives_another_tag(bit):
    key = bytearray(32)
    key[bit // 8] ^= 1 << bit % 8
    assert blake2s(b"state", key=bytes(key), size=16) != blake2s(b"state", key=bytes(32), size=16)
