"""The machine's hardware watchdog, ``/dev/watchdog``: restarts the machine unless it is stroked in time.

Opening it starts it. It is stroked by writing, and stopped only by an orderly end, which writes a ``V`` before it
closes ("magic close"); whoever dies before that leaves it running, and that is its point. What is not a watchdog's
device can be written to as well, which is how this is tested: no machine of the tests has the device.

Reference:
    https://docs.kernel.org/watchdog/watchdog-api.html
"""

from __future__ import annotations

import contextlib
import os
import struct

from edgerl.errors import PlatformError

_WDIOC_GETTIMEOUT = 0x80045707
"""``_IOR('W', 7, int)`` of linux/watchdog.h, as x86 and ARM count it."""
_SECOND_NS = 1_000_000_000
LEAST_TIMEOUT_S = 2
"""Below that, an ordinary-priority process on a busy machine cannot promise to be in time."""


class Watchdog:
    """An open watchdog.

    Args:
        path: Of the device.

    Raises:
        PlatformError: It cannot be opened, or its time-out is too short.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise PlatformError(
                f"The watchdog {path} cannot be opened ({error.strerror}). Expected a device that this user may write "
                "to and nobody else has open; systemd has it where RuntimeWatchdogSec= is set."
            ) from error
        self.timeout_s = self._timeout_s()
        if self.timeout_s is not None and self.timeout_s < LEAST_TIMEOUT_S:
            self.close(orderly=True)
            raise PlatformError(
                f"The watchdog {path} acts after {self.timeout_s} s. Expected {LEAST_TIMEOUT_S} s or more; set its "
                "time-out before, as with wdctl --settimeout."
            )
        self._every_ns = _SECOND_NS // 2 if self.timeout_s is None else self.timeout_s * _SECOND_NS // 4
        self._stroke_at_ns = 0

    def stroke(self, now_ns: int) -> None:
        """Keep it from acting; four times in its time-out."""
        if now_ns >= self._stroke_at_ns:
            self._stroke_at_ns = now_ns + self._every_ns
            self._write(b"\0")

    def close(self, *, orderly: bool) -> None:
        """Stop it where the end is an orderly one; otherwise leave it running."""
        if self._fd >= 0:
            if orderly:
                self._write(b"V")
            os.close(self._fd)
            self._fd = -1

    def _write(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # then it acts, and there is nothing better to do
            os.write(self._fd, what)

    def _timeout_s(self) -> int | None:
        import fcntl  # noqa: PLC0415  not on every system

        try:
            answer = fcntl.ioctl(self._fd, _WDIOC_GETTIMEOUT, struct.pack("i", 0))
        except OSError:  # not a watchdog's device
            return None
        return int(struct.unpack("i", answer)[0])
