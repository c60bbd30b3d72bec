"""What comes through a port or a mailbox and is not what it should be: counted, and nothing is sent for it.

The guardian is real, and so is each port; over UDP and through shared memory the same has to hold.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from edgerl.errors import PortError
from edgerl.hil.port import UdpRobotSide
from edgerl.runtime import wire
from edgerl.runtime.enums import Drop, Event, Mode, PortKind, Source, StateFlag
from edgerl.runtime.layout import layout_of
from edgerl.runtime.run import RunOptions, run_load
from edgerl.runtime.wire import Header
from tests import loop_parts
from tests.asked_runs import command
from tests.core_world import SESSION, small_config
from tests.guardian_process import MS, GuardianProcess
from tests.loop_parts import ScriptedRobot

THREE = np.array([0.125, 0.0, 0.0], np.float32)
LOCKSTEP = StateFlag.LOCKSTEP


PORTS = pytest.mark.parametrize("port", list(PortKind), ids=lambda kind: kind.name.lower())


@contextmanager
def armed(port: PortKind, **fields: object) -> Iterator[GuardianProcess]:
    """A guardian whose policy is in charge."""
    config = small_config(**{
        "period_ns": 20 * MS, "budget_ns": 15 * MS, "valid_for_ns": 60 * MS, "state_timeout_ns": 5000 * MS,
        "arm_ticks": 200, "bucket_limit": 20, "bucket_window": 20, "port": port, **fields,
    })  # fmt: skip
    with GuardianProcess(config) as guardian:
        guardian.start().ready()
        guardian.start_policy()
        guardian.arm()
        yield guardian


def state(guardian: GuardianProcess, *, ahead: int = 1, session: int = SESSION, values=THREE) -> bytes:
    """Return the datagram of a state so many states ahead of the newest one."""
    sequence = guardian.sequence + ahead
    header = Header(session, sequence, sequence * guardian.config.period_ns)
    return wire.encode(wire.State(header, LOCKSTEP, values))


def own_command(guardian: GuardianProcess) -> bytes:
    header = Header(SESSION, 1000, 1)
    return wire.encode(wire.Command(header, guardian.sequence, 1, 10**9, 2, 0, np.ones(2, np.float32)))


BAD: dict[str, tuple[Drop, Callable[[GuardianProcess], bytes]]] = {
    "cut off": (Drop.LENGTH, lambda guardian: state(guardian)[:-7]),
    "two in one": (Drop.LENGTH, lambda guardian: state(guardian) * 2),
    "one bit turned": (Drop.CRC, lambda guardian: state(guardian)[:40] + b"\x01" + state(guardian)[41:]),
    "duplicated": (Drop.OLD, lambda guardian: state(guardian, ahead=0)),
    "reordered": (Drop.OLD, lambda guardian: state(guardian, ahead=-1)),
    "of an old session": (Drop.SESSION, lambda guardian: state(guardian, session=SESSION - 1)),
    "of another layout": (Drop.LENGTH, lambda guardian: state(guardian, values=np.zeros(4, np.float32))),
    "its own command": (Drop.KIND, own_command),
    "noise": (Drop.MAGIC, lambda _: bytes(range(60))),
}


@PORTS
def test_a_datagram_that_is_none_is_counted_and_answered_by_nothing(port) -> None:
    with armed(port) as guardian:
        for cause, make in BAD.values():
            send_until_counted(guardian, cause, make)
        assert guardian.status().mode == Mode.ACTIVE
        assert guardian.status().bucket_level < 20


def send_until_counted(guardian: GuardianProcess, cause: Drop, make: Callable[[GuardianProcess], bytes]) -> None:
    """Each good state in between has its one answer, and the bad one has none."""
    before, last = list(guardian.status().dropped), guardian.exchange()
    for attempt in range(50):
        guardian.robot.send(make(guardian))
        time.sleep(0.002 * (attempt + 1))  # through shared memory the next one takes its place, read or not
        answer = guardian.exchange(0.5)
        assert answer.header.sequence == last.header.sequence + 1
        assert (answer.mode, answer.source in {Source.POLICY, Source.HOLD}) == (Mode.ACTIVE, True)
        assert set(answer.values.tolist()) <= {0.25, 0.5}
        last = answer
        if guardian.status().dropped[cause] > before[cause]:
            break
    after = list(guardian.status().dropped)
    assert after[cause] > before[cause]
    assert after[:cause] + after[cause + 1 :] == before[:cause] + before[cause + 1 :]


@PORTS
def test_a_port_on_which_only_an_old_session_is_replayed_ends_in_the_ladder(port) -> None:
    with armed(port, state_timeout_ns=200 * MS, hold_ns=300 * MS, safe_ns=300 * MS) as guardian:
        while guardian.exchange(0.5).source != Source.POLICY:
            pass
        guardian.robot.settimeout(0.01)
        heard: list[wire.Command] = []
        until = time.monotonic() + 10
        while guardian.status().mode != Mode.STOPPED:
            assert time.monotonic() < until
            guardian.robot.send(state(guardian, session=SESSION - 1, values=np.ones(3, np.float32)))
            with suppress(TimeoutError):
                heard.append(guardian.command())
        status = guardian.status()
    assert (status.fault, status.dropped[Drop.SESSION] > 0) == (Event.STATE_FAULT, True)
    assert {one.mode for one in heard} == {Mode.FALLBACK}
    sources = [one.source for one in heard]
    assert sources == sorted(sources)  # held, then made safe
    assert set(sources) == {Source.HOLD, Source.SAFE}
    assert {tuple(one.values.tolist()) for one in heard if one.source == Source.HOLD} == {(0.5, 0.5)}
    assert heard[-1].values.tolist() == [0.0, 0.5]


SCRIBBLE = """
import mmap, os, sys
mailbox = mmap.mmap(int(sys.argv[1]), 0)
size = len(mailbox)
mailbox[8:size] = os.urandom(size - 8)
print("begun", flush=True)
while True:
    mailbox[8:size] = os.urandom(size - 8)
"""


@PORTS
def test_a_policy_that_writes_garbage_into_its_mailbox_is_late_and_no_more(port) -> None:
    """Every word of it, as fast as it can, behind the magic that the guardian looked at once."""
    with armed(port, hold_ns=60 * MS, safe_ns=60 * MS) as guardian:
        while guardian.exchange(0.5).source != Source.POLICY:
            pass
        action = guardian.fds[5]
        guardian.policies[0].send_signal(signal.SIGSTOP)
        command = [sys.executable, "-c", SCRIBBLE, str(action)]
        with subprocess.Popen(command, pass_fds=(action,), stdout=subprocess.PIPE, text=True) as scribbler:
            try:
                assert scribbler.stdout is not None
                assert scribbler.stdout.readline() == "begun\n"
                heard = []
                guardian.robot.settimeout(1.0)
                with suppress(TimeoutError):
                    while guardian.status().mode != Mode.STOPPED:
                        guardian.send_state(0.9, LOCKSTEP)
                        heard.append(guardian.command())
            finally:
                scribbler.kill()
        status = guardian.status()
    assert (status.mode, status.fault) == (Mode.STOPPED, Event.BUCKET_FAULT)
    assert [one.source for one in heard] == [Source.HOLD] * (len(heard) - 3) + [Source.SAFE] * 3
    assert 20 <= len(heard) <= 30
    values = {tuple(one.values.tolist()) for one in heard}
    assert values == {(0.5, 0.5), (0.0, 0.5)}  # the one that was held, and the safe command


SPEC = loop_parts.spec_of(20 * MS)


def own_address() -> str:
    """Return an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        return str(probe.getsockname()[0])


@pytest.mark.usefixtures("core")
def test_production_takes_no_robot_on_a_network_without_a_key_and_says_nothing_to_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("edgerl.runtime.connect.UDP_TIMEOUT_S", 0.3)
    load = loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as robot:
        robot.bind((own_address(), 0))
        robot.settimeout(0.0)
        name = "udp:{}:{}".format(*robot.getsockname())
        with pytest.raises(PortError, match=r"production profile does not take this robot\. .*without a key.*--key"):
            run_load(load, name, tmp_path / "run", RunOptions(arm=True, production=True))
        with pytest.raises(BlockingIOError):
            robot.recv(2048)
        with pytest.raises(PortError, match="did not answer"):  # development goes on, as far as there is a robot
            run_load(load, name, tmp_path / "run", RunOptions(arm=True))
        assert isinstance(wire.decode(robot.recv(2048)), wire.Hello)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("core")
def test_production_takes_no_robot_on_udp_whose_drives_have_no_time_out(tmp_path) -> None:
    load = loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5))
    with ScriptedRobot(load, lambda _: (np.zeros(3, np.float32), StateFlag(0), [])) as robot:
        with pytest.raises(PortError, match=r"production profile does not take this robot\. .*declares no time-out"):
            run_load(load, robot.name, tmp_path / "run", RunOptions(arm=True, production=True))
        assert robot.commands == []
    assert not (tmp_path / "run").exists()
    assert loop_parts.children() == {}


def test_the_command_line_has_the_production_profile(tmp_path) -> None:
    bundle = loop_parts.save_packed(SPEC, tmp_path / "policy.edgerl", bias=0.5)
    answer = command("run", str(bundle), "--robot", f"udp:{own_address()}:9", "--production")
    assert (answer.returncode, "The production profile does not take this robot." in answer.stderr) == (1, True)


@pytest.mark.usefixtures("core")
def test_a_robot_that_takes_the_session_and_then_says_nothing_is_never_sent_a_command(tmp_path) -> None:
    load = loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5))
    side = UdpRobotSide(("127.0.0.1", 0), layout_of(SPEC), None, lockstep_possible=True)
    options = RunOptions(arm=True, timeouts=loop_parts.impatient())

    def silent() -> None:
        side.claim(time.monotonic_ns() + 10_000 * MS)
        while side.owner is not None:
            side.receive(time.monotonic_ns() + 100 * MS)

    robot = threading.Thread(target=silent)
    robot.start()
    try:
        with pytest.raises(Exception, match=r"did not arm.*no state"):
            run_load(load, f"udp:127.0.0.1:{side.address[1]}", tmp_path / "run", options)
    finally:
        robot.join(10)
    assert (side.accepted, side.left) == (0, "left")
    side.close()
    assert loop_parts.children() == {}
