"""The frame port over real sockets and real shared memory: who may write, who may read, what each is told."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.errors import FrameError
from edgerl.runtime import core, frame_packets, frame_sources, frames
from edgerl.runtime.enums import Result
from edgerl.runtime.frame_mailbox import FrameMemory, FrameOutlet, segment_bytes
from edgerl.runtime.frame_packets import BadPacket, FrameHello, FrameRefused, FrameWelcome
from edgerl.runtime.frame_sources import FrameSources, parse_frame_sources
from edgerl.runtime.frame_structs import Frame
from edgerl.runtime.frames import FrameWriter
from edgerl.runtime.layout import FrameChannel

IMAGE = FrameChannel("observation.image", (4, 5, 3), "uint8")
DEPTH = FrameChannel("observation.depth", (20, 20), "float32")
GIVEN = {"observation.image": ((4, 5, 3), "uint8"), "observation.depth": ((20, 20), "float32")}
HELLO = FrameHello(3, IMAGE)


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "camera.sock")


def sources_of(stack: contextlib.ExitStack, *channels: FrameChannel, **paths: str) -> FrameSources:
    named = {f"observation.{name}": path for name, path in paths.items()}
    return FrameSources(stack, channels, named, max_age_ns=1, from_robot=False)


def attached(writer: FrameWriter, sources: FrameSources) -> FrameSources:
    sources.attach(timeout_s=5.0, meanwhile=writer.attend)
    return sources


def seen(fd: int, channel: FrameChannel) -> tuple[Result, Frame, np.ndarray]:
    """Read a mailbox as the policy process does."""
    frame, content = Frame(), np.zeros(channel.shape, channel.dtype)
    with mmap.mmap(fd, segment_bytes(channel), prot=mmap.PROT_READ) as memory:
        read = core.library().erl_frame_read
        answer = read(core.address(memory), ctypes.addressof(frame), content.ctypes.data, channel.nbytes)
    return Result(answer), frame, content


# The packets.


@pytest.mark.parametrize(
    "packet",
    [
        HELLO,
        FrameHello(2**64 - 1, DEPTH),
        FrameHello(1, FrameChannel("observation", (1, 2, 3, 4, 5, 6, 7, 8), "int32")),
        FrameHello(1, FrameChannel("observation.größe", (1,), "uint8")),
        FrameWelcome(7),
        FrameRefused(7, "it is uint8 of shape (8, 8, 3) here"),
        FrameRefused(7, ""),
    ],
)
def test_a_packet_reads_back(packet) -> None:
    data = frame_packets.encode(packet)
    assert len(data) <= frame_packets.MAX_PACKET
    assert frame_packets.decode(data) == packet


def test_hello_has_the_bytes_of_the_specification() -> None:
    data = frame_packets.encode(HELLO)
    assert len(data) == 192
    assert data[:16] == b"ERLF\x01\x00\x01\x00\x03\x00\x00\x00\x00\x00\x00\x00"
    assert [int.from_bytes(data[at : at + size], "little") for at, size in ((16, 8), (24, 4), (28, 4))] == [60, 2, 3]
    assert np.frombuffer(data, "<u4", 8, 32).tolist() == [4, 5, 3, 0, 0, 0, 0, 0]
    assert data[64:] == b"observation.image".ljust(128, b"\0")
    assert frame_packets.encode(FrameWelcome(5)) == b"ERLF\x01\x00\x02\x00\x05" + bytes(7)


def test_a_reason_is_cut_to_its_limit_between_two_letters_and_shown_without_control_characters() -> None:
    long = frame_packets.decode(frame_packets.encode(FrameRefused(1, "ä" * 200)))
    assert long == FrameRefused(1, "ä" * 128)
    assert frame_packets.decode(frame_packets.encode(FrameRefused(1, "a\x1b[1mb"))) == FrameRefused(1, "a?[1mb")


@pytest.mark.parametrize(
    "channel",
    [FrameChannel("o" * 129, (1,), "uint8"), FrameChannel("o", (1,) * 9, "uint8"), FrameChannel("o", (), "uint8")],
)
def test_a_frame_that_no_packet_can_name_is_refused(channel) -> None:
    with pytest.raises(FrameError, match="cannot be asked for"):
        frame_packets.encode(FrameHello(1, channel))


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (0, b"X"),
        (4, b"\x02"),
        (6, b"\x09"),
        (16, b"\x3d"),
        (24, b"\x03"),
        (28, b"\x00"),
        (28, b"\x09"),
        (28, b"\x02"),
        (32, b"\x00"),
        (44, b"\x01"),
        (64, b"\xff"),
    ],
)
def test_a_hello_with_another_byte_is_no_hello(at, new) -> None:
    data = bytearray(frame_packets.encode(HELLO))
    data[at : at + 1] = new
    with pytest.raises(BadPacket):
        frame_packets.decode(bytes(data))


@given(st.binary(max_size=300), st.integers(0, 192), st.integers(0, 8))
def test_no_bytes_raise_anything_else(noise, start, length) -> None:
    for whole in (HELLO, FrameWelcome(1), FrameRefused(1, "no")):
        data = frame_packets.encode(whole)
        for damaged in (noise, data[:start] + noise + data[start + length :]):
            with contextlib.suppress(BadPacket):
                frame_packets.decode(damaged)


# A camera and a controller.


def test_frames_go_from_a_camera_to_a_policy(stack, path) -> None:
    writer = stack.enter_context(FrameWriter(GIVEN, path))
    assert writer.write("observation.image", np.zeros((4, 5, 3), np.uint8)) == 0
    sources = attached(writer, sources_of(stack, DEPTH, IMAGE, image=path, depth=path))
    image, depth = np.full((4, 5, 3), 7, np.uint8), np.full((20, 20), 0.5, np.float32)
    assert writer.write("observation.image", image, stamp_ns=11, state_stamp_ns=22) == 1
    before_ns = time.monotonic_ns()
    assert writer.write("observation.depth", depth[::-1]) == 1
    answer, frame, content = seen(sources.fds[1], IMAGE)
    assert (answer, frame.epoch, frame.sequence, frame.stamp_ns, frame.state_stamp_ns) == (Result.OK, 1, 1, 11, 22)
    assert np.array_equal(content, image)
    answer, frame, content = seen(sources.fds[0], DEPTH)
    assert (answer, frame.state_stamp_ns) == (Result.OK, 0)
    assert before_ns <= frame.stamp_ns <= time.monotonic_ns()
    assert np.array_equal(content, depth)
    assert (writer.readers, sources.trouble) == (2, "")


def test_every_controller_gets_the_frames(stack, path) -> None:
    writer = stack.enter_context(FrameWriter(GIVEN, path))
    both = [attached(writer, sources_of(stack, IMAGE, image=path)) for _ in range(2)]
    assert writer.write("observation.image", np.full((4, 5, 3), 9, np.uint8)) == 2
    assert [set(seen(sources.fds[0], IMAGE)[2].flat) for sources in both] == [{9}, {9}]


def test_the_policys_descriptor_cannot_be_mapped_for_writing(stack, path) -> None:
    writer = stack.enter_context(FrameWriter(GIVEN, path))
    sources = attached(writer, sources_of(stack, IMAGE, image=path))
    with pytest.raises(PermissionError):
        mmap.mmap(sources.fds[0], segment_bytes(IMAGE))
    with pytest.raises(OSError, match=r"not permitted|Invalid|Bad file"):
        os.ftruncate(sources.fds[0], 10)


def test_a_camera_that_starts_again_goes_on_in_the_same_mailbox(stack, path, monkeypatch) -> None:
    monkeypatch.setattr(frame_sources, "RETRY_S", 0.0)
    first = FrameWriter(GIVEN, path)
    sources = attached(first, sources_of(stack, IMAGE, image=path))
    first.write("observation.image", np.full((4, 5, 3), 1, np.uint8))
    first.close()
    sources.attend()
    assert sources.trouble == f"observation.image: the process at {path} has ended"
    sources.attend()
    assert sources.trouble.startswith(f"observation.image: nobody listens at {path}")
    second = stack.enter_context(FrameWriter(GIVEN, path))
    attached(second, sources)
    assert set(seen(sources.fds[0], IMAGE)[2].flat) == {1}
    second.write("observation.image", np.full((4, 5, 3), 2, np.uint8))
    _, frame, content = seen(sources.fds[0], IMAGE)
    assert (frame.sequence, set(content.flat)) == (1, {2})
    assert frame.epoch > 1


def test_a_writer_that_was_replaced_is_told_so_by_its_mailbox(stack) -> None:
    memory = FrameMemory(stack, IMAGE)
    memory.admit(1)
    outlet = FrameOutlet(memory.fd, IMAGE, 1)
    image = np.zeros((4, 5, 3), np.uint8)
    assert outlet.post(image, 1, 0)
    memory.admit(2)
    assert not outlet.post(image, 2, 0)
    outlet.close()


def test_the_robots_own_process_is_asked_over_the_socket_that_it_was_started_with(stack) -> None:
    sources = FrameSources(stack, (IMAGE, DEPTH), {}, max_age_ns=1, from_robot=True)
    ends = [socket.socket(fileno=os.dup(end.fileno())) for end in sources.robots_ends]
    sources.handed_over()
    writer = FrameWriter(GIVEN, connected=ends)
    sources.attach(timeout_s=0.0)
    assert writer.write("observation.depth", np.ones((20, 20), np.float32)) == 1
    assert seen(sources.fds[1], DEPTH)[0] == Result.OK
    writer.close()
    sources.attend()
    assert "observation.image: the robot's process has ended" in sources.trouble
    sources.attend()
    assert "has ended" in sources.trouble


@pytest.mark.parametrize(
    ("channel", "refusal"),
    [
        (FrameChannel("observation.image", (4, 5, 4), "uint8"), r"refused: it is uint8 of shape \(4, 5, 3\) here"),
        (FrameChannel("observation.image", (4, 5, 3), "int32"), r"refused: it is uint8 of shape"),
        (FrameChannel("observation.left", (4, 5, 3), "uint8"), r"refused: no such frame here; there are observation\."),
    ],
)
def test_another_image_than_the_policys_is_refused_at_once(stack, path, channel, refusal) -> None:
    writer = stack.enter_context(FrameWriter(GIVEN, path))
    sources = FrameSources(stack, (channel,), {channel.name: path}, max_age_ns=1)
    before = time.monotonic()
    with pytest.raises(FrameError, match=refusal):
        sources.attach(timeout_s=60.0, meanwhile=writer.attend)
    assert time.monotonic() - before < 30.0
    assert writer.readers == 0


def test_nobody_at_the_socket_is_said_when_the_time_is_over(stack, path) -> None:
    with pytest.raises(FrameError, match=rf"nobody listens at {path} \(No such file or directory\)\. Start it"):
        sources_of(stack, IMAGE, image=path).attach(timeout_s=0.05)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"what?", "answered with what is no packet"),
        (frame_packets.encode(HELLO), "answered with FrameHello"),
        (frame_packets.encode(FrameWelcome(99)), r"answered with FrameWelcome\(epoch=99\)"),
        (None, "has ended"),
    ],
)
def test_whoever_does_not_speak_the_frame_port_is_not_believed(stack, path, answer, said) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(path)
        listening.listen()
        sources = sources_of(stack, IMAGE, image=path)
        connection, _ = listening.accept()
        with connection:
            socket.recv_fds(connection, 1000, 0)
            if answer is not None:
                connection.send(answer)
        sources.attend()
        assert said.split("\\")[0] in sources.trouble
        assert not sources.sources[0].attached


def test_frames_need_exactly_one_source_each(stack) -> None:
    with pytest.raises(FrameError, match=r"observes observation\.image, and nothing says where .*--frames observation"):
        FrameSources(stack, (IMAGE,), {}, max_age_ns=1)
    with pytest.raises(FrameError, match=r"observes no image of this name. It observes observation\.image\."):
        FrameSources(stack, (IMAGE,), {"observation": "there"}, max_age_ns=1)
    with pytest.raises(FrameError, match="It observes none"):
        FrameSources(stack, (), {"observation": "there"}, max_age_ns=1)


def test_sources_are_named_by_input_and_socket() -> None:
    assert parse_frame_sources([]) == {}
    assert parse_frame_sources(["observation.a=shm:/run/a=b.sock", "observation=shm:here"]) == {
        "observation.a": "/run/a=b.sock",
        "observation": "here",
    }


@pytest.mark.parametrize("text", ["", "observation", "observation=", "=shm:/a", "observation=shm:", "o=udp:1.2.3.4:5"])
def test_a_source_of_another_form_is_refused_with_an_example(text) -> None:
    with pytest.raises(FrameError, match=r"Expected NAME=shm:PATH .* such as observation\.image=shm:"):
        parse_frame_sources([text])


def test_a_frame_has_one_source() -> None:
    with pytest.raises(FrameError, match="twice"):
        parse_frame_sources(["o=shm:a", "o=shm:b"])


# The writer by itself.


def test_an_image_of_another_form_is_refused_where_it_is_written(stack, path) -> None:
    writer = stack.enter_context(FrameWriter(GIVEN, path))
    with pytest.raises(FrameError, match=r"no frame 'left' here. Frames: observation\.image, observation\.depth"):
        writer.write("left", np.zeros(3))
    for wrong in (np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5, 3), np.float32)):
        with pytest.raises(FrameError, match=r"was announced as uint8 of shape \(4, 5, 3\)"):
            writer.write("observation.image", wrong)


def test_only_its_own_user_can_ask(stack, path) -> None:
    stack.enter_context(FrameWriter(GIVEN, path))
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_a_socket_that_is_in_use_is_not_taken_and_a_dead_one_is(stack, path) -> None:
    first = FrameWriter(GIVEN, path)
    with pytest.raises(FrameError, match="another process gives frames there"):
        FrameWriter(GIVEN, path)
    first._listening.close()  # as if it had been killed: the file stays
    second = FrameWriter(GIVEN, path)
    second.close()
    assert not Path(path).exists()


@pytest.mark.parametrize("made", ["file", "folder", "long"])
def test_a_place_where_no_socket_can_be_is_refused(made, tmp_path) -> None:
    place = {"file": tmp_path / "file", "folder": tmp_path / "none" / "a.sock", "long": tmp_path / ("a" * 120)}[made]
    if made == "file":
        place.write_text("mine")
    with pytest.raises(FrameError, match=r"Choose a(nother path| shorter one)\."):
        FrameWriter(GIVEN, place)
    assert made != "file" or place.read_text() == "mine"


@pytest.mark.parametrize(
    ("data", "descriptors"),
    [
        (b"", 0),
        (b"hello?", 1),
        (frame_packets.encode(FrameWelcome(1)), 0),
        (frame_packets.encode(HELLO), 0),
        (frame_packets.encode(HELLO), 2),
        (frame_packets.encode(HELLO), 1),
    ],
    ids=["nothing", "noise", "welcome", "no descriptor", "two", "no mailbox"],
)
def test_a_controller_that_makes_no_sense_gets_nothing_and_leaves_nothing_open(stack, path, data, descriptors) -> None:
    writer = stack.enter_context(FrameWriter(GIVEN, path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking, Path("/dev/zero").open("rb") as other:
        asking.connect(path)
        writer.attend()
        before = len(list(Path("/proc/self/fd").iterdir()))
        if data:
            socket.send_fds(asking, [data], [other.fileno()] * descriptors)
        else:
            asking.shutdown(socket.SHUT_WR)
        writer.attend()
        answer = asking.recv(1000)
        assert not answer or isinstance(frame_packets.decode(answer), FrameRefused)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert writer.write("observation.image", np.zeros((4, 5, 3), np.uint8)) == 0


def test_a_mailbox_of_another_size_or_that_could_shrink_is_not_written(stack) -> None:
    memory = FrameMemory(stack, IMAGE)
    with pytest.raises(FrameError, match=r"not sealed memory of 6,\d+ bytes|not sealed memory"):
        FrameOutlet(memory.fd, DEPTH, 1)
    descriptor = os.memfd_create("shrinking", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, segment_bytes(IMAGE))
    with pytest.raises(FrameError, match="not sealed"):
        FrameOutlet(descriptor, IMAGE, 1)
    os.close(descriptor)
    with pytest.raises(FrameError, match="cannot be mapped"):
        FrameOutlet(memory.read_only, IMAGE, 1)
    core.library().erl_frame_create(memory._address, 61)
    with pytest.raises(FrameError, match="of another version or size"):
        FrameOutlet(memory.fd, IMAGE, 1)


def test_more_controllers_than_it_has_room_for_are_turned_away(stack, path, monkeypatch) -> None:
    monkeypatch.setattr(frames, "MAX_READERS", 2)
    writer = stack.enter_context(FrameWriter(GIVEN, path))
    for _ in range(2):
        attached(writer, sources_of(stack, IMAGE, image=path))
    third = sources_of(stack, IMAGE, image=path)
    writer.attend()
    third.attend()
    assert "has ended" in third.trouble
    assert writer.readers == 2


def test_asking_for_the_same_frame_again_replaces_the_mailbox(stack, path) -> None:
    writer = stack.enter_context(FrameWriter(GIVEN, path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.connect(path)
        memories = [FrameMemory(stack, IMAGE) for _ in range(2)]
        for epoch, memory in enumerate(memories, 1):
            memory.admit(epoch)
            socket.send_fds(asking, [frame_packets.encode(FrameHello(epoch, IMAGE))], [memory.fd])
            writer.attend()
            assert frame_packets.decode(asking.recv(1000)) == FrameWelcome(epoch)
        assert writer.write("observation.image", np.zeros((4, 5, 3), np.uint8)) == 1
        assert [seen(memory.read_only, IMAGE)[0] for memory in memories] == [Result.EMPTY, Result.OK]
