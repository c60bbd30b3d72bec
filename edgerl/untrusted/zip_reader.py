"""Reads zip archives that nobody has vouched for, in memory only.

Names of members are labels, never paths. Duplicate names, encryption and methods other than stored and deflate are
refused; sizes and ratios are checked before anything is unpacked, and what a member claims is held against what comes
out. Does not write, and does not trust the order of members.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from edgerl.errors import CheckpointTooLarge, DamagedCheckpoint
from edgerl.untrusted.limits import FREE_UNPACKED, Limits

_ENCRYPTED = 0x1
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OSError, OverflowError, RuntimeError)
"""What :mod:`zipfile` raises on damage; offsets and names that make no sense surface as the last four."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTRY_BYTES = 256
"""Of the directory for each member; 46 and the name, its time stamps and its sizes past 4 GiB."""


def is_zip(data: bytes) -> bool:
    """Tell whether bytes begin like a zip archive."""
    return data[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def _directory_size(data: bytes) -> int | None:
    """Return the size of an archive's directory in bytes, before :mod:`zipfile` makes objects of it.

    The end record must be the last thing in the file, without a comment: only then is it beyond doubt which one counts.
    Reference: APPNOTE.TXT 6.3.10, sections 4.3.14 to 4.3.16.
    """
    end = data[-22:]
    if len(end) < 22 or end[:4] != b"PK\x05\x06" or end[-2:] != b"\0\0":
        return None
    if data[-42:-38] != b"PK\x06\x07":
        return int.from_bytes(end[12:16], "little")
    large = data[-98:-42]
    return int.from_bytes(large[40:48], "little") if large[:4] == b"PK\x06\x06" else None


class ZipReader:
    """The members of one archive.

    Args:
        data: The archive.
        where: Names it in errors.
        limits: What is accepted.

    Raises:
        DamagedCheckpoint: Not a complete zip archive, or one with duplicate, encrypted or oddly packed members.
        CheckpointTooLarge: Past a limit on members, sizes or ratio.
    """

    def __init__(self, data: bytes, where: str, limits: Limits | None = None) -> None:
        self.where = where
        self.limits = limits or Limits()
        size = _directory_size(data)
        if size is None:
            raise DamagedCheckpoint(where, "not a complete zip archive (it does not end with its directory)")
        self._limit("size of the directory in bytes", size, self.limits.archive_members * _ENTRY_BYTES)
        with self._guarded("not a complete zip archive"):
            self._file = zipfile.ZipFile(io.BytesIO(data))
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in self._file.infolist():
            self._check(info)
            if info.filename in self._members:
                raise DamagedCheckpoint(where, f"member {info.filename!r} is there twice")
            self._members[info.filename] = info
        if self._members and min(info.header_offset for info in self._members.values()) != 0:
            # zipfile finds the last directory in a file: cut off, an archive of archives ends in that of a member.
            raise DamagedCheckpoint(where, "not a complete zip archive (it ends in another archive's directory)")
        total = sum(info.file_size for info in self._members.values())
        self._limit("number of members", len(self._members), self.limits.archive_members)
        most = max(FREE_UNPACKED, self.limits.compression_ratio * len(data))
        self._limit("unpacked size of all members in bytes", total, min(most, self.limits.archive_bytes))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in the order of the directory."""
        return tuple(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """Return what a member holds; its size and checksum are as the archive says.

        Raises:
            DamagedCheckpoint: There is no such member, or it is damaged.
        """
        info = self._members.get(name)
        if info is None:
            raise DamagedCheckpoint(self.where, f"it has no member {name!r}")
        with self._guarded(f"member {name!r} is damaged"), self._file.open(info) as member:
            data = member.read(info.file_size + 1)
        if len(data) != info.file_size:
            raise DamagedCheckpoint(self.where, f"member {name!r} has {len(data)} bytes, not {info.file_size}")
        return data

    def _check(self, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & _ENCRYPTED:
            raise DamagedCheckpoint(self.where, f"member {info.filename!r} is encrypted")
        if info.compress_type not in _METHODS:
            raise DamagedCheckpoint(self.where, f"member {info.filename!r} is packed with method {info.compress_type}")
        self._limit(f"size of {info.filename!r} in bytes", info.file_size, self.limits.member_bytes)

    def _limit(self, what: str, value: int, limit: int) -> None:
        if value > limit:
            raise CheckpointTooLarge(self.where, what, value, limit)

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except _ZIP_ERRORS as error:
            raise DamagedCheckpoint(self.where, f"{what} ({error})") from error
