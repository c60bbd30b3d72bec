"""Writing results so that a reader never sees half of one, not even after a power cut.

Everything is staged beside its destination, flushed to the disk, and only then moved into place by one rename; the
folder is flushed last. When anything fails, what was there before is still there and nothing staged is left behind.
Does not lock: of two writers to one path the last one wins, whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from edgerl.errors import OutputError


def write_file(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path``, replacing what was there, or leave everything as it was.

    A symbolic link at ``path`` is replaced, not followed.

    Raises:
        OutputError: The folder is missing, the place is taken by something that is no file, or writing failed.
    """
    write_files({Path(path): data})


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write several files that belong together: all are staged and flushed before the first one is moved into place.

    Args:
        contents: Bytes by path. Only a failing rename, after everything is on the disk, can leave some of them new.

    Raises:
        OutputError: As :func:`write_file`; nothing staged is left behind.
    """
    for path in contents:
        check_place(path)
    staged: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            staged[path] = _part_name(path)
            with _writing(path):
                _write_flushed(staged[path], data)
        for path, part in staged.items():
            with _writing(path):
                part.replace(path)
        for folder in {path.parent for path in contents}:
            sync_folder(folder)
    finally:
        for part in staged.values():
            part.unlink(missing_ok=True)


@contextmanager
def fresh_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes ``path`` when the block ends well and vanishes when it does not.

    Every file and folder in it is flushed before the rename.

    Raises:
        OutputError: ``path`` exists already, its parent does not, or writing failed.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise OutputError(f"{path}: already exists. Expected a name that is free; choose another or remove this one.")
    check_place(path)
    part = _part_name(path)
    with _writing(path):
        part.mkdir()
    try:
        with _writing(path):
            yield part
            _sync_tree(part)
            # A rename onto an empty folder succeeds, onto anything else it fails: nobody's files are lost to a race.
            part.rename(path)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Flush the entries of a folder, so that a rename in it survives a power cut.

    File systems and platforms that cannot flush a folder are left alone.
    """
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_flushed(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            descriptor = os.open(Path(folder) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(folder))


def _part_name(path: Path) -> Path:
    return path.with_name(f".{path.name[:64]}.{secrets.token_hex(6)}.part")


def check_place(path: Path) -> None:
    """Refuse a missing folder and anything but a regular file: replacing /dev/null would break the machine.

    Raises:
        OutputError: No file can be written there.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist. Make it first, or choose another place.")
    with suppress(FileNotFoundError):
        if not (stat.S_ISREG(mode := path.lstat().st_mode) or stat.S_ISLNK(mode)):
            raise OutputError(f"{path}: is there already and is no regular file. Choose the name of a file.")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: could not be written ({reason}). Expected a writable folder with room.") from error
