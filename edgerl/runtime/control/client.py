"""Asks a run that is going on: the public side of its control socket.

```python
with edgerl.connect("walker") as run:
    run.arm()
    ...
    run.disarm()
```

A run does what it is asked or says why not; a client that waits for the outcome asks again for the status until it is
there, so nothing is owed to a client that went away.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from edgerl.errors import ControlError, RequestRefused, SpecError, UnreadableFile
from edgerl.runtime.control.messages import (
    MAX_OWNER,
    MAX_REPLY_BYTES,
    Ask,
    Reply,
    RunStatus,
    Stage,
    Verb,
    decode_reply,
    encode_ask,
)
from edgerl.runtime.control.places import PATIENCE_S, Connection, reach

SETTLE_S = 120.0
"""The run itself gives up earlier: 10 s, and the way to the start pose, when it is armed."""
LOAD_S = 120.0
"""Reading a bundle, importing a backend and passing the golden set takes seconds on a small board."""
_LOOK_EVERY_S = 0.02


def connect(name: str | None = None, *, control: str | None = None, owner: str | None = None) -> Control:
    """Connect to a live run on this machine.

    Args:
        name: Of the run, as ``edgerl run --name`` said it; None where only one is alive.
        control: Path of its socket, where it was started with ``--control``.
        owner: Who asks; the user's name where it is not said.

    Raises:
        NoSuchRun: None is alive, none of this name, or several and no name was said.
        NoRight: This user may not use its socket; nothing was sent.
    """
    if owner is not None and not (0 < len(owner) <= MAX_OWNER and owner.isprintable()):
        raise ControlError(f"{owner!r} cannot be an owner's name. Valid: 1 to {MAX_OWNER} printable characters.")
    return Control(reach(name, control=control), owner or "")


class Control:
    """A connection to one run. Not for several threads at once.

    Every method raises :class:`~edgerl.errors.RequestRefused` where the run does not do it, and
    :class:`~edgerl.errors.ControlError` where the run has ended or does not answer.
    """

    def __init__(self, connection: Connection, owner: str = "") -> None:
        self.name = connection.name
        self._path = connection.path
        self._socket = connection.socket
        self._owner = owner

    def status(self) -> RunStatus:
        """Return how the run stands."""
        return self._ask("status")

    def estop(self) -> RunStatus:
        """Stop the robot now, whoever owns it: the guardian sends its safe command once and then nothing more."""
        return self._ask("estop")

    def arm(
        self, *, timeout_s: float = SETTLE_S, wait: bool = True, meanwhile: Callable[[], object] = lambda: None
    ) -> RunStatus:
        """Put the policy in charge; returns when it is, or without ``wait`` when the run has begun to.

        ``meanwhile`` is called again and again while it waits: a dead-man switch has to be held on the way, too.
        """
        asked = self._ask("arm")
        return self._settle(asked, timeout_s, meanwhile) if wait else asked

    def rearm(
        self, *, timeout_s: float = SETTLE_S, wait: bool = True, meanwhile: Callable[[], object] = lambda: None
    ) -> RunStatus:
        """Leave FALLBACK or STOPPED, and put the policy in charge again; returns as :meth:`arm`."""
        asked = self._ask("rearm")
        return self._settle(asked, timeout_s, meanwhile) if wait else asked

    def disarm(self, *, timeout_s: float = SETTLE_S) -> RunStatus:
        """Take the policy out of charge; returns when the robot gets the safe command."""
        return self._leave("running", self._ask("disarm"), timeout_s)

    def load_policy(self, bundle: Path | str, *, timeout_s: float = LOAD_S) -> RunStatus:
        """Let the policy of a bundle stand beside the acting one; returns when it is warm and could take over.

        The bundle travels as an open file, so it is this user who needs the right to read it. The one that stood there
        before is ended.

        Raises:
            UnreadableFile: The bundle cannot be opened.
        """
        try:
            file = os.open(bundle, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            raise UnreadableFile(bundle, getattr(error, "strerror", None) or str(error)) from error
        try:
            now = self._ask("load", file=file, patience_s=timeout_s)
        finally:
            os.close(file)
        until = time.monotonic() + timeout_s
        while now.loop.candidate.state == "loading" and time.monotonic() < until:
            time.sleep(_LOOK_EVERY_S)
            now = self.status()
        if now.loop.candidate.state != "ready":
            raise RequestRefused(f"The policy did not get ready: it {now.loop.candidate.state or 'was dropped'}.")
        return now

    def switch_policy(self, *, timeout_s: float = SETTLE_S) -> RunStatus:
        """Let the candidate take over between two ticks; the one that acted before is the candidate then."""
        asked = now = self._ask("switch")
        until = time.monotonic() + timeout_s
        while _switches(now) == _switches(asked):
            if time.monotonic() > until:
                raise RequestRefused(f"The guardian did not switch within {timeout_s:g} s.")
            time.sleep(_LOOK_EVERY_S)
            now = self.status()
        if now.loop.switched == asked.loop.switched:
            raise RequestRefused("The guardian did not let the candidate take over: no action of its came in time.")
        return now

    def drop_policy(self) -> RunStatus:
        """End the candidate."""
        return self._ask("drop")

    def operate(self, values: Sequence[float] = (), *, dead_man: bool = False) -> RunStatus:
        """Say what the operator wants, now; to be repeated more often than the run's ``operator.timeout_s``.

        Args:
            values: In the order and units of ``status().operator``.
            dead_man: Whether the switch is held.
        """
        return self._ask("operate", values=tuple(values), dead_man=dead_man)

    def reset(self) -> RunStatus:
        """Leave FALLBACK or STOPPED for SAFE."""
        return self._ask("reset")

    def stop(self) -> RunStatus:
        """End the run in order, as one Ctrl-C does."""
        return self._ask("stop")

    def own(self, *, take: bool = False) -> RunStatus:
        """Own the robot; with ``take`` also where another does, as the user who started the run, or root."""
        return self._ask("own", take=take)

    def release(self) -> RunStatus:
        """Own it no longer."""
        return self._ask("release")

    def close(self) -> None:
        """Hang up; the run goes on."""
        self._socket.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(
        self,
        do: Verb,
        *,
        take: bool = False,
        values: tuple[float, ...] = (),
        dead_man: bool = False,
        file: int | None = None,
        patience_s: float = 0.0,
    ) -> RunStatus:
        at_ns = time.monotonic_ns() if do == "operate" else 0
        reply = self._exchange(Ask(do, self._owner, take, values, dead_man, at_ns), file, patience_s)
        if reply.refusal:
            raise RequestRefused(reply.message) if reply.refusal == "refused" else ControlError(reply.message)
        if reply.status is None:
            raise ControlError(f"The run at {self._path} did not say how it stands. Use the edgerl that started it.")
        return reply.status

    def _exchange(self, ask: Ask, file: int | None, patience_s: float) -> Reply:
        self._socket.settimeout(max(PATIENCE_S, patience_s))
        try:
            socket.send_fds(self._socket, [encode_ask(ask)], [] if file is None else [file])
            packet = self._socket.recv(MAX_REPLY_BYTES)
        except TimeoutError as error:
            raise ControlError(
                f"The run '{self.name}' did not answer in time: its supervisor may hang. edgerl estop goes past it."
            ) from error
        except OSError as error:
            raise ControlError(f"The run '{self.name}' hung up ({error.strerror or error}).") from error
        if not packet:
            raise ControlError(f"The run '{self.name}' has ended.")
        try:
            return decode_reply(packet)
        except SpecError as error:
            raise ControlError(str(error)) from error

    def _settle(self, asked: RunStatus, timeout_s: float, meanwhile: Callable[[], object]) -> RunStatus:
        now = self._leave("arming", asked, timeout_s, meanwhile)
        if now.loop.armed == asked.loop.armed and now.loop.stage != "running":
            missing = ", ".join(now.loop.arm_missing) or "nothing that the guardian names"
            why = now.loop.message or f"What was missing: {missing}."
            raise RequestRefused(f"The run '{self.name}' was not armed; it is in mode {now.loop.mode}. {why}")
        return now

    def _leave(
        self, stage: Stage, now: RunStatus, timeout_s: float, meanwhile: Callable[[], object] = lambda: None
    ) -> RunStatus:
        until = time.monotonic() + timeout_s
        while now.loop.stage == stage:
            if time.monotonic() > until:
                raise RequestRefused(f"The run '{self.name}' is still {stage} after {timeout_s:g} s.")
            meanwhile()
            time.sleep(_LOOK_EVERY_S)
            now = self.status()
        return now


def _switches(run: RunStatus) -> tuple[int, int]:
    return run.loop.switched, run.loop.switch_refused
