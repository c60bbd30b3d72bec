"""The policy processes of one run: who acts, who stands beside, who rests, who has died.

A process gets a mailbox slot and an epoch of its own when it starts. A slot is given away again only when its process
has ended and was reaped, so each mailbox has one writer at any time. The guardian hears of roles as words (epoch and
slot) through the requests block; only here are they written.

Roles: the *acting* policy's answers become commands; the *candidate* gets the same observations, its answers are
recorded, and it may take over; a process without a role that was started resting waits, warm, and computes nothing.
What it does not do: decide. When to start, exchange or kill a policy is the supervisor's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

from edgerl.errors import PolicyProcessError
from edgerl.runtime import core
from edgerl.runtime.enums import Request
from edgerl.runtime.frame_sources import FrameSources
from edgerl.runtime.job import Job, pack_job
from edgerl.runtime.processes import Child, environment, python
from edgerl.runtime.segments import SharedMemory, sealed
from edgerl.runtime.structs import Status
from edgerl.spec import PolicySpec

_MODULE = "edgerl.runtime.policy_process"


@dataclass(frozen=True)
class InferenceTimes:
    """How long one inference takes on this machine, as the policy process measured it while warming up, in [ns]."""

    median_ns: int
    worst_ns: int
    n: int
    """Inferences that were measured."""


class PolicyProcess:
    """One started policy process.

    Attributes:
        slot: Its action mailbox.
        epoch: Number of its start; no two processes of a run share one.
        spec: Of the policy that it runs.
    """

    def __init__(
        self, child: Child, *, slot: int, epoch: int, spec: PolicySpec, mailbox: int, rest: int | None
    ) -> None:
        self.slot = slot
        self.epoch = epoch
        self.spec = spec
        self._child = child
        self._mailbox = mailbox
        self._rest = rest

    @property
    def word(self) -> int:
        """How the guardian names it."""
        return core.policy_word(self.epoch, self.slot)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid

    @property
    def pidfd(self) -> int:
        """Becomes readable when it ends."""
        return self._child.pidfd

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet; a stopped or resting process is alive."""
        return self._child.alive

    @property
    def ready(self) -> bool:
        """Whether it is warm and has passed its golden set."""
        return core.ready_epoch(self._mailbox) == self.epoch

    @property
    def inference(self) -> InferenceTimes | None:
        """What it measured of itself; None before it is ready."""
        return InferenceTimes(*core.inference_times(self._mailbox)) if self.ready else None

    @property
    def resting(self) -> bool:
        """Whether it waits for a role before it looks at any observation."""
        return self._rest is not None

    def obituary(self) -> str:
        """Return how it ended, and its last words."""
        return self._child.obituary()

    def kill(self) -> None:
        """End it at once, whatever it is doing; :meth:`Policies.attend` then reports its death as any other."""
        if self.alive:  # not reaped yet, so its number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def wake(self) -> None:
        """Let it begin with the next observation; nothing happens where it does not rest."""
        if self._rest is not None:
            os.close(self._rest)
            self._rest = None

    def set_priority(self, priority: int) -> None:
        """Change its SCHED_FIFO priority, where it has one and the kernel lets us."""
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(self.pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
                os.sched_setscheduler(self.pid, os.SCHED_FIFO, os.sched_param(priority))

    def close(self) -> None:
        """Kill it if it lives, wait until it has ended, and free what belongs to it."""
        self.kill()
        self._child.close()
        if self._rest is not None:
            os.close(self._rest)
            self._rest = None


@dataclass(frozen=True)
class Changes:
    """What happened to the policies of a run since the last look."""

    died: tuple[PolicyProcess, ...]
    """Ended without being asked to; the guardian knows, and their roles are vacant. Close them with ``drop``."""
    retired: PolicyProcess | None
    """The acting policy until now, where the candidate has taken over. It goes on computing: ``make_candidate`` keeps
    it at hand, ``drop`` ends it."""


class Policies:
    """All policy processes of one run.

    Args:
        memory: The run's segments, sealed.
        priority: SCHED_FIFO priority of the acting policy, below the guardian's; 0 for none. Others get one less, so
            that on a shared CPU a candidate never makes the acting policy late.
        realtime_limit_us: The kernel kills a policy that computes this long at real-time priority without waiting.
        frames: Where its images come from, where it observes some.
        confine: Whether a process that is ready can only compute.
    """

    def __init__(
        self,
        memory: SharedMemory,
        *,
        priority: int = 0,
        realtime_limit_us: int = 0,
        frames: FrameSources | None = None,
        confine: bool = True,
    ) -> None:
        self._memory = memory
        self._priority = priority
        self._realtime_limit_us = realtime_limit_us
        self._frames = frames
        self._confine = confine
        self._epoch = 0
        self._running: list[PolicyProcess] = []
        self._reported: set[int] = set()
        self._buried: set[int] = set()
        self._switched = 0
        self._ranked: dict[int, int] = {}
        self.acting: PolicyProcess | None = None
        self.candidate: PolicyProcess | None = None

    @property
    def running(self) -> tuple[PolicyProcess, ...]:
        """Every process that was started and not dropped."""
        return tuple(self._running)

    @property
    def pidfds(self) -> tuple[int, ...]:
        """Descriptors that become readable when one of them ends."""
        return tuple(policy.pidfd for policy in self._running if policy.alive)

    def start(self, job: Job, *, rest: bool = False) -> PolicyProcess:
        """Start a policy process without a role.

        Args:
            job: Engine and golden set.
            rest: Whether it waits, warm, until it is given a role; else it computes from the first observation on.

        Raises:
            PolicyProcessError: Every slot has a process.
            PlatformError: The kernel has no sealed memfds.
        """
        slot = self._free_slot()
        self._epoch += 1
        action = self._memory.actions[slot]
        with contextlib.ExitStack() as ours:
            descriptor = sealed(ours, "job", pack_job(job))
            reader, writer = os.pipe() if rest else (-1, None)
            if rest:
                ours.callback(os.close, reader)
            frames = self._frames.fds if self._frames else ()
            given = {
                "--job": descriptor,
                "--observation": self._memory.observation.fd,
                "--action": action.fd,
                "--epoch": self._epoch,
                "--parent": os.getpid(),
                "--priority": self._beside,
                "--realtime-limit-us": self._realtime_limit_us,
                "--rest": reader,
                "--frames": ",".join(map(str, frames)),
                "--frame-max-age-ns": self._frames.max_age_ns if self._frames else 0,
                "--confine": int(self._confine),
            }
            arguments = [item for name, value in given.items() for item in (name, str(value))]
            fds = [fd for fd in (descriptor, self._memory.observation.fd, action.fd, reader, *frames) if fd >= 0]
            child = Child("policy", python(_MODULE, arguments), fds=fds, environment=environment())
        policy = PolicyProcess(
            child, slot=slot, epoch=self._epoch, spec=job.engine.spec, mailbox=action.address, rest=writer
        )
        self._running.append(policy)
        return policy

    def act(self, policy: PolicyProcess | None) -> None:
        """Make a policy the acting one at once, without asking the guardian whether the moment is right.

        This is for a loop that is not ACTIVE; while it is, :meth:`switch` changes policies without a missed tick.
        """
        self.acting = policy
        if policy is self.candidate:
            self.candidate = None
        self._say()

    def make_candidate(self, policy: PolicyProcess | None) -> None:
        """Let a policy be listened to beside the acting one; None for nobody."""
        if policy is not None and policy is self.acting:
            raise ValueError("the acting policy cannot be its own candidate")
        self.candidate = policy
        self._say()

    def switch(self) -> None:
        """Ask the guardian to let the candidate take over, between two ticks; ``status`` tells the rest."""
        core.request(self._memory.requests.address, Request.SWITCH)

    def drop(self, policy: PolicyProcess) -> None:
        """Take a policy out of its role, end it, and free its slot; not reported as a death."""
        if policy is self.acting:
            self.acting = None
        if policy is self.candidate:
            self.candidate = None
        self._say()
        self._reported.discard(policy.epoch)
        self._buried.discard(policy.epoch)
        self._ranked.pop(policy.epoch, None)
        self._running.remove(policy)
        policy.close()
        # The guardian may have let it take over a moment ago: then this is a fault, not a policy that never answers.
        core.policy_died(self._memory.requests.address, policy.word)

    def attend(self, status: Status) -> Changes:
        """Follow the guardian where it has exchanged the policies, and report who has died to it and to the caller.

        A death is the caller's news only when the guardian does not go by that policy any more: until then it may be
        about to exchange it, and which role was lost is not known.

        Args:
            status: The guardian's, newly read.
        """
        retired = self._follow(status)
        for policy in self._running:
            if policy.epoch not in self._reported and not policy.alive:
                self._reported.add(policy.epoch)
                core.policy_died(self._memory.requests.address, policy.word)
        died = tuple(policy for policy in self._running if self._is_news(policy, status))
        self._buried.update(policy.epoch for policy in died)
        if self.acting in died:
            self.acting = None
        if self.candidate in died:
            self.candidate = None
        if died:
            self._say()
        self._rank()
        return Changes(died, retired)

    def close(self) -> None:
        """Kill all of them."""
        for policy in self._running:
            policy.kill()
        while self._running:
            self._running.pop().close()

    def _follow(self, status: Status) -> PolicyProcess | None:
        candidate = self.candidate
        exchanged, self._switched = status.switched != self._switched, status.switched
        # One that took over and died since the last look acts no more; that it did, the count still says.
        if candidate is None or not (status.acting == candidate.word or (exchanged and not candidate.alive)):
            return None
        retired, self.acting, self.candidate = self.acting, candidate, None
        self._say()
        return retired

    def _is_news(self, policy: PolicyProcess, status: Status) -> bool:
        unknown = policy.epoch in self._reported and policy.epoch not in self._buried
        return unknown and policy.word not in (status.acting, status.candidate)

    def _say(self) -> None:
        acting, candidate = self.acting, self.candidate
        core.set_policies(
            self._memory.requests.address,
            acting.word if acting else 0,
            candidate.word if candidate else 0,
        )
        for policy in self._running:
            if policy is acting or policy is candidate:
                policy.wake()
        self._rank()

    def _rank(self) -> None:
        """Give each policy the priority of its role, once it is ready: it warms up at none."""
        for policy in self._running:
            priority = self._priority if policy is self.acting else self._beside
            if self._ranked.get(policy.epoch) != priority and policy.ready and policy.alive:
                self._ranked[policy.epoch] = priority
                policy.set_priority(priority)

    @property
    def _beside(self) -> int:
        return max(self._priority - 1, min(self._priority, 1))

    def _free_slot(self) -> int:
        taken = {policy.slot for policy in self._running}
        for slot in range(len(self._memory.actions)):
            if slot not in taken:
                return slot
        raise PolicyProcessError(
            f"There are {len(self._running)} policy processes already, and no mailbox for another one. "
            "Drop a candidate or a spare first."
        )
