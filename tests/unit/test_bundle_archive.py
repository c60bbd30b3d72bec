from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgerl.bundle.archive import MAX_MEMBERS, read_archive, read_bounded, unpack, write_archive
from edgerl.errors import BundleError, DamagedBundle, EdgerlError, OutputError, UnreadableFile, UnsafePath

MEMBERS = {"engines/a/model.onnx": b"model" * 20, "golden.npz": b"", "manifest.json": b'{"schema":1}'}
GOOD = write_archive(MEMBERS)
WHERE = "cheetah.edgerl"


def zip_of(*entries: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """What another zip writer makes of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def test_members_read_back_in_the_order_of_their_paths() -> None:
    assert list(read_archive(GOOD, WHERE).items()) == sorted(MEMBERS.items())


def test_any_zip_reader_can_open_it() -> None:
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == MEMBERS
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {stat.S_IFREG | 0o644}


def test_the_bytes_do_not_depend_on_order_or_process() -> None:
    assert write_archive(dict(reversed(MEMBERS.items()))) == GOOD
    code = (
        "import hashlib; from edgerl.bundle.archive import write_archive; "
        f"print(hashlib.sha256(write_archive({MEMBERS!r})).hexdigest())"
    )
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Pacific/Auckland"}
        root = Path(__file__).parents[2]
        answer = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, check=True
        )
        assert answer.stdout.decode().strip() == hashlib.sha256(GOOD).hexdigest()


@pytest.mark.parametrize("bit", [0x01, 0x80, 0xFF])
def test_a_changed_byte_anywhere_is_refused(bit: int) -> None:
    for position in range(len(GOOD)):
        damaged = bytearray(GOOD)
        damaged[position] ^= bit
        with pytest.raises((DamagedBundle, UnsafePath)) as caught:
            read_archive(bytes(damaged), WHERE)
        assert caught.value.exit_code == 3
        assert str(caught.value).startswith(WHERE)


def test_every_truncation_is_refused() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(DamagedBundle):
            read_archive(GOOD[:length], WHERE)


@pytest.mark.parametrize("extra", [b"\x00", b"#!/bin/sh\n", GOOD])
def test_data_before_or_after_the_archive_is_refused(extra: bytes) -> None:
    with pytest.raises(DamagedBundle):
        read_archive(extra + GOOD, WHERE)
    with pytest.raises(DamagedBundle):
        read_archive(GOOD + extra, WHERE)


@given(st.binary(max_size=40), st.integers(0, len(GOOD)), st.integers(0, 60))
def test_no_edit_makes_another_valid_archive_of_the_same_members(noise: bytes, start: int, length: int) -> None:
    edited = GOOD[:start] + noise + GOOD[start + length :]
    assume(edited != GOOD)
    with pytest.raises((DamagedBundle, UnsafePath)):
        read_archive(edited, WHERE)


@given(st.binary(max_size=300), st.integers(0, 4), st.integers(0, 400), st.integers(0, 400))
def test_noise_between_valid_records_raises_nothing_else(noise: bytes, count: int, size: int, start: int) -> None:
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, size, start, 0)
    try:
        members = read_archive(b"PK\x03\x04" + noise + end, WHERE)
    except EdgerlError as error:
        assert error.exit_code == 3
    else:
        assert write_archive(members) == b"PK\x03\x04" + noise + end


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}[a-z0-9](/[a-z0-9][a-z0-9_-]{0,8}){0,3}", fullmatch=True),
        st.binary(max_size=50),
        min_size=1,
        max_size=5,
    )
)
def test_what_can_be_written_reads_back(members: dict[str, bytes]) -> None:
    try:
        data = write_archive(members)
    except BundleError:
        assume(False)
    assert read_archive(data, WHERE) == members


UNSAFE = [
    "../evil", "a/../../evil", "/etc/passwd", "a//b", "./a", "a/.", "a/", "", ".hidden", "a\\b", "..\\evil", "C:/evil",
    "C:evil", "a\x00b", "a b", "a\nb", "con", "COM1.txt", "aux", "a.", "naïve", "e\u0301", "a/b/c/d/e/f/g", "x" * 201,
]  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE)
def test_a_path_that_is_not_plain_is_neither_written_nor_read(name: str) -> None:
    with pytest.raises(BundleError):
        write_archive({name: b"x"})
    # The same file with another name of equal length in both places where a zip says it.
    raw = name.encode()
    data = write_archive({"x" * min(len(raw), 200): b"x"}) if raw else zip_of((zipfile.ZipInfo(""), b"x"))
    if 0 < len(raw) <= 200:
        data = data.replace(b"x" * len(raw), raw, 1)
        at = data.rindex(b"x" * len(raw) + b"PK\x05\x06")
        data = data[:at] + raw + data[at + len(raw) :]
        with pytest.raises(UnsafePath, match=r"is not a plain relative path. Nothing was unpacked"):
            read_archive(data, WHERE)
    with pytest.raises((UnsafePath, DamagedBundle)):
        read_archive(data if len(raw) <= 200 else zip_of((name, b"x")), WHERE)


@pytest.mark.parametrize("other", ["a/b", "A/b", "a/B", "a", "a/b/c"])
def test_two_members_never_share_a_path_on_any_file_system(other: str) -> None:
    with pytest.raises(UnsafePath):
        read_archive(_forge([("a/b", b"1"), (other, b"2")]), WHERE)


def test_a_symbolic_link_is_refused() -> None:
    link = zipfile.ZipInfo("manifest.json")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(UnsafePath, match=r"manifest.json \(a link or a folder\)"):
        read_archive(zip_of((link, b"/etc/passwd")), WHERE)


def test_a_zip_bomb_is_refused_without_unpacking_a_byte() -> None:
    bomb = zip_of(("manifest.json", bytes(50_000_000)), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(DamagedBundle, match=r"'manifest.json' is compressed, which no bundle is"):
        read_archive(bomb, WHERE)


@pytest.mark.parametrize("data", [b"", b"{}", b"\x89PNG" + bytes(100), MEMBERS["engines/a/model.onnx"]])
def test_another_kind_of_file_is_refused_as_such(data: bytes) -> None:
    with pytest.raises(DamagedBundle, match=r"it does not begin as a bundle does"):
        read_archive(data, WHERE)


def test_a_gap_before_the_directory_is_refused_even_where_its_place_is_said_rightly() -> None:
    start = struct.unpack_from("<I", GOOD, len(GOOD) - 6)[0]
    data = bytearray(GOOD[:start] + b"hidden" + GOOD[start:])
    data[-6:-2] = struct.pack("<I", start + 6)
    with pytest.raises(DamagedBundle, match=r"the directory at byte .* is not the one that belongs there"):
        read_archive(bytes(data), WHERE)


def test_members_that_overlap_are_refused() -> None:
    data = bytearray(_forge([("a", b"x" * 100), ("b", b"y" * 100)]))
    start = struct.unpack_from("<I", data, len(data) - 6)[0]
    data[start + 47 + 42 : start + 47 + 46] = struct.pack("<I", 0)  # b's own header is said to be a's
    with pytest.raises(DamagedBundle):
        read_archive(bytes(data), WHERE)


def test_a_size_beyond_the_file_is_refused() -> None:
    data = bytearray(write_archive({"a": b"xy"}))
    start = struct.unpack_from("<I", data, len(data) - 6)[0]
    for at in (18, 22, start + 20, start + 24):
        data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    with pytest.raises(DamagedBundle, match=r"a is said to have 4,294,967,295 bytes"):
        read_archive(bytes(data), WHERE)


def test_the_same_members_from_another_zip_writer_are_refused() -> None:
    with pytest.raises(DamagedBundle, match=r"header of a at byte 0"):
        read_archive(zip_of(("a", b"1"), ("b", b"2")), WHERE)
    with pytest.raises(DamagedBundle, match=r"not in the order of edgerl pack"):
        read_archive(zip_of(("b", b"2"), ("a", b"1")), WHERE)


def test_too_many_members_are_refused() -> None:
    with pytest.raises(BundleError, match=r"1,001 files"):
        write_archive({f"f{index}": b"" for index in range(MAX_MEMBERS + 1)})
    with pytest.raises(DamagedBundle):
        read_archive(_forge([(f"f{index:04}", b"") for index in range(MAX_MEMBERS + 1)]), WHERE)


def test_unpacking_gives_the_members_and_nothing_else(tmp_path: Path) -> None:
    unpack(read_archive(GOOD, WHERE), tmp_path / "slot")
    found = {p.relative_to(tmp_path / "slot").as_posix(): p for p in (tmp_path / "slot").rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == MEMBERS
    assert [path.name for path in tmp_path.iterdir()] == ["slot"]


def test_nothing_is_left_when_unpacking_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slot").mkdir()
    with pytest.raises(OutputError):
        unpack(MEMBERS, tmp_path / "slot")
    with pytest.raises(UnsafePath):
        unpack({"good": b"", "../evil": b""}, tmp_path / "other")
    assert list(tmp_path.rglob("*")) == [tmp_path / "slot"]


def test_what_is_no_regular_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing", Path("/dev/zero"), Path("nul\0l")):
        with pytest.raises(UnreadableFile):
            read_bounded(path)


def test_a_file_larger_than_any_bundle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgerl.bundle.archive.MAX_BYTES", len(GOOD) - 1)
    (tmp_path / WHERE).write_bytes(GOOD)
    with pytest.raises(DamagedBundle, match=r"larger than"):
        read_bounded(tmp_path / WHERE)


def _forge(members: list[tuple[str, bytes]]) -> bytes:
    """Return members in the one valid form, but with paths that the writer refuses."""
    parts = [write_archive({"x" * len(name): data}) for name, data in members]
    local, directory, offset = b"", b"", 0
    for (name, data), part in zip(members, parts, strict=True):
        header = part[: 30 + len(name) + len(data)].replace(b"x" * len(name), name.encode(), 1)
        start = len(header)
        entry = bytearray(part[start : start + 46 + len(name)])
        entry[42:46] = struct.pack("<I", offset)
        entry[46:] = name.encode()
        local, directory, offset = local + header, directory + bytes(entry), offset + len(header)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, len(members), len(members), len(directory), offset, 0)
    return local + directory + end
