"""Reads a whole file into memory, up to a limit; what is in it is parsed from the bytes."""

from __future__ import annotations

import io
from pathlib import Path

from edgerl.errors import CheckpointTooLarge, UnreadableFile
from edgerl.untrusted.limits import Limits


def read_file(path: Path | str, limits: Limits | None = None) -> bytes:
    """Return the bytes of a file, within the limits.

    Raises:
        UnreadableFile: It is not there, is no file, or may not be read.
        CheckpointTooLarge: Larger than ``limits.file_bytes``.
    """
    limit = (limits or Limits()).file_bytes
    try:
        with Path(path).open("rb") as file:
            data = file.read(limit + 1)
            size = file.seek(0, io.SEEK_END)
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error
    if len(data) > limit:
        raise CheckpointTooLarge(path, "size of the file in bytes", size, limit)
    return data
