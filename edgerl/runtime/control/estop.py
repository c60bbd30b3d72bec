"""The e-stop from the command line, with as little between the key and the guardian as there can be.

It reads no status, waits for no owner and imports no command line: connect, send, hear that it arrived. The command
``edgerl estop`` comes here before anything else is imported.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from edgerl.errors import ControlError, NoSuchRun
from edgerl.runtime.control.places import Connection, reach, reach_all

PACKET = b'{"do": "estop"}'
TAKEN = b'"refusal":""'
MAX_REPLY_BYTES = 65536
"""These three are what :mod:`edgerl.runtime.control.messages` would say, which imports more than an e-stop needs."""


def send_estop(name: str | None = None, *, control: str | None = None, every: bool = False) -> tuple[str, ...]:
    """Stop the robot of a run, or those of all.

    Args:
        name: Of the run; None where only one is alive.
        control: Path of its socket, where it was started with one.
        every: Stop every run that this user can reach.

    Returns:
        The names of the runs that heard it.

    Raises:
        NoSuchRun: None is alive, none of this name, or several and no name was said.
        NoRight: This user may not use the socket; nothing was sent.
        ControlError: It was sent, and the run did not say that it arrived.
    """
    if not every:
        return _stop([reach(name, control=control)])
    found = reach_all(name)
    if not found:
        raise NoSuchRun("No run is alive that this user can reach.")
    return _stop(found)


def _stop(found: Sequence[Connection]) -> tuple[str, ...]:
    """All are told before the first is waited for."""
    for one in found:
        with contextlib.suppress(OSError):  # heard below
            one.socket.send(PACKET, socket.MSG_NOSIGNAL)
    silent = [one.name for one in found if not _heard(one)]
    if silent:
        raise ControlError(
            f"The e-stop was sent to {', '.join(silent)} and no answer came. Use the robot's own e-stop."
        )
    return tuple(one.name for one in found)


def _heard(one: Connection) -> bool:
    try:
        return TAKEN in one.socket.recv(MAX_REPLY_BYTES)
    except OSError:
        return False
    finally:
        one.socket.close()
