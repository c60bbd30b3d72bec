"""Kills the supervisor of a real ``edgerl run``, and watches what its guardian goes on to do.

The ring outlives its supervisor because it was opened from outside before: through the kernel's own list of the
process's descriptors, so that nothing about the product is changed for the benchmark.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgerl.bench.fault_kinds import FaultKind
from edgerl.bench.fault_trials import Injection, Trials, settle
from edgerl.bench.loop import child_of, place
from edgerl.bench.policies import echo_bundle
from edgerl.bench.robot import Robot, RobotSettings
from edgerl.bench.setting import MS, Setting
from edgerl.bundle.load import Bundle, save_bundle
from edgerl.errors import LoopError
from edgerl.runtime import core
from edgerl.runtime.enums import Mode, Result
from edgerl.runtime.layout import Layout, layout_of
from edgerl.runtime.processes import Child, environment
from edgerl.runtime.recording import SUFFIX, Records, arrays_of, record_dtype
from edgerl.runtime.run import RunOptions

_STARTS_S = 20.0
_ATTEMPTS = 3
_SILENT_S = 0.1
_ENDS_S = 2.0
_RING = "/memfd:edgerl-ring"


def supervisor_deaths(setting: Setting, kind: FaultKind, count: int) -> Iterator[Trials]:
    """Kill the supervisor of ``count`` runs."""
    bundle = echo_bundle(MS)
    path = setting.folder / "echo.edgerl"
    save_bundle(bundle, path)
    for number in range(count):
        setting.say(f"{kind.name}: {number + 1} of {count}")
        for left in reversed(range(_ATTEMPTS)):
            try:
                yield _supervisor_death(setting, kind, bundle, path)
                break
            except LoopError:  # a stall of the machine before anything was killed is no trial
                if not left:
                    raise


def _supervisor_death(setting: Setting, kind: FaultKind, bundle: Bundle, path: Path) -> Trials:
    layout = layout_of(bundle.manifest.spec, bundle.manifest.envelope)
    how = RobotSettings(MS, 30_000, RunOptions().plant_priority, setting.processors.other)
    folder = setting.folder / f"orphan-{time.monotonic_ns()}"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        robot = stack.enter_context(Robot(setting.program("robot"), layout, how))
        robot.publish()
        arguments = ["run", str(path), "--robot", f"udp:{robot.address[0]}:{robot.address[1]}", "--arm", "--json"]
        arguments += ["--recording", str(folder / f"ticks{SUFFIX}"), "--control", str(folder / "control")]
        arguments += ["--before-fault", "0.1", "--no-stay"]
        run = Child(
            "edgerl run",
            [
                sys.executable,
                "-c",
                "from edgerl.cli import main; main()",
                *arguments,
            ],
            environment=environment(),
        )
        stack.callback(run.close)
        _until_active(run, robot)
        guardian = child_of(run.pid, core.GUARDIAN_NAME)
        stack.callback(_kill, guardian)
        place(guardian, setting.processors.loop)
        ring = stack.enter_context(_open_ring(run.pid))
        time.sleep(settle(setting))
        if not _in_charge(robot):
            raise LoopError("The benchmark's edgerl run ended before its supervisor was killed.")
        before = time.monotonic_ns()
        run.send(signal.SIGKILL)
        injection = Injection(kind, before, time.monotonic_ns(), None)
        _until_silent(robot)
        manifest = bundle.manifest
        records = _records_in(ring, layout)
        return Trials((injection,), records, robot.commands(), manifest.envelope.budget_ns, MS)


def _until_active(run: Child, robot: Robot) -> None:
    until = time.monotonic() + _STARTS_S
    while not _in_charge(robot):
        if not run.alive:
            raise LoopError(f"The benchmark's edgerl run did not get going: it {run.obituary()}.")
        if time.monotonic() > until:
            raise LoopError(f"The benchmark's edgerl run was not in charge within {_STARTS_S:g} s.")
        time.sleep(0.005)


def _in_charge(robot: Robot) -> bool:
    return bool((robot.commands()["mode"][-1:] == Mode.ACTIVE).any())


def _until_silent(robot: Robot) -> None:
    """Until no command came for a while: the ladder's end."""
    until = time.monotonic() + _ENDS_S
    seen = -1
    while time.monotonic() < until and (count := robot.received) != seen:
        seen = count
        time.sleep(_SILENT_S)


def _kill(pid: int) -> None:
    """End a guardian that nobody supervises any more."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _open_ring(pid: int) -> Iterator[mmap.mmap]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(entry.readlink()).startswith(_RING):
                with entry.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as ring:
                    yield ring
                return
    raise LoopError("The benchmark's edgerl run has no ring.")


def _records_in(ring: mmap.mmap, layout: Layout) -> Records:
    form = record_dtype(arrays_of(layout))
    address, one = core.address(ring), ctypes.create_string_buffer(form.itemsize)
    found = [
        one.raw
        for index in range(core.ring_head(address))
        if core.read_record(address, index, ctypes.addressof(one), form.itemsize) is Result.OK
    ]
    return np.frombuffer(b"".join(found), form)
