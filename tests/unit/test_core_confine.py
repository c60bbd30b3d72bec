"""The filter that leaves a process nothing but computing, tried by threads of this one: it binds only them."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgerl.runtime import core

TSYNC = 1
NO_SUCH_FLAG = 1 << 20
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
GETTID = {"x86_64": 186, "aarch64": 178}
CLONE_VM, CLONE_THREAD, CLONE_SIGHAND, CLONE_NEWNS = 0x100, 0x10000, 0x800, 0x20000
X32 = 0x40000000

pytestmark = pytest.mark.skipif(platform.machine() not in CLONE, reason="its system calls are not in the table above")


def in_thread(work: Callable[[], object]) -> object:
    """Return what a thread of its own returns, or the OSError that it meets."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return found[0]


def confined(work: Callable[[], object]) -> object:
    """Return what ``work`` meets in a thread that was confined first."""

    def run() -> object:
        assert core.library().erl_confine(0) == 0
        return work()

    return in_thread(run)


def raw(number: int, *arguments: int) -> int:
    """Return 0 or the errno of a system call."""
    done = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments))
    return 0 if done >= 0 else ctypes.get_errno()


def test_this_kernel_can_confine():
    assert core.library().erl_confinement() == 0


def test_a_confined_thread_computes_and_waits():
    def work() -> bytes:
        time.sleep(0.001)
        with mmap.mmap(-1, 8192) as memory:
            memory[4096:4100] = b"here"
            return memory[4096:4100]

    assert confined(work) == b"here"


def test_it_uses_what_is_open():
    reader, writer = os.pipe()
    try:
        assert confined(lambda: os.write(writer, b"word")) == 4
        assert confined(lambda: os.read(reader, 4)) == b"word"
        assert confined(lambda: os.fstat(reader)) == os.fstat(reader)
        assert confined(lambda: os.close(writer)) is None
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    "act",
    [
        lambda: os.open("/dev/null", os.O_RDONLY),
        os.pipe,
        lambda: os.kill(os.getpid(), 0),
        lambda: os.kill(os.getppid(), 0),
        os.fork,
        lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)),
        lambda: os.memfd_create("new"),
        lambda: os.dup(0),
        lambda: os.chdir("/"),
    ],
)
def test_it_gets_nothing_new(act):
    error = confined(act)
    assert isinstance(error, PermissionError)
    assert error.errno == errno.EPERM


def test_threads_may_be_begun_but_no_process_and_no_view_of_its_own():
    begun: list[int] = []

    def work() -> list[int]:
        thread = threading.Thread(target=begun.append, args=(1,))
        thread.start()
        thread.join(10)
        flags = (0, CLONE_NEWNS, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWNS)
        return [raw(CLONE[platform.machine()], value, 0, 0, 0, 0) for value in flags]

    assert confined(work) == [errno.EPERM] * 3
    assert begun == [1]
    assert confined(lambda: raw(CLONE3, 0, 0)) == errno.ENOSYS


def test_what_a_confined_thread_begins_is_confined():
    def work() -> object:
        return in_thread(lambda: os.open("/dev/null", os.O_RDONLY))

    assert isinstance(confined(work), PermissionError)


def test_only_this_process_is_signalled():
    tgkill = {"x86_64": 234, "aarch64": 131}[platform.machine()]
    thread = threading.get_native_id()
    assert confined(lambda: raw(tgkill, os.getpid(), thread, 0)) == 0
    assert confined(lambda: raw(tgkill, os.getppid(), os.getppid(), 0)) == errno.EPERM
    assert confined(lambda: raw(tgkill, os.getpid() + 1, thread, 0)) == errno.EPERM


def test_a_number_of_another_table_is_refused():
    """On x86-64 the kernel may know a second table, where numbers have another bit."""
    gettid = GETTID[platform.machine()]
    assert confined(lambda: raw(gettid)) == 0
    assert confined(lambda: raw(gettid | X32)) == errno.EPERM


def test_it_cannot_be_taken_back_or_done_twice():
    assert confined(lambda: core.library().erl_confine(0)) == errno.EPERM
    assert confined(lambda: core.library().erl_confinement()) == errno.EPERM


def test_a_flag_that_the_kernel_does_not_know_changes_nothing():
    def work() -> tuple[int, int]:
        refused = core.library().erl_confine(NO_SUCH_FLAG)
        return refused, os.close(os.open("/dev/null", os.O_RDONLY)) or 0

    assert in_thread(work) == (errno.EINVAL, 0)


def test_a_thread_that_is_confined_in_its_own_way_stands_in_the_way_of_all():
    go, over = threading.Event(), threading.Event()

    def one() -> None:
        assert core.library().erl_confine(0) == 0
        go.set()
        over.wait(10)

    thread = threading.Thread(target=one)
    thread.start()
    assert go.wait(10)
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    assert "NoNewPrivs:\t1\n" in status  # so that no program that it starts gets more rights, if it could start one

    def work() -> tuple[int, int]:
        refused = core.library().erl_confine(TSYNC)
        return refused, os.close(os.open("/dev/null", os.O_RDONLY)) or 0

    assert in_thread(work) == (errno.EBUSY, 0)
    over.set()
    thread.join(10)


ALL = """
import os, threading
from edgerl.runtime import core
core.library()
waiting, found = threading.Event(), []
def other():
    waiting.wait(10)
    try:
        os.open("/dev/null", os.O_RDONLY)
    except PermissionError:
        found.append("refused")
thread = threading.Thread(target=other)
thread.start()
assert core.library().erl_confine(1) == 0
waiting.set()
thread.join(10)
print(found, flush=True)
os.abort()
"""


def test_all_threads_of_a_process_are_confined_at_once_and_it_can_end_itself():
    done = subprocess.run([sys.executable, "-c", ALL], check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['refused']", done.stderr
    assert done.returncode == -signal.SIGABRT
