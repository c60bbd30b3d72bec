"""The guardian and its faults as an ordinary user, who gets neither real-time priority nor much locked memory."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgerl.runtime import core

ROOT = Path(__file__).parents[2]
VERSION = tuple(sys.version_info[:2])
ORDINARY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
LIMITS = ["prlimit", "--rtprio=0:0", "--memlock=65536:65536"]
"""What a fresh login on most distributions has."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="not root: all tests run as this user")]


@dataclass(frozen=True)
class OrdinaryUser:
    """Runs Python without any privilege."""

    python: str
    home: Path
    """Also for temporary files."""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an interpreter that sees this checkout, the packages of this one, and nothing else of root's."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")]),
            core.CORE_DIR_VARIABLE: str(core.core_dir()),
        }
        command = [*LIMITS, *ORDINARY, self.python, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=400
        )  # fmt: skip


@pytest.fixture(scope="module")
def user() -> Iterator[OrdinaryUser]:
    """Return an ordinary user with an interpreter that may be read: root's own often lies in its home."""
    look = (
        "import os, sys, numpy, pytest, edgerl.runtime.core as core; core.library(); "
        f"assert os.access(sys.executable, os.X_OK) and sys.version_info[:2] == {VERSION}"
    )
    with tempfile.TemporaryDirectory(prefix="edgerl-") as folder:
        home = Path(folder)
        home.chmod(0o777)
        for python in (str(Path(sys.executable).resolve()), "/usr/bin/python3"):
            candidate = OrdinaryUser(python, home)
            if candidate.run("-c", look).returncode == 0:
                yield candidate
                return
    pytest.skip("uid 65534 can read neither this interpreter nor another of its version, or not this checkout")


@pytest.mark.parametrize("file", ["test_guardian.py", "test_loop_faults.py", "test_confinement.py"])
def test_the_loop_and_its_faults_are_the_same_for_an_ordinary_user(file, user):
    options = ["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={user.home / file}", "-m", "not slow"]
    done = user.run("-m", "pytest", *options, f"tests/integration/{file}")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_this_user_gets_neither_real_time_priority_nor_more_memory(user):
    script = (
        "import os, resource\n"
        "from edgerl.runtime import core\n"
        "try:\n"
        "    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(80))\n"
        "except PermissionError:\n"
        "    print(os.getuid(), resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])\n"
    )
    done = user.run("-c", script)
    assert done.stdout.split() == ["65534", "65536"], done.stderr
