"""All benchmarks of the runtime, one after the other, as one document."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from edgerl.bench.faults import faults
from edgerl.bench.footprint import allocation, page_faults, recording
from edgerl.bench.neighbour import neighbour
from edgerl.bench.policies import backends_installed
from edgerl.bench.result import SCHEMA, Benchmark, RuntimeBench, not_run
from edgerl.bench.round_trip import round_trip
from edgerl.bench.setting import Setting, find_processors
from edgerl.bench.stall import stall
from edgerl.bench.wakeup import fast, wakeup
from edgerl.deploy.doctor import examine
from edgerl.errors import EdgerlError, UnknownBenchmark
from edgerl.runtime import core

BENCHMARKS: Mapping[str, Callable[[Setting], Benchmark]] = {
    "wakeup": wakeup,
    "wakeup-4khz": fast,
    "round-trip": round_trip,
    "faults": faults,
    "stall": stall,
    "neighbour": neighbour,
    "allocation": allocation,
    "page-faults": page_faults,
    "recording": recording,
}
"""By name, in the order in which they run."""


def bench_runtime(
    *, only: Sequence[str] = (), quick: bool = False, on_progress: Callable[[str], None] | None = None
) -> RuntimeBench:
    """Run the benchmarks of the runtime on this machine.

    One that cannot run here does not keep the others from running; its gate says why.

    Args:
        only: Names of :data:`BENCHMARKS`; empty: all.
        quick: A fraction of the rounds and trials: shows that everything runs, says nothing about the machine.
        on_progress: Called with what goes on now.

    Raises:
        UnknownBenchmark: A name is none of them.
        PlatformError: Not Linux, or fewer than two processors.
    """
    for name in only:
        if name not in BENCHMARKS:
            raise UnknownBenchmark(name, BENCHMARKS)
    core.library()  # says what is missing before anything is started
    processors = find_processors()
    say = on_progress or (lambda _: None)
    begun, load = time.monotonic(), os.getloadavg()[0]
    examination = examine(period_ns=1_000_000)
    done = []
    with tempfile.TemporaryDirectory(prefix="edgerl-bench-") as folder, backends_installed():
        for name in BENCHMARKS:
            if not only or name in only:
                setting = Setting(Path(folder), processors, quick, _named(name, say))
                done.append(_run(name, setting))
    return RuntimeBench(
        schema=SCHEMA,
        edgerl=version("edgerl"),
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        quick=quick,
        machine=examination.machine,
        python=platform.python_version(),
        unfit_for=examination.unfit_for,
        load_before=round(load, 2),
        seconds=round(time.monotonic() - begun, 1),
        benchmarks=tuple(done),
    )


def _named(name: str, say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda text: say(f"{name}: {text}")


def _run(name: str, setting: Setting) -> Benchmark:
    setting.say("begins")
    try:
        return BENCHMARKS[name](setting)
    except EdgerlError as error:
        return Benchmark(name, name, "", 0.0, (), (), (not_run(name, 0.0, "", str(error)),))
