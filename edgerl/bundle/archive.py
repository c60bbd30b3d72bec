"""The bundle's container: a zip file with exactly one form per content.

Members are stored, in a fixed order, with fixed times and rights and nothing optional, so the same members always
give the same bytes, on every machine. Reading turns that around: from the names, sizes and checksums that the file
claims, the one valid file is computed again, and every byte that is not a member's own content must be equal to it.
What zip allows besides (compression, links, comments, extra fields, data before, between and after) is refused without
a rule of its own, and a member can be no larger than the file. Why a zip: docs/decisions/0005-bundle-archive.md.

This module knows names and bytes. What a manifest is and what its digests say is in :mod:`edgerl.bundle.manifest`.

Reference: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end of directory).
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from edgerl.errors import BundleError, DamagedBundle, UnreadableFile, UnsafePath
from edgerl.files import fresh_folder

MAX_BYTES = 1 << 30
"""Of the whole file; policies are below 100 MB, and it is read into memory before anything is believed."""
MAX_MEMBERS = 1000
MAX_NAME = 200
"""Characters of a member's path; leaves room for a folder's name below the 255 that file systems take."""
MAX_DEPTH = 6

_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC, _ENTRY_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_READER_VERSION = 10
"""1.0: stored members and nothing else."""
_WRITER_VERSION = 3 << 8 | _READER_VERSION
"""3: the rights below are Unix's."""
_RIGHTS = (stat.S_IFREG | 0o644) << 16
_TIME, _DATE = 0, 1 << 5 | 1
"""1980-01-01 00:00, the earliest that the format can say: a bundle does not depend on when it was made."""

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
"""Names that are devices on Windows."""


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """Return the archive of members by path, in the order of their paths.

    Raises:
        BundleError: A path that no reader would accept, too many members, or too large.
    """
    problem = _name_problem(members)
    if problem is not None:
        raise BundleError(f"A bundle cannot hold {problem[0]!r}: {problem[1]}. Choose another file name.")
    ordered = sorted(members)
    size = sum(_LOCAL.size + _ENTRY.size + 2 * len(name) + len(members[name]) for name in ordered) + _END.size
    if size > MAX_BYTES or len(ordered) > MAX_MEMBERS:
        raise BundleError(
            f"The bundle would have {len(ordered):,} files and {size:,} bytes; the limits are {MAX_MEMBERS:,} and "
            f"{MAX_BYTES:,}. Leave something out."
        )
    claims = [(name, zlib.crc32(members[name]), len(members[name])) for name in ordered]
    parts: list[bytes] = []
    for claim in claims:
        parts += [_local_header(*claim), members[claim[0]]]
    return b"".join([*parts, _directory(claims)])


def read_archive(data: bytes, where: Path | str) -> dict[str, bytes]:
    """Return the members of an archive by path, in its order, every checksum verified.

    Args:
        data: The whole file.
        where: Names it in errors.

    Raises:
        DamagedBundle: Not byte for byte what :func:`write_archive` gives for these members.
        UnsafePath: A member's path could leave its folder, or be another one's on some file system.
    """
    claims, start = _claims(data, where)
    names = [name for name, _, _ in claims]
    problem = _name_problem(names)
    if problem is not None:
        raise UnsafePath(where, problem[0])
    if names != sorted(names):
        raise DamagedBundle(where, "its members are not in the order of edgerl pack, so another program changed it")
    members: dict[str, bytes] = {}
    position = 0
    for name, checksum, size in claims:
        header = _local_header(name, checksum, size)
        if data[position : position + len(header)] != header:
            raise DamagedBundle(where, f"the header of {name} at byte {position:,} is not the one that belongs there")
        position += len(header)
        if position + size > start:
            raise DamagedBundle(where, f"{name} is said to have {size:,} bytes, more than there are")
        members[name] = data[position : position + size]
        position += size
        if zlib.crc32(members[name]) != checksum:
            raise DamagedBundle(where, f"the content of {name} was changed")
    if data[start:] != _directory(claims):
        raise DamagedBundle(where, f"the directory at byte {start:,} is not the one that belongs there")
    return members


def read_bounded(path: Path | str) -> bytes:
    """Return the content of a regular file of at most :data:`MAX_BYTES`, read once.

    Raises:
        UnreadableFile: Missing, no regular file, or not allowed.
        DamagedBundle: Larger than any bundle.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableFile(path, "it is no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise UnreadableFile(path, getattr(error, "strerror", None) or str(error)) from error
    if len(data) > MAX_BYTES:
        raise DamagedBundle(path, f"it is larger than {MAX_BYTES:,} bytes")
    return data


def unpack(members: Mapping[str, bytes], folder: Path | str) -> None:
    """Write members below a new folder, which appears complete or not at all.

    Args:
        members: As :func:`read_archive` returned them.
        folder: Must not exist; its parent must.

    Raises:
        OutputError: The place is taken or cannot be written.
        UnsafePath: A path could leave the folder; nothing is written.
    """
    problem = _name_problem(members)
    if problem is not None:
        raise UnsafePath(folder, problem[0])
    with fresh_folder(folder) as root:
        for name, data in members.items():
            path = root.joinpath(*name.split("/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(data)


_Claim = tuple[str, int, int]
"""What a directory says of a member: path, CRC-32, size in bytes."""


def _claims(data: bytes, where: Path | str) -> tuple[list[_Claim], int]:
    """Return what the directory says and where it starts, without believing any of it."""
    if data[: len(_LOCAL_MAGIC)] != _LOCAL_MAGIC:
        raise DamagedBundle(where, "it does not begin as a bundle does")
    end = len(data) - _END.size
    if end < 0 or data[end : end + 4] != _END_MAGIC:
        raise DamagedBundle(where, "it is cut off, or something was added to its end")
    _, _, _, _, count, size, start, _ = _END.unpack_from(data, end)
    if not 1 <= count <= MAX_MEMBERS or start + size != end:
        raise DamagedBundle(
            where, f"its end speaks of {count:,} files and a directory of {size:,} bytes, which is wrong"
        )
    return list(_entries(data, start, end, count, where)), start


def _entries(data: bytes, position: int, end: int, count: int, where: Path | str) -> Iterator[_Claim]:
    for _ in range(count):
        if position + _ENTRY.size > end:
            raise DamagedBundle(where, "its directory is cut off")
        (magic, _, _, _, method, _, _, checksum, packed, size, length, _, _, _, _, rights, _) = _ENTRY.unpack_from(
            data, position
        )
        name = data[position + _ENTRY.size : position + _ENTRY.size + length]
        if magic != _ENTRY_MAGIC:
            raise DamagedBundle(where, f"its directory is damaged at byte {position:,}")
        text = name.decode("latin-1")
        if stat.S_IFMT(rights >> 16) not in (0, stat.S_IFREG):
            raise UnsafePath(where, f"{text} (a link or a folder)")
        if method or packed != size:
            raise DamagedBundle(where, f"{text!r} is compressed, which no bundle is")
        yield text, checksum, size
        position += _ENTRY.size + length


def _name_problem(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first path that is not plain on every file system, and why."""
    files: set[str] = set()
    folders: set[str] = set()
    for name in names:
        segments = name.split("/")
        if len(name) > MAX_NAME or len(segments) > MAX_DEPTH:
            return name, f"its path is longer than {MAX_NAME} characters or {MAX_DEPTH} levels"
        for segment in segments:
            if not _SEGMENT.fullmatch(segment) or segment.endswith(".") or _RESERVED.fullmatch(segment):
                return name, f"{segment!r} is no plain file name of letters, digits, '.', '_' and '-'"
        # Some file systems ignore case, so paths that differ in it only would be one file there.
        folded = name.lower()
        above = {folded[: at.start()] for at in re.finditer("/", folded)}
        if folded in files or folded in folders or above & files:
            return name, "another file has the same path, or is its folder"
        files.add(folded)
        folders |= above
    return None


def _local_header(name: str, checksum: int, size: int) -> bytes:
    encoded = name.encode("ascii")
    fields = (_READER_VERSION, 0, 0, _TIME, _DATE, checksum, size, size, len(encoded), 0)
    return _LOCAL.pack(_LOCAL_MAGIC, *fields) + encoded


def _directory(claims: Iterable[_Claim]) -> bytes:
    """Return the directory and its end for members in this order, the first at byte 0."""
    parts: list[bytes] = []
    offset = 0
    for name, checksum, size in claims:
        encoded = name.encode("ascii")
        fields = (_WRITER_VERSION, _READER_VERSION, 0, 0, _TIME, _DATE, checksum, size, size, len(encoded), 0, 0, 0, 0)
        parts.append(_ENTRY.pack(_ENTRY_MAGIC, *fields, _RIGHTS, offset) + encoded)
        offset += _LOCAL.size + len(encoded) + size
    entries = b"".join(parts)
    return entries + _END.pack(_END_MAGIC, 0, 0, len(parts), len(parts), len(entries), offset, 0)
