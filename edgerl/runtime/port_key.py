"""The keys of an authenticated robot port: one that both sides were given in a file, and those made of it.

Every session has keys of its own, one for each direction, made of the shared one and of a fresh random number from each
side: a recording of an old session opens nothing. A key is never shown: not in a message, a recording, a process's
arguments or the text of an object here. ``docs/robot-port.md`` says which bytes go into which key.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from edgerl.errors import PortKeyError
from edgerl.runtime.wire import KEY_BYTES, NONCE_BYTES

_HEX = re.compile(rf"[0-9A-Fa-f]{{{2 * KEY_BYTES}}}\s*")
_REMEDY = "Make one with edgerl.runtime.port_key.make_key(PATH), and give both sides the same file."


@dataclass(frozen=True)
class SessionKeys:
    """What the datagrams of one session are tagged with."""

    to_robot: bytes = field(repr=False)
    to_controller: bytes = field(repr=False)


@dataclass(frozen=True)
class PortKey:
    """What controller and robot share; 32 bytes."""

    shared: bytes = field(repr=False)

    def hello(self) -> bytes:
        """Return the key of a first HELLO."""
        return self._derive(b"hello")

    def answer(self, controller: bytes) -> bytes:
        """Return the key of WELCOME and REFUSED to a HELLO with this random number; no older answer fits it."""
        return self._derive(b"answer", controller)

    def session(self, session: int, controller: bytes, robot: bytes) -> SessionKeys:
        """Return the keys of a session; ``controller`` and ``robot`` are the random numbers of HELLO and WELCOME."""
        parts = session.to_bytes(8, "little"), controller, robot
        return SessionKeys(self._derive(b"to robot", *parts), self._derive(b"to controller", *parts))

    def _derive(self, *parts: bytes) -> bytes:
        return hashlib.blake2s(b"".join(parts), digest_size=KEY_BYTES, key=self.shared).digest()


def fresh_nonce() -> bytes:
    """Return a random number that was never used before, 16 bytes."""
    return secrets.token_bytes(NONCE_BYTES)


def make_key(path: Path | str) -> PortKey:
    """Write a new key into a new file that only its owner may read, and return it.

    Raises:
        PortKeyError: The file exists, or cannot be made.
    """
    key = secrets.token_bytes(KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key.hex() + "\n")
    except OSError as error:
        raise PortKeyError(
            path, f"no key was written ({error.strerror})", "Name a new file in a folder of yours."
        ) from error
    return PortKey(key)


def read_key(path: Path | str) -> PortKey:
    """Return the key in a file: 64 hexadecimal digits.

    Raises:
        PortKeyError: Others than the file's owner may read or write it, it is somebody else's, or it holds no key.
    """
    try:
        # Not blocking: what is named may be a pipe.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            about = os.fstat(file.fileno())
            content = file.read(2 * KEY_BYTES + 64) if stat.S_ISREG(about.st_mode) else b""
    except OSError as error:
        raise PortKeyError(path, f"the port's key cannot be read ({error.strerror})", _REMEDY) from error
    if about.st_mode & 0o077:
        mode = stat.S_IMODE(about.st_mode)
        raise PortKeyError(path, f"others than its owner may use this key (mode {mode:04o})", f"chmod 600 {path}")
    if about.st_uid not in (0, os.geteuid()):
        raise PortKeyError(path, f"this key is user {about.st_uid}'s", "Give this user a file of its own.")
    text = content.decode("ascii", errors="replace")
    if not _HEX.fullmatch(text):
        raise PortKeyError(path, f"no key is in it: expected {2 * KEY_BYTES} hexadecimal digits", _REMEDY)
    return PortKey(bytes.fromhex(text.strip()))
