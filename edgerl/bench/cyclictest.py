"""``cyclictest`` of Debian's rt-tests: how late the kernel wakes a thread, by the tool that everybody compares with."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass

import numpy as np

from edgerl.bench.statistics import Times
from edgerl.errors import PlatformError

NAME = "cyclictest"


@dataclass(frozen=True)
class CyclicTest:
    """How it is run: one thread, memory locked, absolute times, in nanoseconds."""

    priority: int
    cpu: int
    period_ns: int
    cycles: int

    def arguments(self, program: str) -> list[str]:
        """Return the command."""
        return [
            program, "--quiet", "--verbose", "--nsecs", "--mlockall", "--threads=1", f"--priority={self.priority}",
            f"--affinity={self.cpu}", f"--interval={self.period_ns // 1000}", f"--loops={self.cycles}",
        ]  # fmt: skip


def installed() -> bool:
    """Whether there is one."""
    return shutil.which(NAME) is not None


def run_cyclictest(test: CyclicTest) -> Times:
    """Return the lateness of each wake-up in [ns], in order.

    Raises:
        PlatformError: It is not installed, or it refused.
    """
    program = shutil.which(NAME)
    if program is None:
        raise PlatformError("cyclictest is not installed. On Debian: apt-get install rt-tests")
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            test.arguments(program),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30 + 4e-9 * test.cycles * test.period_ns,
        )
        output.seek(0)
        late = samples_of(output.read())
    if done.returncode != 0 or late.size == 0:
        reason = (done.stderr.strip().splitlines() or ["it printed no samples"])[-1]
        raise PlatformError(f"cyclictest did not run: {reason}. It needs the right to real-time scheduling.")
    return late


def samples_of(text: str) -> Times:
    """Return the samples in cyclictest's verbose output: lines of thread, cycle and value."""
    rows = [[part.strip() for part in line.split(":")] for line in text.splitlines()]
    return np.array([int(row[2]) for row in rows if len(row) == 3 and all(map(str.isdecimal, row))], np.int64)
