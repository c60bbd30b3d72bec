"""Zip archives from anybody: read in memory, within limits, or refused with one message."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import CheckpointTooLarge, DamagedCheckpoint, EdgerlError, UnreadableFile
from edgerl.untrusted.file import read_file
from edgerl.untrusted.limits import Limits
from edgerl.untrusted.zip_reader import ZipReader


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return stream.getvalue()


WHOLE = archive({"a": b"first", "b/c": b"second" * 100}, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_by_name(method):
    reader = ZipReader(archive({"a": b"first", "../b": b"second"}, method), "x.zip")
    assert reader.names == ("a", "../b")
    assert reader.read("a") == b"first"
    assert reader.read("../b") == b"second"
    assert "c" not in reader
    with pytest.raises(DamagedCheckpoint, match="no member 'c'"):
        reader.read("c")


def test_large_archive_format_is_read():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file, file.open("a", "w", force_zip64=True) as member:
        member.write(b"data")
    assert ZipReader(stream.getvalue(), "x.zip").read("a") == b"data"


def test_the_same_name_twice_is_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a", b"2")
    with pytest.raises(DamagedCheckpoint, match="'a' is there twice"):
        ZipReader(stream.getvalue(), "x.zip")


def test_an_encrypted_member_is_refused():
    data = bytearray(archive({"a": b"secret"}))
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1
    with pytest.raises(DamagedCheckpoint, match="'a' is encrypted"):
        ZipReader(bytes(data), "x.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_packing_are_refused(method):
    with pytest.raises(DamagedCheckpoint, match="packed with method"):
        ZipReader(archive({"a": b"x" * 100}, method), "x.zip")


def test_a_small_archive_cannot_unpack_to_more_than_the_memory_that_any_may_have():
    bomb = archive({"m": bytes(33 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointTooLarge, match=r"all members in bytes is 34,603,008, the limit is 33,554,432"):
        ZipReader(bomb, "x.zip")
    assert ZipReader(bomb, "x.zip", Limits(compression_ratio=1_100)).names == ("m",)


def test_a_zip_bomb_is_refused_before_it_is_unpacked():
    bomb = archive({f"m{index}": bytes(1_000_000) for index in range(5)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10_000
    with pytest.raises(CheckpointTooLarge, match="size of 'm0'"):
        ZipReader(bomb, "x.zip", Limits(member_bytes=999_999))
    with pytest.raises(CheckpointTooLarge, match="all members"):
        ZipReader(bomb, "x.zip", Limits(archive_bytes=4_999_999))
    assert len(ZipReader(bomb, "x.zip").names) == 5
    with pytest.raises(CheckpointTooLarge, match="number of members"):
        ZipReader(bomb, "x.zip", Limits(archive_members=4))


def test_a_large_directory_is_refused_before_it_is_read():
    many = archive({f"{index:0300}": b"" for index in range(20)})
    with pytest.raises(CheckpointTooLarge, match="size of the directory"):
        ZipReader(many, "x.zip", Limits(archive_members=10))


def test_a_directory_in_the_large_format_is_measured_too():
    data = archive({"a": b"data"})
    end = len(data) - 22
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    start = int.from_bytes(data[end + 16 : end + 20], "little")
    for claimed, error in ((size, None), (1 << 40, CheckpointTooLarge)):
        record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, claimed, start)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
        whole = data[:end] + record + locator + data[end:]
        if error is None:
            assert ZipReader(whole, "x.zip").read("a") == b"data"
        else:
            with pytest.raises(error, match="size of the directory"):
                ZipReader(whole, "x.zip")
    with pytest.raises(DamagedCheckpoint, match="does not end with its directory"):
        ZipReader(data[:end] + b"x" * 56 + locator + data[end:], "x.zip")


def test_an_archive_with_something_behind_it_is_refused():
    for tail in (b"x", b"x" * 22):
        with pytest.raises(DamagedCheckpoint, match="does not end with its directory"):
            ZipReader(WHOLE + tail, "x.zip")


def test_a_member_that_is_larger_than_it_claims_is_refused():
    data = bytearray(archive({"a": b"x" * 1000}, zipfile.ZIP_DEFLATED))
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, 10)
    with pytest.raises(DamagedCheckpoint):
        ZipReader(bytes(data), "x.zip").read("a")


def test_a_changed_byte_is_found_by_the_checksum():
    data = bytearray(archive({"a": b"x" * 100}))
    data[40] ^= 1
    with pytest.raises(DamagedCheckpoint, match="'a' is damaged"):
        ZipReader(bytes(data), "x.zip").read("a")


def test_every_truncation_is_refused_with_one_message():
    for length in range(len(WHOLE)):
        with pytest.raises(DamagedCheckpoint, match=r"^x\.zip: "):
            ZipReader(WHOLE[:length], "x.zip")


def test_an_archive_cut_off_after_an_archive_in_it_is_not_taken_for_that_one():
    outer = archive({"inner.zip": archive({"a": b"inner"}), "b": bytes(100)})
    for length in range(len(outer)):
        with pytest.raises(DamagedCheckpoint, match="not a complete zip archive"):
            ZipReader(outer[:length], "x.zip")


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_mutated_archives_raise_nothing_but_our_errors(changes):
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    try:
        reader = ZipReader(bytes(data), "x.zip")
        for name in reader.names:
            reader.read(name)
    except EdgerlError as error:
        assert str(error).startswith("x.zip: ")


def test_files_that_cannot_be_opened_say_why(tmp_path):
    with pytest.raises(UnreadableFile, match="No such file"):
        read_file(tmp_path / "nothing")
    with pytest.raises(UnreadableFile, match="directory"):
        read_file(tmp_path)


def test_a_file_past_the_limit_is_refused(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(bytes(1001))
    with pytest.raises(CheckpointTooLarge, match="is 1,001, the limit is 1,000"):
        read_file(path, Limits(file_bytes=1000))
