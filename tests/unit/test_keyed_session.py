"""The handshake with a key, between its two real ends: who knows it gets the robot, who recorded it gets nothing."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from edgerl.errors import PortError
from edgerl.hil.port import UdpRobotSide
from edgerl.runtime import core, wire
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.port_key import PortKey
from edgerl.runtime.session import Terms, UdpSession, open_session
from edgerl.runtime.wire import Cause, Header, Refusal, StateFlag

LAYOUT = Layout((Channel("s", "rad"),), (Channel("a", "N m"),))
TERMS = Terms(LAYOUT, period_ns=10_000_000, budget_ns=5_000_000, valid_for_ns=20_000_000)
KEY, OTHER = PortKey(bytes(range(32))), PortKey(bytes(32))
ZERO = np.zeros(1, np.float32)


class LiveRobot:
    """A robot that sends states to whoever has it, in a thread."""

    def __init__(self, key: PortKey | None) -> None:
        self.side = UdpRobotSide(("127.0.0.1", 0), LAYOUT, TERMS.period_ns, lockstep_possible=False, key=key)
        self.address = self.side.address
        self.accepted: list[wire.Command] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def _live(self) -> None:
        while not self._over.is_set():
            if self.side.owner is None:
                self.side.claim(time.monotonic_ns() + 2_000_000)
                continue
            self.side.publish(ZERO, StateFlag(0), time.monotonic_ns())
            while (arrival := self.side.receive(time.monotonic_ns() + 2_000_000)) is not None:
                self.accepted.append(arrival.command)

    def until(self, true) -> None:
        deadline = time.monotonic() + 5
        while not true():
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.002)

    def __enter__(self) -> LiveRobot:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self.side.close()


@contextmanager
def recorder(robot: tuple[str, int]) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Something between the two that records what the controller says, and passes everything on."""
    front, back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    front.bind(("127.0.0.1", 0))
    back.connect(robot)
    said: list[bytes] = []
    over, peer = threading.Event(), []

    def forward() -> None:
        while (ready := select.select([front, back], [], [], 0.05)[0]) or not over.is_set():
            for one in ready:
                data, sender = one.recvfrom(2048)
                if one is front:
                    peer[:] = [sender]
                    said.append(data)
                    back.send(data)
                else:
                    front.sendto(data, peer[0])

    thread = threading.Thread(target=forward)
    thread.start()
    try:
        yield front.getsockname(), said
    finally:
        over.set()
        thread.join()
        front.close()
        back.close()


def keys_of(session: UdpSession):
    assert session._keys is not None
    return session._keys


def state_of(session: UdpSession) -> wire.State:
    session.socket.settimeout(3)
    message = wire.decode(session.socket.recv(2048), keys_of(session).to_controller)
    assert isinstance(message, wire.State)
    return message


def command_for(session: UdpSession, state: wire.State, sequence: int = 1) -> bytes:
    header = Header(session.id, sequence, 0)
    command = wire.Command(header, state.header.sequence, state.header.stamp_ns, 10**9, 2, 0, ZERO)
    return wire.encode(command, keys_of(session).to_robot)


def test_both_ends_with_the_key_have_a_session_with_keys_of_its_own():
    with LiveRobot(KEY) as robot:
        with open_session(robot.address, TERMS, key=KEY) as session:
            session.socket.send(command_for(session, state_of(session)))
            robot.until(lambda: len(robot.accepted) == 1)
            config = core.new_config()
            session.configure(config)
            assert (config.session, config.authenticated) == (session.id, 1)
            assert bytes(config.send_key) == keys_of(session).to_robot
            assert bytes(config.receive_key) == keys_of(session).to_controller
            first = keys_of(session)
        robot.until(lambda: robot.side.left == "left")
        with open_session(robot.address, TERMS, key=KEY) as session:
            assert keys_of(session) != first
        assert robot.side.dropped.keys() <= {Cause.SESSION}  # BYE is said twice


def test_who_has_not_the_key_gets_nothing_and_is_told_why():
    with LiveRobot(KEY) as robot:
        with pytest.raises(PortError, match=r"refused: key \(.*its key\)\. Give the robot's key with --key FILE"):
            open_session(robot.address, TERMS)
        with pytest.raises(PortError, match=r"did not answer within 0\.3 s"):
            open_session(robot.address, TERMS, key=OTHER, timeout_s=0.3)
        assert robot.side.owner is None
        assert robot.side.refused[Refusal.KEY] == 1
        assert robot.side.dropped[Cause.CHECKSUM] >= 1


def test_a_key_for_a_robot_without_one_is_named_in_the_message():
    with (
        LiveRobot(None) as robot,
        pytest.raises(PortError, match=r"refused: version .*takes no --key"),
    ):
        open_session(robot.address, TERMS, key=KEY, timeout_s=0.3)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (Terms(LAYOUT, 20_000_000, 1, 20_000_000), "period mismatch"),
        (Terms(Layout(LAYOUT.state, LAYOUT.state), 10_000_000, 1, 20_000_000), "layout mismatch"),
    ],
)
def test_a_refusal_is_tagged_too(terms, words):
    with LiveRobot(KEY) as robot, pytest.raises(PortError, match=f"refused: {words}"):
        open_session(robot.address, terms, key=KEY)


def test_a_second_controller_with_the_key_is_refused_and_the_first_notices_nothing():
    with LiveRobot(KEY) as robot, open_session(robot.address, TERMS, key=KEY) as session:
        with pytest.raises(PortError, match="refused: busy"):
            open_session(robot.address, TERMS, key=KEY)
        session.socket.send(command_for(session, state_of(session)))
        robot.until(lambda: len(robot.accepted) == 1)


def test_a_recorded_session_replayed_takes_no_session_and_moves_nothing():
    with LiveRobot(KEY) as robot:
        with recorder(robot.address) as (between, said), open_session(between, TERMS, key=KEY) as session:
            for sequence in range(1, 4):
                session.socket.send(command_for(session, state_of(session), sequence))
            robot.until(lambda: len(robot.accepted) >= 3)
        robot.until(lambda: robot.side.owner is None)
        assert len(said) >= 6  # HELLO, its confirmation, commands, BYE
        accepted = len(robot.accepted)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
            for _ in range(3):
                for data in said:
                    attacker.sendto(data, robot.address)
            dropped = robot.side.dropped
            robot.until(lambda: dropped[Cause.SESSION] + dropped[Cause.CHECKSUM] >= 3 * (len(said) - 1))
        assert robot.side.owner is None
        assert len(robot.accepted) == accepted
        with open_session(robot.address, TERMS, key=KEY) as session:  # and it locked nobody out
            for data in said:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
                    attacker.sendto(data, robot.address)
            session.socket.send(command_for(session, state_of(session)))
            robot.until(lambda: len(robot.accepted) > accepted)


def test_more_claims_than_it_remembers_push_out_the_oldest_and_nobody_else():
    with LiveRobot(KEY) as robot:
        for session in range(1, 30):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as claimant:
                hello = wire.Hello(
                    Header(session, 1, 0), LAYOUT.sha256(), TERMS.period_ns, 1, TERMS.valid_for_ns, 1, 1, bytes(16)
                )
                claimant.sendto(wire.encode(hello, KEY.hello()), robot.address)
        with open_session(robot.address, TERMS, key=KEY):
            assert len(robot.side._claims) == 0
        assert robot.side.dropped[Cause.CHECKSUM] == 0


def test_a_welcome_that_was_recorded_is_no_answer():
    """The robot's answer is tagged with a key that has this HELLO's random number in it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as impostor:
        impostor.bind(("127.0.0.1", 0))
        impostor.settimeout(5)

        def answer() -> None:
            data, sender = impostor.recvfrom(2048)
            hello = wire.decode(data, KEY.hello())
            old = KEY.answer(bytes(16))
            welcome = wire.Welcome(hello.header, LAYOUT.sha256(), TERMS.period_ns, 0, wire.WelcomeFlag(0), bytes(16))
            impostor.sendto(wire.encode(welcome, old), sender)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(PortError, match="did not answer"):
            open_session(impostor.getsockname(), TERMS, key=KEY, timeout_s=0.3)
        thread.join()


def test_the_owner_keeps_its_session_by_hello_and_a_recorded_hello_does_not(monkeypatch):
    monkeypatch.setattr("edgerl.hil.port.FIRST_COMMAND_NS", 300_000_000)
    monkeypatch.setattr("edgerl.hil.port.SESSION_TIMEOUT_NS", 300_000_000)
    for key in (KEY, None):
        with LiveRobot(key) as robot, recorder(robot.address) as (between, said):
            session = open_session(between, TERMS, key=key)
            for _ in range(6):
                time.sleep(0.1)
                session.keep()
            assert robot.side.owner is not None
            kept = [data for data in said if data[6:8] == b"\x01\x00"]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
                until = time.monotonic() + 5
                while robot.side.owner is not None and time.monotonic() < until:
                    session.socket.send(kept[-1])
                    time.sleep(0.02)
            assert robot.side.left == "silent"
            session.leave()
