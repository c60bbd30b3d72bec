"""What a run answers to its clients, with real sockets and a loop that the test plays itself."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.errors import RequestRefused
from edgerl.runtime.control import messages, server
from edgerl.runtime.control.client import connect
from edgerl.runtime.control.estop import PACKET, TAKEN, send_estop
from edgerl.runtime.control.messages import (
    Ask,
    BadRequest,
    LoopStatus,
    OwnerStatus,
    decode_ask,
    encode_ask,
)
from edgerl.runtime.control.owner import Ownership, Peer
from tests.control_run import ABOUT, OPERATOR, Wires


def raw(path: str) -> socket.socket:
    dialled = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    dialled.settimeout(5.0)
    dialled.connect(path)
    return dialled


def answer(of: socket.socket) -> dict:
    return json.loads(of.recv(messages.MAX_REPLY_BYTES))


def test_a_client_learns_how_the_run_stands(run) -> None:
    run.publish(LoopStatus(7, stage="waiting", mode="SAFE", arm_missing=("no state",)))
    with connect() as client:
        status = client.status()
    assert (status.name, status.robot, status.pid) == ("walker", "udp:robot:1", os.getpid())
    assert (status.loop.mode, status.loop.arm_missing, status.clients) == ("SAFE", ("no state",), 1)


def test_the_loop_is_asked_in_order_and_answers_itself(run, loop) -> None:
    with connect("walker") as client:
        for do in (client.disarm, client.reset, client.stop):
            do()
    assert loop == ["disarm", "reset", "stop"]


def test_a_request_wakes_a_loop_that_waits_for_it(run) -> None:
    def ask() -> None:
        with connect() as client:
            client.disarm()

    asking = threading.Thread(target=ask)
    asking.start()
    assert select.select(run.fds, [], [], 5.0)[0]
    (asked,) = run.take()
    run.answer(asked)
    asking.join(5.0)
    assert select.select(run.fds, [], [], 0.0)[0] == []


def test_what_the_loop_refuses_reaches_the_client_as_it_said_it(run) -> None:
    def refuse() -> None:
        while not (taken := run.take()):
            time.sleep(0.002)
        run.answer(taken[0], "the policy is still loading.")

    thread = threading.Thread(target=refuse)
    thread.start()
    with connect() as client, pytest.raises(RequestRefused, match="still loading") as error:
        client.arm()
    thread.join()
    assert error.value.exit_code == 3


def test_arming_waits_for_the_guardian_and_says_what_was_missing(run, loop) -> None:
    run.publish(LoopStatus(1, stage="arming", mode="SAFE"))
    timer = threading.Timer(
        0.1, lambda: run.publish(LoopStatus(2, stage="waiting", mode="SAFE", arm_refused=1, arm_missing=("rejected",)))
    )
    timer.start()
    with connect() as client, pytest.raises(RequestRefused, match=r"mode SAFE.*rejected"):
        client.arm()
    timer.join()
    run.publish(LoopStatus(3, stage="arming", mode="SAFE"))
    timer = threading.Timer(0.1, lambda: run.publish(LoopStatus(4, stage="running", mode="ACTIVE", armed=1)))
    timer.start()
    with connect() as client:
        assert client.arm().loop.mode == "ACTIVE"
    timer.join()


def test_an_estop_goes_past_a_loop_that_hangs(run, stopped) -> None:
    with connect("walker") as waiting:
        waiting._socket.send(encode_ask(Ask("disarm")))  # which nobody answers
        assert send_estop() == ("walker",)
        assert len(stopped) == 1
        with connect() as other:
            other.estop()
        waiting._socket.send(PACKET)  # and on the connection that waits
        assert answer(waiting._socket)["do"] == "estop"
    assert len(stopped) == 3
    assert "(uid " in run.estop_by


def test_an_estop_before_there_is_a_guardian_is_kept_for_it(run) -> None:
    first, second = Wires(), Wires()
    send_estop("walker")
    for wires in (first, second):
        with run.wired(wires):
            pass
    assert (len(first.stops), len(second.stops)) == (1, 0)


def test_what_an_operator_wants_goes_past_the_loop_with_its_time(run, wires) -> None:
    with connect(owner="alice") as alice, connect(owner="bob") as bob:
        before = time.monotonic_ns()
        assert alice.operate([0.5], dead_man=True).operator == OPERATOR
        ((values, dead_man, at_ns),) = wires.said
        assert (values, dead_man) == ((0.5,), True)
        assert before <= at_ns <= time.monotonic_ns()
        with pytest.raises(RequestRefused, match="'alice'"):
            bob.operate([0.1])
        with pytest.raises(RequestRefused, match="2 values came; the run takes 1"):
            alice.operate([0.1, 0.2])
    with raw(run.path) as client:
        client.send(json.dumps({"do": "operate", "as": "alice", "values": [0], "at_ns": 2**62}).encode())
        answer(client)
    assert wires.said[1][0] == (0.0,)
    assert wires.said[1][2] <= time.monotonic_ns()  # a stamp from the future would never grow old
    assert len(wires.said) == 2


@pytest.mark.parametrize("packet", [PACKET, b'{"do": "estop", "version": 99}', b'{"do":"estop","as":7,"and":[1]}'])
def test_an_estop_is_an_estop_whatever_else_its_packet_holds(run, stopped, packet) -> None:
    with raw(run.path) as client:
        client.send(packet)
        assert TAKEN in client.recv(messages.MAX_REPLY_BYTES)
    assert len(stopped) == 1


def test_the_estop_packet_and_its_answer_are_those_of_the_messages() -> None:
    assert decode_ask(PACKET) == Ask("estop")
    assert TAKEN in messages.encode_reply(messages.Reply(1, "estop", "", "", ABOUT))
    assert TAKEN not in messages.encode_reply(messages.Reply(1, "estop", "refused", "", ABOUT))


def test_one_at_a_time_owns_the_robot(run, loop, stopped) -> None:
    with connect(owner="alice") as alice, connect(owner="bob") as bob:
        alice.disarm()
        assert bob.status().owner == OwnerStatus("alice", os.geteuid())
        for do in (bob.arm, bob.disarm, bob.rearm, bob.reset, bob.stop, bob.own, bob.release):
            with pytest.raises(RequestRefused, match=r"'alice'.*owns the robot"):
                do()
        bob.estop()
        assert len(stopped) == 1
        alice.release()
        bob.disarm()
        assert alice.own(take=True).owner == OwnerStatus("alice", os.geteuid())
    assert loop == ["disarm", "disarm"]


def test_only_root_and_the_user_of_the_run_may_take_the_robot_from_its_owner() -> None:
    ownership = Ownership()
    stranger, own = Peer(1, os.geteuid() + 1, 1), Peer(1, os.geteuid(), 1)
    assert ownership.admit(Ask("arm", "alice"), own) == ""
    assert "alice" in ownership.admit(Ask("own", "alice", take=True), stranger)  # the same name is another owner
    assert ownership.admit(Ask("own", "bob", take=True), own) == ""
    assert ownership.owner == OwnerStatus("bob", os.geteuid())


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", "no JSON object"),
        (b'{"do": "fly"}', "'fly'. Valid: status, estop, arm"),
        (b'{"do": ["arm"]}', "Valid: status"),
        (b'{"do": "arm", "version": 2}', "version 2"),
        (b'{"do": "arm", "how": 1}', "unknown key 'how'"),
        (b'{"do": "arm", "as": ""}', "cannot be an owner"),
        (b'{"do": "arm", "as": "a\\u001b[1m"}', "cannot be an owner"),
        (b'{"do": "own", "take": 1}', "take is 1"),
        (b'{"do": "arm", "do": "estop"}', "given twice"),
        (b'{"do": "operate", "values": [1e999]}', "finite numbers"),
        (b'{"do": "operate", "values": [true]}', "finite numbers"),
        (b'{"do": "operate", "values": 1}', "finite numbers"),
        (b'{"do": "operate", "at_ns": -1}', "CLOCK_MONOTONIC"),
        (b"x" * (messages.MAX_REQUEST_BYTES + 1), "more than 4096 bytes"),
    ],
)
def test_what_is_no_request_is_answered_with_the_reason_and_cut_off(run, loop, packet, words) -> None:
    with raw(run.path) as client:
        client.send(packet)
        said = answer(client)
        assert said["refusal"] == "bad"
        assert words in said["message"]
        assert client.recv(10) == b""
    with connect() as another:
        another.status()
    assert loop == []


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_packet_does_more_than_be_refused(packet) -> None:
    data = packet if isinstance(packet, bytes) else packet.encode()
    try:
        assert decode_ask(data).do in messages.VERBS
    except BadRequest as error:
        assert len(str(error)) < 4000


@given(st.sampled_from(messages.VERBS), st.text(max_size=64).filter(str.isprintable), st.booleans())
def test_a_request_is_read_as_it_was_written(do, name, take) -> None:
    read = decode_ask(encode_ask(Ask(do, name, take)))
    assert read == (Ask(do, name, take) if do != "estop" else Ask(do, name))


def test_a_client_that_babbles_is_cut_off_and_nobody_else(run) -> None:
    with raw(run.path) as babbling, connect() as calm:
        said = {}
        for _ in range(10_000):
            babbling.send(encode_ask(Ask("status")))
            said = answer(babbling)
            if said["refusal"]:
                break
        assert "More than 200 requests a second" in said["message"]
        assert babbling.recv(1) == b""
        calm.status()


def test_the_estop_of_a_babbling_client_is_done_all_the_same(run, stopped, monkeypatch) -> None:
    monkeypatch.setattr(server, "BURST", -1.0)
    with raw(run.path) as babbling:
        babbling.send(PACKET)
        assert answer(babbling)["refusal"] == "bad"
    assert len(stopped) == 1


def test_a_client_that_reads_no_answer_is_cut_off_and_nobody_waits(run, monkeypatch) -> None:
    monkeypatch.setattr(server, "BURST", 1e9)
    with raw(run.path) as deaf, connect() as calm:
        deaf.settimeout(0.5)
        sent = 0
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while sent < 100_000:
                deaf.send(encode_ask(Ask("status")))
                sent += 1
        assert sent > 10
        before = time.monotonic()
        calm.status()
        assert time.monotonic() - before < 1.0


def test_of_too_many_clients_the_one_that_was_silent_longest_goes(run) -> None:
    silent = raw(run.path)
    with silent:
        silent.send(encode_ask(Ask("status")))
        answer(silent)
        others = [connect() for _ in range(server.MAX_CLIENTS)]
        for other in others:
            other.status()
        assert "silent longest" in answer(silent)["message"]
        for other in others:
            other.close()


def test_a_second_request_before_the_first_is_answered_ends_the_connection(run) -> None:
    with raw(run.path) as client:
        client.send(encode_ask(Ask("disarm")))
        client.send(encode_ask(Ask("reset")))
        assert "before it was answered" in answer(client)["message"]
    (asked,) = run.take()
    run.answer(asked)  # to nobody any more
    with connect() as another:
        another.status()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_travels_with_the_request_that_may_have_one_and_with_no_other(run, tmp_path) -> None:
    path = tmp_path / "bundle"
    path.write_text("content")
    with path.open() as file, raw(run.path) as client:
        client.send(encode_ask(Ask("status")))
        answer(client)
        before = open_files()
        socket.send_fds(client, [encode_ask(Ask("load"))], [file.fileno(), file.fileno()])
        while not (taken := run.take()):
            time.sleep(0.002)
        assert os.pread(taken[0].file, 100, 0) == b"content"
        assert open_files() == before + 1  # the second one was not taken
        os.close(taken[0].file)
        run.answer(taken[0])
        answer(client)
        for packet in (encode_ask(Ask("status")), PACKET, encode_ask(Ask("release"))):
            socket.send_fds(client, [packet], [file.fileno()])
            answer(client)
        socket.send_fds(client, [b"nonsense"], [file.fileno()])
        answer(client)
        until = time.monotonic() + 5  # an answer comes before the file is closed
        while open_files() != before - 1 and time.monotonic() < until:  # less the server's end of the connection
            time.sleep(0.01)
        assert open_files() == before - 1
