"""What systemd and the machine's watchdog are told: over real sockets, a real FIFO and a real terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import struct
import time
from pathlib import Path

import pytest

from edgerl.errors import GuardianError, LoopError, PlatformError
from edgerl.runtime.enums import Mode, Phase
from edgerl.runtime.health import Health, fresh_ns
from edgerl.runtime.notify import STATUS_EVERY_NS, Notifier
from edgerl.runtime.processes import Child
from edgerl.runtime.structs import Status
from edgerl.runtime.watchdog import Watchdog

MS = 1_000_000
S = 1000 * MS


class Manager:
    """What systemd has at the other end."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.socket.setblocking(False)
        self.address = address

    def heard(self) -> list[str]:
        said = []
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(self.socket.recv(4096).decode())
        return said

    def environ(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, **more}


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    made = Manager(str(tmp_path / "n") if request.param == "path" else f"@edgerl-test-{os.getpid()}")
    yield made
    made.socket.close()


def status(at_ns: int | None = None, phase: Phase = Phase.RUNNING) -> Status:
    return Status(phase=phase, mode=Mode.SAFE, time_ns=time.monotonic_ns() if at_ns is None else at_ns)


def test_the_manager_hears_what_was_said_once(manager) -> None:
    notifier = Notifier.of(manager.environ())
    notifier.ready()
    notifier.ready()
    notifier.say("waiting:\n SAFE", 0)
    notifier.say("waiting:\n SAFE", 2 * STATUS_EVERY_NS)
    notifier.stroke(0)
    notifier.stopping()
    notifier.stopping()
    notifier.close()
    assert manager.heard() == ["READY=1", "STATUS=waiting: SAFE", "STOPPING=1"]


def test_a_status_that_changes_all_the_time_is_said_twice_a_second(manager) -> None:
    notifier = Notifier.of(manager.environ())
    for now in range(0, S + 1, 10 * MS):
        notifier.say(f"tick {now}", now)
    notifier.close()
    assert manager.heard() == ["STATUS=tick 0", f"STATUS=tick {S // 2}", f"STATUS=tick {S}"]


def test_the_managers_watchdog_is_stroked_three_times_in_its_timeout(manager) -> None:
    notifier = Notifier.of(manager.environ(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid())))
    for now in range(0, 6 * S, 20 * MS):
        notifier.stroke(now)
    notifier.close()
    assert manager.heard() == ["WATCHDOG=1"] * 6


@pytest.mark.parametrize(
    "environ",
    [{"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}, {}],
)
def test_a_watchdog_that_is_not_this_process_s_is_not_stroked(manager, environ) -> None:
    notifier = Notifier.of(manager.environ(**environ))
    notifier.stroke(S)
    notifier.close()
    assert manager.heard() == []


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_where_nobody_listens_nothing_is_said(environ) -> None:
    notifier = Notifier.of(environ)
    notifier.ready()
    notifier.stopping()
    notifier.close()


def test_a_manager_that_is_gone_or_deaf_holds_nobody_up(tmp_path) -> None:
    gone = Notifier(str(tmp_path / "nowhere"))
    gone.ready()
    gone.close()
    deaf = Manager(str(tmp_path / "n"))
    notifier = Notifier(deaf.address, 3)
    for now in range(5000):
        notifier.stroke(now)
    notifier.close()
    deaf.socket.close()


def test_children_are_not_told_of_the_manager(monkeypatch, manager) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    child = Child("env", ["env"], output=True)
    child.wait(5.0)
    said = child.stdout.read().decode()
    child.close()
    assert "NOTIFY_SOCKET" not in said
    assert "WATCHDOG_USEC" not in said
    assert "PATH=" in said


def test_ready_is_said_when_the_policy_is_and_not_before(manager) -> None:
    with Health(Notifier.of(manager.environ()), None, S) as health:
        health.tell("loading", status(), "loading")
        assert manager.heard() == ["STATUS=loading"]
        health.tell("waiting", status(), "loading")
        assert manager.heard() == ["READY=1"]
        health.tell("stopping", status(), "loading")
    assert manager.heard() == ["STOPPING=1"]


@pytest.mark.parametrize(
    ("age_ns", "phase", "strokes"),
    [
        (0, Phase.RUNNING, 1),
        (0, Phase.READY, 1),
        (2 * S, Phase.RUNNING, 0),
        (0, Phase.ENDED, 0),
        (0, Phase.STARTING, 0),
    ],
)
def test_watchdogs_are_stroked_only_while_the_guardian_works(manager, tmp_path, age_ns, phase, strokes) -> None:
    device = tmp_path / "watchdog"
    device.touch()
    notifier = Notifier.of(manager.environ(WATCHDOG_USEC="3000000"))
    with Health(notifier, Watchdog(str(device)), S) as health:
        health.tell("running", status(time.monotonic_ns() - age_ns, phase), "")
        assert manager.heard().count("WATCHDOG=1") == strokes
        assert device.read_bytes() == b"\0" * strokes


@pytest.mark.parametrize(
    ("orderly", "error", "end"),
    [
        (True, None, b"V"),
        (False, None, b""),
        (False, LoopError("it did not arm"), b"V"),
        (False, KeyboardInterrupt(), b"V"),
        (False, GuardianError("it died"), b""),
        (False, ZeroDivisionError(), b""),
    ],
)
def test_the_machines_watchdog_stops_only_with_an_orderly_end(tmp_path, orderly, error, end) -> None:
    device = tmp_path / "watchdog"
    device.touch()
    try:
        with Health(Notifier(), Watchdog(str(device)), S) as health:
            health.orderly = orderly
            if error:
                raise error
    except BaseException as raised:  # noqa: BLE001
        assert raised is error
    assert device.read_bytes() == end


def test_a_fifo_hears_strokes_and_the_end(tmp_path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    watchdog = Watchdog(str(path))
    assert watchdog.timeout_s is None
    for now in range(0, S, 10 * MS):
        watchdog.stroke(now)
    watchdog.close(orderly=True)
    watchdog.close(orderly=True)
    assert os.read(reader, 100) == b"\0\0V"
    os.close(reader)


def test_a_terminal_is_no_watchdog_and_can_be_written_to() -> None:
    controller, terminal = pty.openpty()
    watchdog = Watchdog(os.ttyname(terminal))
    assert watchdog.timeout_s is None
    watchdog.stroke(0)
    watchdog.close(orderly=False)
    assert os.read(controller, 10) == b"\0"
    os.close(controller)
    os.close(terminal)


def test_a_devices_own_timeout_says_how_often(tmp_path, monkeypatch) -> None:
    """The ioctl is faked: no machine of the tests has the device."""
    asked = []

    def ioctl(_fd: int, number: int, _buffer: bytes) -> bytes:
        asked.append(number)
        return struct.pack("i", 10)

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    device = tmp_path / "watchdog"
    device.touch()
    watchdog = Watchdog(str(device))
    for now in range(0, 10 * S, 10 * MS):
        watchdog.stroke(now)
    watchdog.close(orderly=False)
    assert (watchdog.timeout_s, asked) == (10, [0x80045707])
    assert device.read_bytes() == b"\0" * 4
    monkeypatch.setattr("fcntl.ioctl", lambda *_: struct.pack("i", 1))
    with pytest.raises(PlatformError, match=r"acts after 1 s.*2 s or more"):
        Watchdog(str(device))
    assert device.read_bytes() == b"V\0\0\0"


def test_a_watchdog_that_cannot_be_opened_is_one_message(tmp_path) -> None:
    with pytest.raises(PlatformError, match=r"cannot be opened \(No such file"):
        Watchdog(str(tmp_path / "none"))


def test_freshness_follows_the_loop() -> None:
    assert fresh_ns(1 * MS, 100 * MS) == 500 * MS
    assert fresh_ns(100 * MS, 100 * MS) == S
    assert fresh_ns(1 * MS, S) == 3 * S


def test_the_unit_file_says_what_a_real_time_service_needs() -> None:
    unit = Path(__file__).parents[2] / "targets" / "edgerl@.service"
    keys = {line.partition("=")[0] for line in unit.read_text().splitlines() if "=" in line and line[0] not in "#;"}
    assert {"Type", "WatchdogSec", "LimitRTPRIO", "LimitMEMLOCK", "RuntimeDirectory", "ExecStart"} <= keys
