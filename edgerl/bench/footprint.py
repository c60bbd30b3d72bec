"""What a tick must not do: allocate, take a page fault, or cost more because it is recorded."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgerl.bench.neighbour import written_after
from edgerl.bench.policies import echo_load, mlp_load, mlp_load_in_c
from edgerl.bench.result import (
    Benchmark,
    Fact,
    counted,
    difference_gate,
    sample,
)  # fmt: skip
from edgerl.bench.setting import MS, Setting, never_degrading
from edgerl.errors import LoopError
from edgerl.runtime.enums import Mode
from edgerl.runtime.run import RunOptions, configure

TICKS = 1_000_000
RECORDING_LIMIT_NS = MS // 100
_SETTLE_S = 1.0
_ON, _OFF = "recording on", "recording off"


@dataclass(frozen=True)
class TicksSaid:
    """What ``fixtures/ticks.c`` counted."""

    calls_before: int
    """Of the allocator, before the first tick: more than none, or nothing is counted."""
    calls: int
    page_faults: int
    modes: tuple[int, ...]
    """Ticks that ended in each."""
    sent: int
    took_ns: int


def read_ticks(line: str) -> TicksSaid:
    """Return what the program's one line says."""
    numbers = [int(word) for word in line.split()]
    before, calls, faults, *modes = numbers[: 3 + len(Mode)]
    return TicksSaid(before, calls, faults, tuple(modes), *numbers[3 + len(Mode) :])


def allocation(setting: Setting) -> Benchmark:
    """Count calls of the allocator in ticks on a faked clock, in every mode."""
    begun = time.monotonic()
    ticks = setting.much(TICKS, TICKS // 10)
    config = configure(echo_load(MS), RunOptions())
    config.session = 1
    path = setting.folder / "ticks.config"
    path.write_bytes(bytes(config))
    arguments = [str(setting.program("ticks")), str(path), str(ticks)]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise LoopError(f"The benchmark's loop on a faked clock ended early: {done.stderr.strip() or done.returncode}.")
    said = read_ticks(done.stdout)
    met = sum(said.modes) if said.calls_before else 0
    modes = [Fact(f"ticks in {mode.name}", count, "") for mode, count in zip(Mode, said.modes, strict=True) if count]
    return Benchmark(
        "allocation",
        "No allocation in a tick",
        "The core's loop on a faked clock, with malloc and its kin replaced by counting ones, through arming, faults, "
        "fallback, stops and resets. That the counting works is shown before the first tick.",
        time.monotonic() - begun,
        (),
        (*modes, Fact("whole tick with its record, as fast as it goes", round(said.took_ns / ticks), "ns")),
        (
            counted("calls of the allocator", said.calls, of=met, needed=TICKS),
            counted("page faults on the faked clock", said.page_faults, of=met, needed=TICKS),
        ),
    )


def page_faults(setting: Setting) -> Benchmark:
    """Count the guardian's page faults over a minute in real time."""
    begun = time.monotonic()
    seconds = setting.much(60, 2)
    with setting.loop(never_degrading(mlp_load(MS)), seconds + 10.0) as loop:
        loop.wait_ready()
        loop.arm()
        loop.run(_SETTLE_S)
        before = [faults_of(pid) for pid in (loop.guardian_pid, loop.policy_pid)]
        at = int(loop.supervisor.status.ticks)
        loop.run(seconds)
        ticks = int(loop.supervisor.status.ticks) - at
        after = [faults_of(pid) for pid in (loop.guardian_pid, loop.policy_pid)]
        locked = int(loop.supervisor.status.lock_errno) == 0
    minor, major = (now - then for now, then in zip(after[0], before[0], strict=True))
    needed = 60 * 1000 * 9 // 10
    return Benchmark(
        "page-faults",
        "No page fault in a paced minute",
        "1 kHz with a policy in charge, a second after it was armed. The policy process locks no memory; its faults "
        "are shown beside.",
        time.monotonic() - begun,
        (),
        (
            Fact("ticks", ticks, ""),
            Fact("memory locked", int(locked), ""),
            Fact("page faults of the policy process, minor", after[1][0] - before[1][0], ""),
            Fact("page faults of the policy process, major", after[1][1] - before[1][1], ""),
        ),
        (
            counted("minor page faults of the guardian", minor, of=ticks, needed=needed),
            counted("major page faults of the guardian", major, of=ticks, needed=needed),
        ),
    )


def faults_of(pid: int) -> tuple[int, int]:
    """Return the minor and the major page faults of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7]), int(fields[9])


def recording(setting: Setting) -> Benchmark:
    """Compare ticks that are read and written to a file with ticks that nobody reads before they are over."""
    begun = time.monotonic()
    rounds, seconds = setting.much(20, 5), setting.much(10, 5) / 10
    # Whoever does not read the ring gives no sign of life either.
    options = RunOptions(heartbeat_timeout_ns=60_000 * MS)
    load = never_degrading(mlp_load_in_c(MS, setting.program("policy")))  # the steadier of the two, so a finer scale
    with setting.loop(load, 10 + 3 * rounds * seconds, options=options) as loop:
        loop.wait_ready()
        loop.arm()
        windows = setting.take_turns_in(loop, rounds, seconds, {_ON: loop.run_on, _OFF: time.sleep})
        records = loop.finish_active()
    found = {name: [written_after(one.of(records)) for one in ours] for name, ours in windows.items()}
    return Benchmark(
        "recording",
        "Recording on or off",
        "1 kHz with the policy in C, grid point to command written. On: the supervisor takes every tick from the ring "
        "and writes it to a file, as always. Off: it leaves the ring alone until the turn is over.",
        time.monotonic() - begun,
        tuple(sample(name, np.concatenate(rounds)) for name, rounds in found.items()),
        (),
        (difference_gate("p50 with recording less p50 without", found[_ON], found[_OFF], 0.5, RECORDING_LIMIT_NS),),
    )
