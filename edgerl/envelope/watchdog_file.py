"""Reading the ``[watchdog]`` table of the envelope file."""

from __future__ import annotations

from typing import Final

from edgerl.envelope.law_file import nanoseconds
from edgerl.envelope.watchdog import Jitter, Watchdog
from edgerl.toml import Table

_KEYS: Final = ("jitter", "frozen_ticks", "heartbeat_timeout_s")
_JITTER: Final = ("budget_s", "misses", "of_ticks")


def read_watchdog(table: Table) -> Watchdog | None:
    """Return the watchdogs that a file describes; None where it has no ``[watchdog]``.

    Raises:
        EnvelopeError: A key that is unknown, missing or of another type.
    """
    if "watchdog" not in table:
        return None
    said = table.table("watchdog", _KEYS)
    return Watchdog(
        jitter=_jitter(said.table("jitter", _JITTER)) if "jitter" in said else None,
        frozen_ticks=said.integer("frozen_ticks") if "frozen_ticks" in said else None,
        heartbeat_timeout_ns=nanoseconds(said, "heartbeat_timeout_s") if "heartbeat_timeout_s" in said else None,
    )


def _jitter(said: Table) -> Jitter:
    return Jitter(nanoseconds(said, "budget_s"), said.integer("misses"), said.integer("of_ticks"))
