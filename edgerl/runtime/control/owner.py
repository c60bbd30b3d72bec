"""Who owns the robot: one at a time may put the policy in charge or take it out, so that two people never pull at it.

An owner is a name that was said and the user that the kernel vouches for. Names keep people from mistakes; against
somebody with the same user's rights nothing here protects. An e-stop asks nobody.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from edgerl.runtime.control.messages import FREE_VERBS, Ask, OwnerStatus


@dataclass(frozen=True)
class Peer:
    """The process at the other end of a connection, as the kernel says."""

    pid: int
    uid: int
    gid: int


def owner_of(ask: Ask, peer: Peer) -> OwnerStatus:
    """Return who asks."""
    return OwnerStatus(ask.as_name or _user(peer.uid), peer.uid)


class Ownership:
    """The owner of one run's robot; the first who asks for something that needs one becomes it."""

    def __init__(self) -> None:
        self.owner: OwnerStatus | None = None

    def admit(self, ask: Ask, peer: Peer) -> str:
        """Judge a request, and change the owner where it says so.

        Returns:
            Why it is refused; empty where it is not.
        """
        who = owner_of(ask, peer)
        if ask.do == "own" and ask.take and peer.uid in (0, os.geteuid()):
            self.owner = who
            return ""
        if ask.do in FREE_VERBS and ask.do != "release":
            return ""
        if self.owner is not None and self.owner != who:
            return (
                f"{ask.do} was not done: '{self.owner.name}' (user {_user(self.owner.uid)}) owns the robot. Ask as "
                "that owner with --as, have it released, or take it over with edgerl own --take. An e-stop needs no "
                "owner."
            )
        self.owner = None if ask.do == "release" else who
        return ""


def _user(uid: int) -> str:
    import pwd  # noqa: PLC0415  not on every system

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
