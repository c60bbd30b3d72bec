"""The real tries on this machine, as root and as a user without rights."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from edgerl.deploy.doctor import check_names, examine
from edgerl.deploy.doctor.check import Unread
from edgerl.deploy.doctor.memory import LOCKED_BYTES
from edgerl.deploy.doctor.subject import GUARDIAN_PRIORITY
from edgerl.deploy.doctor.tree import parse_cpus
from edgerl.deploy.doctor.tries import Attempt, RealTries
from tests.machines import CPU, MS, of

REAL = (
    "import json, sys; from pathlib import Path; from edgerl.deploy.doctor.tries import RealTries as T; "
    "t = T(); a = [t.fifo(80), t.lock_memory(4 << 20), t.open_for_writing(Path(sys.argv[1]))]; "
    "print(json.dumps([[one.granted, one.why_not] for one in a] + [t.limits().root]))"
)


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
IMPORTS = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@lru_cache(maxsize=1)
def python_for_all() -> str:
    """Return a Python with this one's packages that a user without rights can start; root's own may lie in its home."""
    code = "import numpy, subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    for candidate in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        try:
            subprocess.run([*NOBODY, candidate, "-B", "-c", code], capture_output=True, check=True, env=IMPORTS)
        except (OSError, subprocess.SubprocessError):
            continue
        return candidate
    pytest.skip("no Python here that an ordinary user can start")


def as_user(path: Path, *, locked_bytes: int | None = None) -> list[Any]:
    """Run the real tries as a user without rights, in a process of its own."""
    limit = (
        ""
        if locked_bytes is None
        else f"import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, ({locked_bytes},) * 2); "
    )
    command = [*NOBODY, python_for_all(), "-B", "-c", limit + REAL, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=IMPORTS)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_an_ordinary_user_is_refused_what_it_may_not_have(tmp_path):
    if resource.getrlimit(resource.RLIMIT_RTPRIO)[0] >= 80:
        pytest.skip("every user may have real-time scheduling here")
    device = tmp_path / "device"
    device.touch(mode=0o444)
    fifo, lock, opened, root = as_user(device, locked_bytes=64 * 1024)
    assert fifo == [False, "EPERM"]
    assert lock[0] is False
    assert lock[1] in {"ENOMEM", "EPERM"}
    assert opened == [False, "EACCES"]
    assert root is False


def test_an_ordinary_user_may_lock_what_its_limit_allows():
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if 0 <= soft < LOCKED_BYTES:
        pytest.skip(f"RLIMIT_MEMLOCK is {soft} bytes here")
    assert as_user(Path("/dev/null"))[1:] == [[True, ""], [True, ""], False]


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_root_is_granted_what_the_kernel_then_says_it_has():
    tries = RealTries()
    granted = tries.fifo(80)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(80))
        here = True
    except PermissionError:
        here = False
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    assert granted.granted == here
    assert tries.limits().root


def test_trying_leaves_nothing_behind(tmp_path):
    def state() -> tuple[int, str | None]:
        locked = re.search(r"^VmLck:\s*(\d+)", Path("/proc/self/status").read_text(), re.M)
        return os.sched_getscheduler(0), locked and locked[1]

    before, tries = state(), RealTries()
    tries.fifo(80)
    tries.lock_memory(LOCKED_BYTES)
    device = tmp_path / "device"
    device.write_text("1")
    assert tries.open_for_writing(device).granted
    assert (state(), device.read_text()) == (before, "1")


def test_an_impossible_priority_and_too_much_memory_are_refused_with_the_kernels_name():
    assert RealTries().fifo(1000) == Attempt(granted=False, why_not="EINVAL")
    assert as_user(Path("/dev/null"), locked_bytes=0)[1] == [False, "EPERM"]  # mlock(2): no right to lock anything


def test_what_cannot_be_tried_is_unread(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unread, match=r"did not answer \(FileNotFoundError\)"):
        RealTries().fifo(80)
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(Unread, match=r"did not answer \(ValueError\)"):
        RealTries().lock_memory(1)


def test_the_real_answers_of_this_machine_are_plausible(tmp_path, monkeypatch):
    tries = RealTries()
    assert tries.clock_resolution_ns() >= 1
    assert tries.free_bytes(tmp_path) > 0
    with pytest.raises(Unread, match="No such file"):
        tries.free_bytes(tmp_path / "gone")
    assert tries.architecture() == os.uname().machine
    assert tries.load_core().granted
    assert tries.backend("onnxruntime").granted
    assert "Unknown backend 'abacus'" in tries.backend("abacus").why_not
    monkeypatch.setattr("platform.machine", lambda: "")
    with pytest.raises(Unread, match="architecture"):
        tries.architecture()


def test_a_core_of_another_version_does_not_load(monkeypatch):
    def missing() -> None:
        raise AttributeError("undefined symbol: erl_tick")

    monkeypatch.setattr("edgerl.runtime.core.library", missing)
    assert RealTries().load_core() == Attempt(granted=False, why_not="undefined symbol: erl_tick")


def test_this_machine_is_examined_as_it_is():
    found = examine(period_ns=1000 * MS)
    assert len(found.checks) == len(check_names())
    assert of(found, "core").status == "pass"
    assert of(found, "kernel").status != "not_run"
    assert of(found, "storage").status != "not_run"
    assert found.machine.cpus == len(parse_cpus(Path(f"/{CPU}/online").read_text().strip(), "online"))
    granted = RealTries().fifo(GUARDIAN_PRIORITY).granted
    assert of(found, "scheduler").status == ("pass" if granted else "warn")
