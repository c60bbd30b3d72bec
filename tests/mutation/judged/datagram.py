"""The mutants of datagram.c."""

from __future__ import annotations

TESTS = ("datagram",)
