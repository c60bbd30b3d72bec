"""The recording as edgerl writes and reads it; test_recording_mcap.py reads it with the official library."""

from __future__ import annotations

import ctypes
import resource
import signal
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import DamagedRecording, EdgerlError, OutputError, SchemaTooNew
from edgerl.runtime.layout import Channel
from edgerl.runtime.recording import SCHEMA, Array, Header, record_bytes, record_dtype
from edgerl.runtime.recording import container as mcap
from edgerl.runtime.recording.container import HEAD, MAGIC, Op
from edgerl.runtime.recording.form import Form
from edgerl.runtime.recording.protobuf import identifiers
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.recording.write import CHUNK_BYTES, RecordingWriter
from edgerl.runtime.structs import TickHeader
from tests.recordings import HEADER, any_ticks, header, same, ticks


def write(path: Path, *batches, told: Header = HEADER) -> bytes:
    with RecordingWriter(path, told) as writer:
        for batch in batches:
            writer.append(batch)
    return path.read_bytes()


def records_of(data: bytes) -> list[tuple[int, int, int]]:
    """Opcode, begin and end of every record in the file."""
    at, found = len(MAGIC), []
    while at + HEAD.size <= len(data) - len(MAGIC):
        op, size = HEAD.unpack_from(data, at)
        found.append((op, at, at + HEAD.size + size))
        at = found[-1][2]
    return found


def test_every_bit_of_every_tick_is_read_back(tmp_path: Path) -> None:
    rows = any_ticks(250)
    write(tmp_path / "run.mcap", rows[:100], rows[100:101], rows[101:])
    recording = read_recording(tmp_path / "run.mcap")
    assert recording.header == HEADER
    assert recording.complete
    assert recording.lost == 0
    assert same(recording.records, rows)


@pytest.mark.parametrize("channels", [0, 1, 15, 16, 17, 357])
def test_any_number_of_channels_is_read_back(tmp_path: Path, channels: int) -> None:
    arrays = (Array("state", (Channel("é" * 200, "°"),) * channels), Array("operator", ()))
    told = header(arrays=arrays)
    rows = any_ticks(3, told=told)
    write(tmp_path / "run.mcap", rows, told=told)
    assert same(read_recording(tmp_path / "run.mcap").records, rows)


def test_only_the_wanted_arrays_are_read(tmp_path: Path) -> None:
    rows = any_ticks(20)
    write(tmp_path / "run.mcap", rows)
    found = read_recording(tmp_path / "run.mcap", arrays=["command"]).records
    assert "state" not in (found.dtype.names or ())
    assert found["command"].tobytes() == np.ascontiguousarray(rows["command"]).tobytes()
    assert np.array_equal(found["events"], rows["events"])


def test_a_batch_larger_than_a_chunk_becomes_several(tmp_path: Path) -> None:
    count = CHUNK_BYTES // Form.of(HEADER).block_bytes + 5
    data = write(tmp_path / "run.mcap", any_ticks(count))
    sizes = [end - begin for op, begin, end in records_of(data) if op == Op.CHUNK]
    assert len(sizes) == 2
    assert max(sizes) < CHUNK_BYTES + 1000
    assert len(read_recording(tmp_path / "run.mcap").records) == count


def test_every_field_of_the_guardians_record_lies_where_the_guardian_puts_it() -> None:
    form = record_dtype(HEADER.arrays)
    assert form.fields is not None
    for name, _ in TickHeader._fields_:
        if name != "reserved":
            assert form.fields[name][1] == getattr(TickHeader, name).offset
            assert form.fields[name][0].itemsize == getattr(TickHeader, name).size
    assert form.fields["state"][1] == ctypes.sizeof(TickHeader)
    assert form.fields["action"][1] == ctypes.sizeof(TickHeader) + 4 * 3
    assert form.itemsize == record_bytes(HEADER.arrays) == ctypes.sizeof(TickHeader) + 4 * (3 + 1 + 1 + 1 + 1) + 4


def test_what_was_written_is_there_without_an_end(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "run", HEADER) as writer:
        assert len(read_recording(tmp_path / "run").records) == 0
        writer.append(ticks(3))
        found = read_recording(tmp_path / "run")
        assert (len(found.records), found.complete) == (3, False)


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_a_recording_cut_at_any_byte_is_read_up_to_its_last_whole_tick(tmp_path: Path, stride: int) -> None:
    rows = any_ticks(5)
    data = write(tmp_path / "whole", rows[:3], rows[3:])
    block, found = Form.of(HEADER).block_bytes, records_of(data)
    chunks = [(begin + HEAD.size + mcap.CHUNK_HEAD.size, end) for op, begin, end in found if op == Op.CHUNK]
    first = next(begin for op, begin, _ in found if op == Op.CHUNK)
    end_of_data = next(end for op, _, end in found if op == Op.DATA_END)
    edges = {place + off for _, *ends in found for place in ends for off in (-1, 0, 1)}
    cut = tmp_path / "cut"
    for size in sorted(edges & set(range(len(data))) | set(range(0, len(data), stride))):
        cut.write_bytes(data[:size])
        if size < first:
            with pytest.raises(DamagedRecording):
                read_recording(cut)
            continue
        expected = sum(max(0, min(size, end) - begin) // block for begin, end in chunks)
        recording = read_recording(cut)
        assert recording.complete is (size >= end_of_data), size
        assert same(recording.records, rows[:expected]), size


@settings(max_examples=400, deadline=None)
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_changed_bit_is_refused_or_leaves_every_tick_as_it_was(tmp_path_factory, place: int, bit: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole, rows = folder / "whole.mcap", any_ticks(6)
    data = bytearray(whole.read_bytes() if whole.exists() else write(whole, rows[:4], rows[4:]))
    place %= len(data)
    data[place] ^= 1 << bit
    (folder / "changed.mcap").write_bytes(data)
    try:
        recording = read_recording(folder / "changed.mcap")
    except EdgerlError:
        return
    assert place >= len(data) - len(MAGIC) or not recording.complete
    assert same(recording.records, rows)


@given(st.binary(max_size=400), st.integers(0, 10**9))
def test_garbage_after_any_part_of_a_recording_is_one_error_or_a_cut(tmp_path_factory, noise: bytes, at: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole, rows = folder / "garbage.mcap", any_ticks(6)
    data = whole.read_bytes() if whole.exists() else write(whole, rows[:4], rows[4:])
    keep = at % len(data)
    (folder / "noise.mcap").write_bytes(data[:keep] + noise)
    try:
        found = read_recording(folder / "noise.mcap").records
    except EdgerlError:
        return
    assert np.array_equal(found["tick"], np.arange(len(found)))


@pytest.mark.parametrize("size", [2**64 - 1, 2**63, 2**40, 2**32])
@pytest.mark.parametrize("op", [Op.HEADER, Op.METADATA, Op.CHUNK, Op.DATA_END])
def test_a_length_beyond_every_memory_is_refused(tmp_path: Path, op: Op, size: int) -> None:
    data = bytearray(write(tmp_path / "whole", ticks(3)))
    at = next(begin for found, begin, _ in records_of(data) if found == op)
    struct.pack_into("<Q", data, at + 1, size)
    (tmp_path / "run").write_bytes(data)
    with pytest.raises(DamagedRecording):
        read_recording(tmp_path / "run")


def test_a_chunk_that_claims_more_than_a_chunk_holds_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "run", ticks(3))
    size = 2**50 // Form.of(HEADER).block_bytes * Form.of(HEADER).block_bytes
    data = (tmp_path / "run").read_bytes()
    at = next(begin for op, begin, _ in records_of(data) if op == Op.CHUNK)
    (tmp_path / "run").write_bytes(data[:at] + mcap.chunk_head((1, 2), size, 0) + data[at:])
    with pytest.raises(DamagedRecording, match="no chunk of ticks"):
        read_recording(tmp_path / "run")


def test_a_damaged_recording_says_how_much_of_it_is_whole(tmp_path: Path) -> None:
    rows = any_ticks(6)
    data = bytearray(write(tmp_path / "run", rows[:4], rows[4:]))
    at = [begin for op, begin, _ in records_of(data) if op == Op.CHUNK][1]
    data[at + 100] ^= 1
    (tmp_path / "run").write_bytes(data)
    with pytest.raises(DamagedRecording, match=f"head -c {at} "):
        read_recording(tmp_path / "run")
    (tmp_path / "whole.mcap").write_bytes(data[:at])
    assert same(read_recording(tmp_path / "whole.mcap").records, rows[:4])


def test_a_chunk_whose_checksum_is_right_and_whose_messages_are_not_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "run", ticks(3))
    at, end = next((begin, end) for op, begin, end in records_of(data) if op == Op.CHUNK)
    content = bytearray(data[at + HEAD.size + mcap.CHUNK_HEAD.size : end])
    content[0] = Op.SCHEMA
    head = mcap.chunk_head((1, 2), len(content), zlib.crc32(content))
    indexes = next(begin for op, begin, _ in records_of(data) if op == Op.DATA_END)
    (tmp_path / "run").write_bytes(data[:at] + head + bytes(content) + data[end:indexes])
    with pytest.raises(DamagedRecording, match="does not hold the messages of ticks"):
        read_recording(tmp_path / "run")


def test_a_mode_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    rows = ticks(3)
    rows["mode"][1] = 250
    write(tmp_path / "run", rows)
    with pytest.raises(DamagedRecording, match="does not know"):
        read_recording(tmp_path / "run")


def test_ticks_that_the_ring_overwrote_are_counted_as_lost(tmp_path: Path) -> None:
    rows = ticks(7)
    write(tmp_path / "run", rows[[0, 1, 5, 6]])
    assert read_recording(tmp_path / "run").lost == 3


def test_what_came_before_the_dump_of_a_fault_is_not_lost(tmp_path: Path) -> None:
    write(tmp_path / "run", ticks(5, first=100), ticks(2, first=107), told=header(fault="policy-fault in tick 103"))
    assert read_recording(tmp_path / "run").lost == 2


def test_ticks_that_go_back_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "run", ticks(3)[[0, 2, 1]])
    with pytest.raises(DamagedRecording, match="advance"):
        read_recording(tmp_path / "run")


def test_another_file_a_newer_one_and_a_missing_one_say_so(tmp_path: Path) -> None:
    (tmp_path / "zip").write_bytes(b"PK\3\4" + bytes(50))
    (tmp_path / "bag").write_bytes(MAGIC + mcap.header("ros2") + mcap.record(Op.SCHEMA, bytes(20)))
    (tmp_path / "notes").write_bytes(MAGIC + mcap.header("x") + mcap.metadata("weather", {"sky": "grey"}))
    write(tmp_path / "new", told=header(schema=SCHEMA + 1))
    write(tmp_path / "odd", told=header(arrays=(Array("../x", ()),)))
    for name, what in (
        ("zip", "begins with"),
        ("bag", "not one that edgerl wrote"),
        ("notes", "not one that edgerl wrote"),
        ("none", "cannot be read"),
        ("odd", "describes no records"),
    ):
        with pytest.raises(DamagedRecording, match=what):
            read_recording(tmp_path / name)
    with pytest.raises(SchemaTooNew, match=f"schema {SCHEMA + 1}"):
        read_recording(tmp_path / "new")


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "run")
    with pytest.raises(OutputError, match="exists already"):
        RecordingWriter(tmp_path / "run", HEADER)
    with pytest.raises(OutputError, match="cannot be written"):
        RecordingWriter(tmp_path / "no" / "run", HEADER)


def test_a_full_disk_is_one_error_of_ours_and_costs_no_chunk_that_was_written(tmp_path: Path) -> None:
    path, rows = tmp_path / "run.mcap", ticks(2000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))  # past it, writing fails as on a full disk
    try:
        writer = RecordingWriter(path, HEADER)
        with pytest.raises(OutputError, match=r"run\.mcap cannot be written .*what was recorded so far is kept"):
            for first in range(0, 2000, 50):
                writer.append(rows[first : first + 50])
        size = path.stat().st_size
        assert size == writer.bytes < 300_000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert same(read_recording(path).records, rows[: writer.count])
    assert writer.count > 200
    writer.close()  # there is room again
    recording = read_recording(path)
    assert recording.complete
    assert same(recording.records, rows[: writer.count])


def test_the_names_of_fields_are_like_the_channels_and_differ_even_in_json() -> None:
    names = identifiers(["q[left_hip]", "q.left_hip", "Q LeftHip", "0", "", "é", "v.x", "q_left_hip_2"])
    assert names == (
        "q_left_hip", "q_left_hip_2", "Q_LeftHip_3", "channel_0", "channel", "channel_2", "v_x", "q_left_hip_2_2",
    )  # fmt: skip
    assert len({name.replace("_", "").lower() for name in names}) == len(names)
