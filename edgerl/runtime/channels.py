"""One value of a STATE or COMMAND datagram: its name and its unit. What there is of them is the layout's."""

from __future__ import annotations

from dataclasses import dataclass

NO_UNIT = "1"
"""Unit of a channel of which nobody said more; SI's own name for a bare number."""


@dataclass(frozen=True)
class Channel:
    """One value of a STATE or COMMAND."""

    name: str
    unit: str
