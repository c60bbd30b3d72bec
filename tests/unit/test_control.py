"""The control socket with real sockets, real users and a loop that the test plays itself."""

from __future__ import annotations

import grp
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgerl
from edgerl.errors import ControlError, NoRight, NoSuchRun, RequestRefused
from edgerl.runtime.control import messages, server
from edgerl.runtime.control.client import connect
from edgerl.runtime.control.estop import PACKET, TAKEN, send_estop
from edgerl.runtime.control.listener import ControlOptions, Listener
from edgerl.runtime.control.messages import (
    Ask,
    BadRequest,
    LoopStatus,
    OperatorStatus,
    OperatorValueStatus,
    OwnerStatus,
    RunStatus,
    decode_ask,
    encode_ask,
)
from edgerl.runtime.control.owner import Ownership, Peer
from edgerl.runtime.control.places import folders, live_names, reach
from edgerl.runtime.control.server import ControlServer

OPERATOR = OperatorStatus((OperatorValueStatus("speed", "m/s", -1.0, 1.0, 0.0),), 0.5, dead_man=True)
ABOUT = RunStatus("", os.getpid(), "udp:robot:1", "ab" * 32, "run.mcap", 1, OPERATOR, None, 0, LoopStatus(0))
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    place = tmp_path / "r"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    return place


@pytest.fixture
def run() -> Iterator[ControlServer]:
    with ControlServer(ControlOptions("walker"), ABOUT) as served:
        yield served


@pytest.fixture
def loop(run) -> Iterator[list[str]]:
    """A loop that does everything it is asked, until the test is over; yields what it was asked."""
    done: list[str] = []
    over = threading.Event()

    def live() -> None:
        while not over.wait(0.002):
            for asked in run.take():
                done.append(asked.ask.do)
                run.answer(asked)

    thread = threading.Thread(target=live)
    thread.start()
    yield done
    over.set()
    thread.join()


class Wires:
    """Where a guardian would be."""

    def __init__(self) -> None:
        self.stops: list[float] = []
        self.said: list[tuple[tuple[float, ...], bool, int]] = []

    def estop(self) -> None:
        self.stops.append(time.monotonic())

    def operate(self, values: tuple[float, ...], *, dead_man: bool, at_ns: int) -> None:
        self.said.append((values, dead_man, at_ns))


@pytest.fixture
def wires(run) -> Iterator[Wires]:
    made = Wires()
    with run.wired(made):
        yield made


@pytest.fixture
def stopped(wires) -> list[float]:
    """When the robot was stopped past the loop."""
    return wires.stops


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


def test_a_dead_runs_socket_is_recognized_and_replaced(folder) -> None:
    code = (
        "import os,sys; from edgerl.runtime.control.listener import *; Listener(ControlOptions('walker')); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (folder / "walker.sock").exists()
    assert live_names() == ()
    with pytest.raises(NoSuchRun, match="No run is alive"):
        connect()
    with ControlServer(ControlOptions("walker", exact=True), ABOUT) as again:
        assert live_names() == ("walker",)
        assert again.path == str(folder / "walker.sock")
    assert not (folder / "walker.sock").exists()


def test_a_live_run_keeps_its_socket(run, folder) -> None:
    with pytest.raises(ControlError, match=r"listens at .*walker\.sock already"):
        Listener(ControlOptions("walker", exact=True))
    with ControlServer(ControlOptions("walker"), ABOUT) as second:
        assert second.path == str(folder / "walker-2.sock")
        with pytest.raises(NoSuchRun, match=r"2 runs are alive: walker \(.*walker-2 .*--name"):
            connect()
        with pytest.raises(NoSuchRun, match="2 runs are alive"):
            send_estop()
        with connect("walker-2") as client:
            assert client.status().name == "walker-2"
        assert sorted(send_estop(every=True)) == ["walker", "walker-2"]
    assert live_names() == ("walker",)


def test_a_run_that_nobody_started_is_named_with_those_that_live(run) -> None:
    with pytest.raises(NoSuchRun, match=r"name 'walkers' is alive; these are: walker\."):
        connect("walkers")


def test_a_socket_that_was_put_in_its_place_is_left_alone(folder) -> None:
    first = Listener(ControlOptions("walker"))
    (folder / "walker.sock").unlink()
    second = Listener(ControlOptions("walker"))
    first.close()
    assert (folder / "walker.sock").exists()
    second.close()


def test_only_the_user_has_a_right_to_folder_and_socket(run, folder) -> None:
    assert (folder / "walker.sock").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_path_may_be_said(tmp_path) -> None:
    path = str(tmp_path / "here.sock")
    with ControlServer(ControlOptions(path=path), ABOUT):
        with connect(control=path) as client:
            assert client.status().name == "here"
        assert send_estop(control=path) == ("here",)
        with pytest.raises(ControlError, match="listens at"):
            Listener(ControlOptions(path=path))
    with pytest.raises(NoSuchRun, match="No run listens"):
        connect(control=path)


def test_a_file_in_the_way_is_kept(tmp_path) -> None:
    path = tmp_path / "precious"
    path.write_text("mine")
    with pytest.raises(ControlError, match="no socket"):
        Listener(ControlOptions(path=str(path)))
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "x" * 64, "a b"])
def test_a_name_that_is_no_files_is_refused(name) -> None:
    with pytest.raises(ControlError, match="not a name for a run"):
        Listener(ControlOptions(name))


def test_a_path_that_no_socket_can_have_is_refused(tmp_path) -> None:
    with pytest.raises(ControlError, match="at most 107 bytes"):
        Listener(ControlOptions(path=str(tmp_path / ("x" * 107))))


def test_a_group_that_is_not_there_is_refused() -> None:
    with pytest.raises(ControlError, match="no group 'pilots of nothing'"):
        Listener(ControlOptions("walker", group="pilots of nothing"))


def test_a_folder_that_others_may_write_to_is_passed_over(folder, tmp_path, monkeypatch) -> None:
    folder.chmod(0o777)
    other = tmp_path / "own"
    other.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{folder}:{other}")
    with ControlServer(ControlOptions("walker"), ABOUT) as run:
        assert run.path == str(other / "walker.sock")


def test_where_sockets_lie_follows_the_machine(monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert folders({"XDG_RUNTIME_DIR": "/run/user/1000"})[:2] == ("/run/user/1000/edgerl", "/run/edgerl")
    assert folders({"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/x"})[:3] == (
        "/run/a",
        "/run/b",
        "/x/edgerl",
    )
    assert folders({})[-1].endswith("/edgerl-1000")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert folders({"XDG_RUNTIME_DIR": "/x"})[:2] == ("/run/edgerl", "/x/edgerl")


AS_NOBODY = """
import os, sys
sys.path[:0] = {path!r}
from edgerl.errors import EdgerlError
from edgerl.runtime.control.client import connect
from edgerl.runtime.control.estop import send_estop
os.environ["RUNTIME_DIRECTORY"] = {folder!r}
os.setgroups([])
os.setgid({gid})
os.setuid({uid})
for attempt in (lambda: connect("walker").status(), lambda: connect(control={socket!r}).status(), send_estop):
    try:
        print("did", attempt())
    except EdgerlError as error:
        print(type(error).__name__, error.exit_code, error)
"""


@pytest.fixture
def open_folder(monkeypatch) -> Iterator[Path]:
    """A folder that every user can reach; the ones that pytest makes are this user's alone."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "r"
        folder.mkdir(mode=0o700)
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
        yield folder


def as_user(folder: Path, path: str, gid: int = NOBODY) -> list[str]:
    code = AS_NOBODY.format(
        path=[str(Path(edgerl.__file__).parent.parent)], folder=str(folder), gid=gid, uid=NOBODY, socket=path
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@needs_root
def test_another_user_has_no_right_to_the_socket_and_nothing_is_sent(open_folder, run, loop, stopped) -> None:
    said = as_user(open_folder, run.path)
    open_folder.chmod(0o755)  # and where only the socket's own rights are in the way
    said += as_user(open_folder, run.path)
    assert len(said) == 6
    assert all(line.startswith("NoRight 1 ") and "nothing was sent" in line for line in said)
    assert (stopped, loop) == ([], [])


@needs_root
def test_a_group_that_was_given_the_right_has_it(open_folder) -> None:
    group = next(one for one in grp.getgrall() if one.gr_gid not in (0, NOBODY))
    with ControlServer(ControlOptions("walker", group=group.gr_name), ABOUT) as run:
        assert Path(run.path).stat().st_mode & 0o777 == 0o660
        assert open_folder.stat().st_mode & 0o777 == 0o750
        said = as_user(open_folder, run.path, group.gr_gid)
        assert said[0].startswith("did RunStatus(name='walker'")
        assert said[2] == "did ('walker',)"
        assert f"(uid {NOBODY}, pid " in run.estop_by
        assert all(line.startswith("NoRight") for line in as_user(open_folder, run.path))


def test_no_right_is_one_message() -> None:
    assert "no right to it, so nothing was sent" in str(NoRight("/run/edgerl"))


def test_the_estop_imports_no_command_line_and_no_arrays() -> None:
    heavy = {"typer", "rich", "numpy", "json", "dataclasses"}
    code = f"import sys, edgerl.runtime.control.estop; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reach_hangs_up_on_all_when_several_could_be_meant(run) -> None:
    with ControlServer(ControlOptions("other"), ABOUT):
        with pytest.raises(NoSuchRun):
            reach()
        with connect("walker") as client:
            until = time.monotonic() + 5
            while client.status().clients != 1 and time.monotonic() < until:
                time.sleep(0.01)
            assert client.status().clients == 1
