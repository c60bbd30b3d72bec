"""The loop beside a busy process on its own processor, and without it, in turns."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import numpy as np

from edgerl.bench.policies import mlp_load
from edgerl.bench.result import Benchmark, ratio_gate, sample
from edgerl.bench.setting import MS, Setting, never_degrading
from edgerl.bench.statistics import Times
from edgerl.runtime.processes import Child
from edgerl.runtime.recording import Records

LIMIT = 1.5
ALONE, BESIDE = "alone", "beside a busy process"


def neighbour(setting: Setting) -> Benchmark:
    """Measure from the grid point to the command written: wake-up, state, policy, envelope and sending together."""
    begun = time.monotonic()
    rounds, seconds = setting.much(30, 5), setting.much(20, 5) / 10
    load = never_degrading(mlp_load(MS))
    with hog(setting) as busy, setting.loop(load, 10 + 3 * rounds * seconds) as loop:
        busy.send(signal.SIGSTOP)
        loop.wait_ready()
        loop.arm()

        def beside(seconds: float) -> None:
            busy.send(signal.SIGCONT)
            loop.run(seconds)
            busy.send(signal.SIGSTOP)

        windows = setting.take_turns_in(loop, rounds, seconds, {ALONE: loop.run_on, BESIDE: beside})
        records = loop.finish_active()
    found = {name: [written_after(one.of(records)) for one in ours] for name, ours in windows.items()}
    return Benchmark(
        "neighbour",
        "A busy neighbour process",
        "1 kHz, policy 48-256-256-12 in ONNX Runtime: grid point to command written, alone and with a process of "
        "ordinary priority on the same processor that goes through 4 MiB of memory without a pause.",
        time.monotonic() - begun,
        tuple(sample(name, np.concatenate(rounds)) for name, rounds in found.items()),
        (),
        (ratio_gate("p99 with a neighbour / alone", found[BESIDE], found[ALONE], 0.99, LIMIT),),
    )


def written_after(records: Records) -> Times:
    """Return how long after its grid point each tick's command was written, in [ns]."""
    written = records[records["write_ns"] > 0]
    return np.asarray(written["write_ns"].astype(np.int64) - written["scheduled_ns"].astype(np.int64))


@contextlib.contextmanager
def hog(setting: Setting, *, priority: int = 0, milliseconds: int = 0) -> Iterator[Child]:
    """Keep the loop's processor busy; 0 ms: as long as the block lasts."""
    numbers = (setting.processors.loop, priority, milliseconds)
    child = Child("hog", [str(setting.program("hog")), *map(str, numbers)])
    try:
        yield child
    finally:
        child.close()
