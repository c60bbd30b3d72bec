"""The service of targets/ under a real systemd, in namespaces of its own: PID 1, mounts, control groups.

Needs root, and a kernel that lets a systemd run there; skips otherwise.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import edgerl
from tests import loop_parts

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/usr/lib/systemd/systemd")
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/systemd/system
cp -r {units}/. /run/systemd/system/
export container=unshare
exec {systemd} --unit=idle.target --log-target=console --show-status=no
"""
IDLE = "[Unit]\nDefaultDependencies=no\n"
DROP_IN = """
[Unit]
DefaultDependencies=no
Wants=
After=
[Service]
EnvironmentFile=
Environment=ROBOT=gym:loop_environment:Clockwork-v0 PYTHONPATH={path} EDGERL_CORE_DIR={core}
ExecStart=
ExecStart={python} {program} {folder}/%i.mcap
User=
StateDirectory=
WorkingDirectory={folder}
ProtectSystem=no
ProtectHome=no
PrivateTmp=no
StandardOutput=append:{folder}/service.log
StandardError=append:{folder}/service.log
WatchdogSec=1
Restart=no
"""
PROGRAM = """
import os, sys, numpy as np
from pathlib import Path
from edgerl.runtime.control.listener import ControlOptions
from edgerl.runtime.run import RunOptions, run_load
from tests import loop_parts
spec = loop_parts.spec_of(20_000_000)
load = loop_parts.load_of(spec, loop_parts.linear(spec, np.zeros(3), bias=0.5))
options = RunOptions(arm=False, notify=True, control=ControlOptions("walker", exact=True))
run_load(load, os.environ["ROBOT"], Path(sys.argv[1]), options)
"""

pytestmark = [
    pytest.mark.skipif(not SYSTEMD.exists(), reason="systemd is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a systemd of our own needs root"),
]


class Machine:
    """A systemd that knows one unit, and what one asks it."""

    def __init__(self, folder: Path, core: Path) -> None:
        units = folder / "units"
        (units / "edgerl@.service.d").mkdir(parents=True)
        shutil.copy(ROOT / "targets" / "edgerl@.service", units)
        (units / "idle.target").write_text(IDLE)
        (folder / "program.py").write_text(PROGRAM)
        path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", Path(edgerl.__file__).parents[1])))
        (units / "edgerl@.service.d" / "test.conf").write_text(
            DROP_IN.format(path=path, core=core, python=sys.executable, program=folder / "program.py", folder=folder)
        )
        self._log = (folder / "systemd.log").open("w")
        boot = BOOT.format(units=units, systemd=SYSTEMD)
        apart = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--cgroup", "--ipc", "--uts"]
        self._outside = subprocess.Popen(
            ["unshare", *apart, "bash", "-c", boot], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )
        self.pid = 0

    def up(self) -> bool:
        until = time.monotonic() + 10
        while time.monotonic() < until and self._outside.poll() is None:
            with suppress(OSError, IndexError):
                children = Path(f"/proc/{self._outside.pid}/task/{self._outside.pid}/children").read_text()
                self.pid = int(children.split()[0])
            if self.pid and self.inside("systemctl", "is-active", "idle.target").stdout.strip() == "active":
                return True
            time.sleep(0.05)
        return False

    def inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--cgroup", "--ipc", "--uts"]
        return subprocess.run([*enter, *words], capture_output=True, text=True, check=False, timeout=60)

    def show(self, name: str) -> str:
        return self.inside("systemctl", "show", "edgerl@walker", "-p", name, "--value").stdout.strip()

    def until(self, name: str, value: str) -> None:
        end = time.monotonic() + 30
        while (found := self.show(name)) != value:
            assert time.monotonic() < end, f"{name} is {found}, not {value}"
            time.sleep(0.05)

    def edgerl(self, *words: str) -> subprocess.CompletedProcess[str]:
        path = f"PYTHONPATH={ROOT}:{Path(edgerl.__file__).parents[1]}"
        return self.inside("env", "-u", "RUNTIME_DIRECTORY", path, sys.executable, "-m", "edgerl", *words)

    def close(self) -> None:
        self._outside.kill()
        self._outside.wait()
        self._log.close()


@pytest.fixture
def machine(tmp_path, tmp_path_factory) -> Iterator[Machine]:
    made = Machine(tmp_path, loop_parts.core_folder(tmp_path_factory))
    try:
        if not made.up():
            pytest.skip("no systemd can run in namespaces here")
        yield made
    finally:
        made.close()


def test_the_service_is_ready_when_its_policy_is_and_ends_in_order(machine) -> None:
    starting = machine.inside("systemctl", "start", "--no-block", "edgerl@walker")
    assert starting.returncode == 0, starting.stderr
    machine.until("ActiveState", "activating")
    machine.until("ActiveState", "active")
    machine.until("StatusText", "waiting: SAFE.")
    assert machine.show("LimitRTPRIO") == "80"
    armed = machine.edgerl("arm")
    assert armed.returncode == 0, armed.stderr
    machine.until("StatusText", "running: ACTIVE.")
    time.sleep(1.5)  # longer than the watchdog waits
    assert machine.show("ActiveState") == "active"
    assert machine.inside("systemctl", "stop", "edgerl@walker").returncode == 0
    assert (machine.show("ActiveState"), machine.show("Result")) == ("inactive", "success")
    assert machine.inside("ls", "/run/edgerl").stdout == ""  # preserved, and without a socket of the dead


def test_a_guardian_that_hangs_is_not_hidden_from_systemds_watchdog(machine) -> None:
    assert machine.inside("systemctl", "start", "edgerl@walker").returncode == 0
    assert machine.edgerl("arm").returncode == 0
    guardian = machine.inside("pgrep", "edgerl-guardian").stdout.split()[0]
    assert machine.inside("kill", f"-{signal.SIGSTOP.name[3:]}", guardian).returncode == 0
    machine.until("Result", "watchdog")
    machine.until("ActiveState", "failed")
    assert machine.inside("pgrep", "edgerl-guardian").stdout == ""


def test_the_unit_is_one_that_systemd_understands(machine) -> None:
    verified = machine.inside("systemd-analyze", "verify", "/run/systemd/system/edgerl@.service")
    assert (verified.returncode, verified.stderr) == (0, "")
