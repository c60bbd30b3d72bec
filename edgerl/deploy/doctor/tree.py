"""Reading what the kernel tells in its files, below a root that tests can choose.

Every read is bounded in bytes and every search in matches, a pipe in a file's place does not block, and nothing is
written. What cannot be read, or reads as nothing valid, is :class:`~edgerl.deploy.doctor.check.Unread` with the file's
name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edgerl.deploy.doctor.check import Unread

MAX_BYTES = 64 * 1024
"""Of one file; the kernel's own files that are read whole have under 4 KiB."""
MAX_MATCHES = 8192
"""Of one search; a machine with 1,024 CPUs of five idle states each has 5,120."""
MAX_CPU = 8191
"""Highest CPU number; Linux builds for at most 8,192 CPUs (CONFIG_NR_CPUS)."""

_CPU_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)
_SHOWN = 40


@dataclass(frozen=True)
class Tree:
    """A machine's file system; paths are relative to its root."""

    root: Path

    def text(self, path: str, *, first: int | None = None) -> str:
        """Return a file's text without white space and NUL at its ends.

        Args:
            path: Below the root.
            first: Read only so many bytes from its start; None: the whole file, which must be small.

        Raises:
            Unread: Not there, not allowed, too large or not text.
        """
        limit = MAX_BYTES + 1 if first is None else first
        try:
            descriptor = os.open(self.root / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                data = _read(descriptor, limit)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unread(f"/{path}: {(error.strerror or str(error)).lower()}") from error
        if len(data) > MAX_BYTES:
            raise Unread(f"/{path}: longer than {MAX_BYTES // 1024} KiB")
        try:
            text = data.decode("utf-8", errors="strict" if first is None else "replace")
        except UnicodeDecodeError as error:
            raise Unread(f"/{path}: not text") from error
        return text.strip(" \t\r\n\0")

    def word(self, path: str) -> str:
        """Return a file's only word, such as a governor's name.

        Raises:
            Unread: As :meth:`text`, or anything but one word.
        """
        text = self.text(path)
        if not re.fullmatch(r"[\w.:,+-]{1,64}", text, re.ASCII):
            raise Unread(f"/{path}: says {shown(text)}, not one word")
        return text

    def integer(self, path: str, low: int = 0, high: int = 2**63 - 1) -> int:
        """Return a file's only number.

        Raises:
            Unread: As :meth:`text`, or not an integer from ``low`` to ``high``.
        """
        text = self.text(path)
        if not re.fullmatch(r"-?\d{1,19}", text, re.ASCII) or not low <= int(text) <= high:
            raise Unread(f"/{path}: says {shown(text)}, not a number from {low} to {high}")
        return int(text)

    def cpus(self, path: str) -> tuple[int, ...]:
        """Return the CPUs of a list such as ``0-3,5``, ascending; empty where it is empty.

        Raises:
            Unread: As :meth:`text`, or not a list of CPUs.
        """
        return parse_cpus(self.text(path), path)

    def matches(self, pattern: str) -> tuple[str, ...]:
        """Return the paths that a glob pattern finds, numbers in their order."""
        found = islice(self.root.glob(pattern), MAX_MATCHES)
        return tuple(sorted((str(path.relative_to(self.root)) for path in found), key=_natural))

    def has(self, path: str) -> bool:
        """Return whether something is there."""
        try:
            return (self.root / path).exists()
        except OSError:
            return False


def parse_cpus(text: str, path: str) -> tuple[int, ...]:
    """Return the CPUs of a list, ascending; ``path`` names its file in the complaint.

    Raises:
        Unread: Not a list of CPUs.
    """
    if text in {"", "(null)"}:  # some kernels print an unset mask so
        return ()
    cpus: set[int] = set()
    for part in text.split(","):
        match = _CPU_RANGE.fullmatch(part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not low <= high <= MAX_CPU:
            raise Unread(f"/{path}: says {shown(text)}, not a list of CPUs")
        cpus.update(range(low, high + 1))
    return tuple(sorted(cpus))


def cpu_list(cpus: tuple[int, ...]) -> str:
    """Return CPUs as the kernel writes them; the inverse of :func:`parse_cpus` for sorted CPUs."""
    return ",".join(f"{low}-{high}" if low < high else f"{low}" for low, high in _runs(cpus))


def shown(text: str) -> str:
    """Return a stranger's text, short and printable."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _read(descriptor: int, limit: int) -> bytes:
    data = b""
    while len(data) < limit and (part := os.read(descriptor, limit - len(data))):
        data += part
    return data


def _runs(cpus: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    start = previous = -1
    for cpu in (*cpus, -1):
        if cpu != previous + 1 or start < 0:
            if start >= 0:
                yield start, previous
            start = cpu
        previous = cpu


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path)]
