"""Ctrl-C while a robot moves: the first one is an orderly stop, the second an e-stop. SIGTERM counts as the first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupts:
    """How often a person asked to stop; read by the run's loop, written by the signal handler only."""

    def __init__(self) -> None:
        self.count = 0

    def interrupt(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Count one."""
        self.count += 1

    def check(self) -> None:
        """Say it as Python does, where nothing has to be stopped in order yet.

        Raises:
            KeyboardInterrupt: A person asked to stop.
        """
        if self.count:
            raise KeyboardInterrupt


@contextlib.contextmanager
def catch_interrupts() -> Iterator[Interrupts]:
    """Count SIGINT and SIGTERM instead of dying of them; outside the main thread nothing is caught."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupts.interrupt) for number in numbers]
    try:
        yield interrupts
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
