"""What people ask of a run from outside, handed to those who do it, and answered.

It decides nothing: whether a run can be armed is the drive's to say, whether a policy may take over is the guardian's.
A bundle that is to be loaded is read and checked in a thread: that takes longer than a supervisor may be silent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

from edgerl.errors import EdgerlError
from edgerl.runtime import standing
from edgerl.runtime.control.server import Asked, ControlServer
from edgerl.runtime.structs import Status
from edgerl.runtime.succession import Succession, Work

if TYPE_CHECKING:
    from edgerl.runtime.drive import Drive


class Orders:
    """The requests of one run's control socket.

    Args:
        control: Where they come from.
        policies: Whose candidate is loaded, switched to and dropped.
        read_bundle: Reads a bundle from a descriptor, refuses what cannot take over in this run; called in a thread.
    """

    def __init__(self, control: ControlServer, policies: Succession, read_bundle: Callable[[int], Work]) -> None:
        self._control = control
        self._policies = policies
        self._read_bundle = read_bundle
        self._reader = ThreadPoolExecutor(1, "bundle")
        self._loading: tuple[Asked, Future[Work]] | None = None

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that become readable when something is asked."""
        return self._control.fds

    @property
    def path(self) -> str:
        """Of the control socket."""
        return self._control.path

    @property
    def estop_by(self) -> str:
        """Who asked for the last e-stop; empty where nobody did."""
        return self._control.estop_by

    def attend(self, drive: Drive, status: Status) -> None:
        """Do what was asked since the last call, and answer.

        An answer tells how the run stands after what was asked was done, so that is said first.
        """
        answers = []
        for asked in self._control.take():
            if asked.ask.do == "load":
                answers += self._load(asked, drive)
            else:
                answers.append((asked, self._obey(asked, drive)))
        answers += self._loaded()
        self._control.publish(standing.loop_status(drive.stage, drive.message, status, self._policies))
        for asked, refusal in answers:
            self._control.answer(asked, refusal)

    def __enter__(self) -> Orders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.shutdown(cancel_futures=True)

    def _obey(self, asked: Asked, drive: Drive) -> str:
        """Returns why it is not done, where it is not."""
        do: dict[str, Callable[[], str]] = {
            "arm": drive.arm,
            "rearm": drive.rearm,
            "disarm": drive.disarm,
            "reset": drive.reset,
            "stop": drive.stop,
            "switch": self._switch,
            "drop": self._drop,
        }
        return do[asked.ask.do]()

    def _load(self, asked: Asked, drive: Drive) -> list[tuple[Asked, str]]:
        if asked.file is None:
            return [(asked, "No bundle came with the request. It travels as a descriptor; use edgerl policy load.")]
        if drive.stage == "loading" or self._loading is not None:
            os.close(asked.file)
            return [(asked, "Another policy is being loaded. Ask again when it is ready.")]
        self._loading = asked, self._reader.submit(self._read, asked.file)
        return []

    def _read(self, file: int) -> Work:
        try:
            return self._read_bundle(file)
        finally:
            os.close(file)

    def _loaded(self) -> list[tuple[Asked, str]]:
        if self._loading is None or not self._loading[1].done():
            return []
        (asked, reading), self._loading = self._loading, None
        try:
            self._policies.propose(reading.result())
        except EdgerlError as error:
            return [(asked, str(error))]
        return [(asked, "")]

    def _switch(self) -> str:
        if not self._policies.candidate_ready:
            stands = self._policies.describe_candidate() or "there is none"
            return f"No candidate can take over: {stands}. Load one with edgerl policy load."
        self._policies.switch()
        return ""

    def _drop(self) -> str:
        self._policies.withdraw()
        return ""
