from __future__ import annotations

import ctypes
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import DamagedRecording, EdgerlError, OutputError, SchemaTooNew
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.recording import (
    SCHEMA,
    Header,
    RecordingWriter,
    read_recording,
    record_bytes,
    record_dtype,
    this_machine,
)
from edgerl.runtime.structs import TickHeader

LAYOUT = Layout(tuple(Channel(f"s{i}", "1") for i in range(3)), (Channel("torque", "N m"),))
HEADER = Header(
    schema=SCHEMA,
    bundle="ab" * 32,
    spec="cd" * 32,
    robot="gym:CartPole-v1",
    session="0" * 15 + "7",
    started_unix_ns=1,
    machine=this_machine(),
    guardian={"period_ns": 20_000_000},
    same_clock=True,
    layout=LAYOUT,
    record_bytes=record_bytes(3, 1, 1, 0),
    fields=record_dtype(3, 1, 1, 0).names or (),
)


def record(tick: int) -> bytes:
    head = TickHeader(tick=tick, write_ns=1000 + tick, mode=2)
    floats = np.array([tick, 0.5, np.nan, -1.0, 1.0], np.float32)
    return (bytes(head) + floats.tobytes()).ljust(record_bytes(3, 1, 1, 0), b"\0")


def write(path: Path, ticks: range | list[int] = range(5)) -> bytes:
    with RecordingWriter(path, HEADER) as writer:
        for tick in ticks:
            writer.append(record(tick))
    return path.read_bytes()


def test_what_was_flushed_is_there_without_an_end(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "run", HEADER) as writer:
        writer.append(record(0))
        writer.flush()
        found = read_recording(tmp_path / "run")
        assert (len(found.records), found.complete) == (1, False)


def test_a_recording_reads_back_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "run.erlrec")
    recording = read_recording(tmp_path / "run.erlrec")
    assert recording.header == HEADER
    assert recording.complete
    assert recording.lost == 0
    assert recording.records["tick"].tolist() == [0, 1, 2, 3, 4]
    assert recording.records["write_ns"].tolist() == [1000, 1001, 1002, 1003, 1004]
    np.testing.assert_array_equal(recording.records["state"][3], np.array([3, 0.5, np.nan], np.float32))
    assert recording.records["action"][3] == [-1.0]
    assert recording.records["command"][3] == [1.0]


def test_every_field_of_the_guardians_record_lies_where_the_guardian_puts_it() -> None:
    form = record_dtype(3, 1, 1, 0)
    assert form.fields is not None
    for name, _ in TickHeader._fields_:
        if name != "reserved":
            assert form.fields[name][1] == getattr(TickHeader, name).offset
            assert form.fields[name][0].itemsize == getattr(TickHeader, name).size
    assert form.fields["state"][1] == ctypes.sizeof(TickHeader)


def test_a_recording_cut_anywhere_is_read_up_to_its_last_whole_record(tmp_path: Path) -> None:
    data = write(tmp_path / "whole")
    row = record_dtype(3, 1, 1, 0).itemsize
    start = len(data) - 20 - 5 * row
    cut = tmp_path / "cut"
    for size in (*range(start, start + row + 9), *range(start + row + 9, len(data), 53), len(data) - 1):
        cut.write_bytes(data[:size])
        recording = read_recording(cut)
        assert not recording.complete
        assert len(recording.records) == min(5, (size - start) // row)
    for size in (*range(20), *range(20, start, 97), start - 5, start - 1):
        cut.write_bytes(data[:size])
        with pytest.raises(DamagedRecording):
            read_recording(cut)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_changed_bit_is_refused_or_costs_only_the_end_mark(tmp_path_factory, place: int, bit: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.erlrec"
    data = bytearray(whole.read_bytes() if whole.exists() else write(whole))
    place %= len(data)
    data[place] ^= 1 << bit
    (folder / "changed.erlrec").write_bytes(data)
    try:
        recording = read_recording(folder / "changed.erlrec")
    except EdgerlError:
        return
    assert place >= len(data) - 20
    assert not recording.complete
    assert recording.records["tick"].tolist() == [0, 1, 2, 3, 4]


@given(st.binary(max_size=400))
def test_noise_after_the_magic_never_reads_as_a_recording(tmp_path_factory, noise: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.erlrec"
    path.write_bytes(b"ERLREC01" + noise)
    with pytest.raises(DamagedRecording):
        read_recording(path)


def test_ticks_that_the_ring_overwrote_are_counted_as_lost(tmp_path: Path) -> None:
    write(tmp_path / "run", [0, 1, 5, 6])
    assert read_recording(tmp_path / "run").lost == 3


def test_ticks_that_go_back_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "run", [0, 2, 1])
    with pytest.raises(DamagedRecording, match="advance"):
        read_recording(tmp_path / "run")


def test_another_file_a_newer_one_and_a_missing_one_say_so(tmp_path: Path) -> None:
    (tmp_path / "zip").write_bytes(b"PK\3\4" + bytes(50))
    (tmp_path / "new").write_bytes(b"ERLREC02" + bytes(50))
    with pytest.raises(DamagedRecording, match="begins with"):
        read_recording(tmp_path / "zip")
    with pytest.raises(SchemaTooNew, match="schema 2"):
        read_recording(tmp_path / "new")
    with pytest.raises(DamagedRecording, match="cannot be read"):
        read_recording(tmp_path / "none")


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "run")
    with pytest.raises(OutputError, match="exists already"):
        RecordingWriter(tmp_path / "run", HEADER)
    with pytest.raises(OutputError, match="cannot be written"):
        RecordingWriter(tmp_path / "no" / "run", HEADER)


def test_a_full_disk_is_one_error_of_ours_and_leaves_what_was_recorded(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "run.erlrec"
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))  # past it, writing fails as on a full disk
    try:
        writer = RecordingWriter(path, HEADER)
        with pytest.raises(OutputError, match=r"run\.erlrec cannot be written .*what was recorded so far is kept"):
            for tick in range(10_000):
                writer.append(record(tick))
        with pytest.raises(OutputError, match="its last records may be missing"):
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    recording = read_recording(path)
    assert not recording.complete
    assert recording.records["tick"].tolist() == list(range(len(recording.records)))
    assert len(recording.records) > 500
