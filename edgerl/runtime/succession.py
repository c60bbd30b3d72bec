"""Sees to it that a run has a policy that can act: starts the first, replaces the dead, keeps a spare and a candidate.

Nothing here puts a policy in charge: after a death the guardian is on its ladder, and stays there until it is reset.
The successor only makes it possible to arm again. It runs in the supervisor's step and never waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgerl.runtime.enums import Event, Mode
from edgerl.runtime.job import Job
from edgerl.runtime.policies import Changes, InferenceTimes, PolicyProcess
from edgerl.runtime.restarts import RestartLimits, Restarts
from edgerl.runtime.structs import Status


class Roles(Protocol):
    """What is needed of :class:`edgerl.runtime.policies.Policies`."""

    @property
    def acting(self) -> PolicyProcess | None: ...  # noqa: D102
    @property
    def candidate(self) -> PolicyProcess | None: ...  # noqa: D102
    def start(self, job: Job, *, rest: bool = False) -> PolicyProcess: ...  # noqa: D102
    def act(self, policy: PolicyProcess | None) -> None: ...  # noqa: D102
    def make_candidate(self, policy: PolicyProcess | None) -> None: ...  # noqa: D102
    def switch(self) -> None: ...  # noqa: D102
    def drop(self, policy: PolicyProcess) -> None: ...  # noqa: D102
    def attend(self, status: Status) -> Changes: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Work:
    """What a policy process is started with, and the SHA-256 of the bundle that it is from."""

    job: Job
    bundle: str


class Succession:
    """The policies of one run, by who comes after whom.

    Args:
        roles: The processes.
        work: The first acting policy's.
        limits: How often one that died is started again.
        spare: Whether a warm one waits to replace the acting one at once.
    """

    def __init__(self, roles: Roles, work: Work, limits: RestartLimits, *, spare: bool = False) -> None:
        self._roles = roles
        self._work = work
        self._candidate_work: Work | None = None
        self._restarts = Restarts(limits)
        self._wants_spare = spare
        self._spare: PolicyProcess | None = None
        self._overstayed_tick: int | None = None
        self.obituary = ""
        """How the last acting policy ended; empty where none has."""
        self.candidate_obituary = ""

    @property
    def ready(self) -> bool:
        """Whether the acting policy is warm and has passed its golden set."""
        return self._roles.acting is not None and self._roles.acting.ready

    @property
    def inference(self) -> InferenceTimes | None:
        """What the acting policy measured of itself; None before it is ready."""
        return self._roles.acting.inference if self._roles.acting is not None else None

    @property
    def candidate_ready(self) -> bool:
        """Whether there is a candidate that could take over."""
        return self._roles.candidate is not None and self._roles.candidate.ready

    @property
    def final(self) -> bool:
        """Whether there is no acting policy and none will come."""
        return self._roles.acting is None and not self._restarts.waiting

    @property
    def restarts(self) -> int:
        """How many policies were started in place of one that died."""
        return self._restarts.total

    def describe(self) -> str:
        """Return how the acting policy stands."""
        if self._roles.acting is not None:
            return "ready" if self._roles.acting.ready else "loading"
        return f"{self.obituary}; {'it is started again' if self._restarts.waiting else self._restarts.describe()}"

    def describe_candidate(self) -> str:
        """Return how the candidate stands; empty where there is and was none."""
        if self._roles.candidate is None:
            return self.candidate_obituary
        return "ready" if self._roles.candidate.ready else "loading"

    @property
    def bundle(self) -> str:
        """SHA-256 of the bundle that the acting policy is from."""
        return self._work.bundle

    @property
    def candidate_bundle(self) -> str:
        """The same of the candidate; empty where there is none."""
        return self._candidate_work.bundle if self._candidate_work and self._roles.candidate else ""

    def in_charge(self) -> None:
        """Note that the acting policy was armed: what died before is not to blame for what comes."""
        self.obituary = ""

    def begin(self) -> None:
        """Start the first policy."""
        self._roles.act(self._roles.start(self._work.job))

    def propose(self, work: Work) -> None:
        """Start a candidate in the place of the one that is there.

        Raises:
            PolicyProcessError: Every slot has a process.
        """
        self.withdraw()
        self._roles.make_candidate(self._roles.start(work.job))
        self._candidate_work = work

    def withdraw(self) -> None:
        """End the candidate, where there is one."""
        if self._roles.candidate is not None:
            self._roles.drop(self._roles.candidate)
        self._candidate_work, self.candidate_obituary = None, ""

    def switch(self) -> None:
        """Ask the guardian to let the candidate take over."""
        self._roles.switch()

    def attend(self, status: Status, now_s: float) -> None:
        """Follow what has happened since the last call.

        Args:
            status: The guardian's, newly read.
            now_s: Monotonic time.
        """
        self._kill_what_overstays(status)
        acting, candidate = self._roles.acting, self._roles.candidate
        changes = self._roles.attend(status)
        if changes.retired is not None:
            self._hand_over(changes.retired)
        for dead in changes.died:
            self._bury(dead, acting if changes.retired is None else candidate, now_s)
        self._replace(now_s)

    def _hand_over(self, retired: PolicyProcess) -> None:
        """The one that retired becomes the candidate, so that it can be switched back to."""
        if self._candidate_work is not None:
            self._work, self._candidate_work = self._candidate_work, self._work
        self._restarts.forgive()
        if self._spare is not None:  # of the policy that acts no more
            self._roles.drop(self._spare)
            self._spare = None
        self._roles.make_candidate(retired)

    def _bury(self, dead: PolicyProcess, acting: PolicyProcess | None, now_s: float) -> None:
        if dead is acting:
            self.obituary = dead.obituary()
            self._restarts.died(now_s)
        elif dead is self._spare:
            self._spare = None
            self._restarts.died(now_s)
        else:
            self.candidate_obituary = dead.obituary()
        self._roles.drop(dead)

    def _replace(self, now_s: float) -> None:
        """A spare steps in even while it loads: it began earlier than another one would."""
        if self._roles.acting is None and self._spare is not None:
            self._roles.act(self._spare)
            self._spare = None
        due = self._restarts.due(now_s)
        if self._roles.acting is None and due:
            self._roles.act(self._roles.start(self._work.job))
        idle = self.ready and not self._restarts.waiting and not self._restarts.given_up
        if self._wants_spare and self._spare is None and idle:
            self._spare = self._roles.start(self._work.job, rest=True)

    def _kill_what_overstays(self, status: Status) -> None:
        """Once for each fault: the successor of the one that was killed is not to blame for it."""
        timed_out = status.fault == Event.INFERENCE_TIMEOUT and status.mode in (Mode.FALLBACK, Mode.STOPPED)
        if timed_out and status.fault_tick != self._overstayed_tick:
            self._overstayed_tick = status.fault_tick
            if self._roles.acting is not None:
                self._roles.acting.kill()
