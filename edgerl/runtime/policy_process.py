"""The policy process: one runner, fed from the observation mailbox, answering into the action mailbox.

Started by the supervisor with descriptors only. It loads the engine, warms it up, passes the golden set with the
engine's own expected outputs, says ready and then repeats: wait, copy, infer, post. The loop logs nothing and allocates
nothing beyond what the runner does; the first exception ends the process, its reason is the last line on stderr.
Once ready it can write nothing but its action mailbox (:mod:`edgerl.runtime.confinement`), and it judges nothing: that
is the guardian's.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import sys
import time
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from edgerl.backends import Runner, check_runner, find_backend
from edgerl.errors import EdgerlError, PolicyProcessError
from edgerl.frame_inputs import frame_inputs, record_inputs, record_size
from edgerl.golden import check_golden, read_golden, verify_golden
from edgerl.runtime import core
from edgerl.runtime.command_map import CommandMap
from edgerl.runtime.confinement import confine
from edgerl.runtime.enums import FrameVerdict, Result
from edgerl.runtime.frame_reader import FrameArguments, FrameReader
from edgerl.runtime.job import Job, unpack_job
from edgerl.runtime.processes import die_with_parent
from edgerl.runtime.realtime import be_realtime
from edgerl.runtime.structs import ActionMailbox, ObservationHeader, ObservationMailbox
from edgerl.spec import PolicySpec

WAIT_NS = 200_000_000
"""A wait without an observation is repeated; it ends only so that a signal can be served."""
WARM_UP = 50
"""Inferences before the process says ready: the first ones load pages and fill caches."""
MEASURED, MEASURED_NS = 200, 500_000_000
"""Inferences that are measured at the most, and for how long."""
CONFINED = 3
"""Inferences after it was confined."""
_GOLDEN = "the golden set of the bundle"
FAILED, FAILED_GOLDEN = 1, 3
"""Exit statuses."""


@dataclass(frozen=True)
class Arguments:
    """What the supervisor says."""

    job: int
    """Descriptors of the job and of the two mailboxes."""
    observation: int
    action: int
    epoch: int
    parent: int
    """Process that must live."""
    priority: int
    """SCHED_FIFO priority that it tries to get; 0 for none."""
    realtime_limit_us: int
    """The kernel kills it when it computes this long at real-time priority without waiting; 0 for no limit."""
    rest: int
    """Descriptor whose end of file it awaits, ready, before its first observation; -1 for none."""
    frames: tuple[int, ...]
    """Descriptors of the frame mailboxes, in the order of the policy's frame inputs; said with commas between them."""
    frame_max_age_ns: int
    """An older frame is not taken, and the observation not answered."""
    confine: int
    """1: from when it is ready, it can only compute; it does not get ready where the kernel refuses that."""


class Mailboxes:
    """The two mapped mailboxes, with every address computed once."""

    def __init__(self, arguments: Arguments, spec: PolicySpec) -> None:
        self._observation = mmap.mmap(
            arguments.observation, ctypes.sizeof(ObservationMailbox), prot=mmap.PROT_READ, flags=mmap.MAP_SHARED
        )
        self._action = mmap.mmap(arguments.action, ctypes.sizeof(ActionMailbox))
        self.observation = core.address(self._observation)
        self.action = core.address(self._action)
        self.header = ObservationHeader()
        self.seen = ctypes.c_uint32(0)
        self.record = np.zeros(record_size(spec), np.uint8)
        self.values = np.zeros(spec.action.size, np.float32)


def load(job: Job) -> Runner:
    """Return the engine's runner, warm, after it has reproduced the golden set.

    Raises:
        EdgerlError: The engine does not load here, or is not what it claims.
    """
    engine = job.engine
    golden = read_golden(job.golden, _GOLDEN)
    check_golden(golden, engine.spec, _GOLDEN)
    runner = find_backend(engine.backend).load(engine)
    check_runner(runner, engine.spec, f"Backend '{engine.backend}'")
    for _ in range(WARM_UP):
        runner.infer()
    verdict = verify_golden(runner, golden)
    if verdict.status != "passed":
        raise _GoldenFailed(
            f"The engine does not reproduce its golden set on this machine: {verdict.describe()}. "
            "Build the bundle for this machine's target, or fetch it again."
        )
    return runner


def measure(runner: Runner) -> tuple[int, int, int]:
    """Return median and longest time of an inference in [ns], with the inputs that are there, and of how many.

    The runner is reset afterwards.
    """
    times: list[int] = []
    begin_ns = before_ns = time.monotonic_ns()
    while len(times) < MEASURED and before_ns - begin_ns < MEASURED_NS:
        runner.infer()
        now_ns = time.monotonic_ns()
        times.append(now_ns - before_ns)
        before_ns = now_ns
    runner.reset()
    return sorted(times)[len(times) // 2], max(times), len(times)


def serve(
    runner: Runner, spec: PolicySpec, mailboxes: Mailboxes, epoch: int, frames: FrameArguments | None = None
) -> NoReturn:
    """Answer observations until the process is ended.

    Args:
        runner: Warm.
        spec: Of its policy.
        mailboxes: For observations and actions.
        epoch: Of this process.
        frames: How the images of an observation are taken; an observation without them is not answered.

    Raises:
        PolicyProcessError: An observation has another size than the spec says.
    """
    inputs = [_copy_of(runner, mailboxes.record, item.name, item.offset, item.nbytes) for item in record_inputs(spec)]
    answer = runner.outputs["action"].reshape(-1)
    to_command = CommandMap(spec.action).apply
    values, header = mailboxes.values, mailboxes.header
    # The raw functions, not core's wrappers: no enum and no address is made anew in a tick.
    wait, post, clock = core.library().erl_observation_wait, core.library().erl_action_post, time.monotonic_ns
    infer, reset, copy = runner.infer, runner.reset, np.copyto
    waiting = (
        mailboxes.observation, ctypes.addressof(mailboxes.seen), WAIT_NS,
        ctypes.addressof(header), mailboxes.record.ctypes.data, mailboxes.record.size,
    )  # fmt: skip
    action, address, count = mailboxes.action, values.ctypes.data, values.size
    raw = np.zeros(values.size, np.float32)
    raw_answer = runner.outputs["action.raw" if spec.action.raw else "action"].reshape(-1)
    raw_address, raw_count = raw.ctypes.data, raw.size if observes_action(spec) else 0
    ok, bad, taken = int(Result.OK), int(Result.BAD), int(FrameVerdict.TAKEN)
    take = core.library().erl_frames_take
    episode = None  # of the last observation; those that were never read cannot hide a reset
    while True:
        result = wait(*waiting)
        if result != ok:
            if result == bad:
                raise PolicyProcessError(
                    f"An observation of {header.bytes} bytes came; the spec says {mailboxes.record.size}. "
                    "Guardian and bundle do not belong together."
                )
            continue
        if frames is not None and take(*frames) != taken:
            continue  # counted there; the guardian goes on without an action, as the mode table says
        for target, source in inputs:
            copy(target, source)
        if header.episode != episode:
            episode = header.episode
            reset()
        begin_ns = clock()
        infer()
        infer_ns = clock() - begin_ns
        copy(values, answer, casting="unsafe")  # discrete actions are int32, exact in float32
        copy(raw, raw_answer, casting="unsafe")
        to_command(values)
        post(action, epoch, header.sequence, infer_ns, address, count, raw_address, raw_count)


def _rehearse(runner: Runner) -> None:
    """A backend that needs what is refused from now on fails here, before anybody relies on it."""
    for _ in range(CONFINED):
        runner.infer()
    runner.reset()


def observes_action(spec: PolicySpec) -> bool:
    """Whether the policy's observation holds its last raw action, so that the guardian must be told it."""
    return any(term.source == "last_action_raw" for item in spec.inputs for term in item.terms)


class _GoldenFailed(PolicyProcessError):
    """Its own class, for its own exit status."""


def _copy_of(
    runner: Runner, record: npt.NDArray[np.uint8], name: str, offset: int, nbytes: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return views of one input and of its bytes in the record."""
    return runner.inputs[name].reshape(-1).view(np.uint8), record[offset : offset + nbytes]


def _frames(arguments: Arguments, spec: PolicySpec, runner: Runner, mailboxes: Mailboxes) -> FrameReader | None:
    if not frame_inputs(spec):
        return None
    header = ctypes.addressof(mailboxes.header)
    return FrameReader(
        arguments.frames, spec, runner, header=header, max_age_ns=arguments.frame_max_age_ns, account=mailboxes.action
    )


def _rest(descriptor: int) -> None:
    if descriptor >= 0:
        os.read(descriptor, 1)
        os.close(descriptor)


def main() -> int:
    """Serve; returns only when it failed, with the exit status."""
    arguments = _arguments()
    die_with_parent(arguments.parent)
    try:
        job = unpack_job(_content(arguments.job))
        mailboxes = Mailboxes(arguments, job.engine.spec)
        runner = load(job)
        median_ns, worst_ns, measured = measure(runner)
        frames = _frames(arguments, job.engine.spec, runner, mailboxes)
        be_realtime(arguments.priority, arguments.realtime_limit_us)
        if arguments.confine:
            confine()
            _rehearse(runner)
        core.say_ready(mailboxes.action, arguments.epoch, median_ns=median_ns, worst_ns=worst_ns, measured=measured)
        _rest(arguments.rest)
        serve(runner, job.engine.spec, mailboxes, arguments.epoch, frames.arguments if frames else None)
    except _GoldenFailed as error:
        return _fail(FAILED_GOLDEN, str(error))
    except EdgerlError as error:
        return _fail(FAILED, str(error))
    except Exception as error:  # noqa: BLE001  whatever a backend raises, the reason must reach the supervisor
        return _fail(FAILED, f"{type(error).__name__}: {error}")


def _fail(status: int, reason: str) -> int:
    print(" ".join(reason.split()), file=sys.stderr, flush=True)  # noqa: T201  its only channel for words
    return status


def _content(fd: int) -> bytes:
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED) as memory:
        return memory[:]


def _descriptors(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _arguments() -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m edgerl.runtime.policy_process", description=__doc__)
    for name in Arguments.__dataclass_fields__:
        kind = _descriptors if name == "frames" else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, required=True)
    return Arguments(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
