"""Makes the control socket of a run: its folder, its rights, and no second run of the same name.

A socket whose run is dead is replaced, one whose run lives is never touched. Between looking and replacing nobody else
may do the same, so the folder is locked meanwhile. The rights are there before anybody can connect.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgerl.errors import ControlError
from edgerl.runtime.control.places import SUFFIX, check_length, dial, folders, name_of

BACKLOG = 16
_LOCK_S = 2.0
"""A folder that many can read can be locked by any of them, without end."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_REMEDY = "End that run with edgerl stop, or give this one another --name."
_MODE, _GROUP_MODE = 0o600, 0o660
_FOLDER_MODE, _GROUP_FOLDER_MODE = 0o700, 0o750


@dataclass(frozen=True)
class ControlOptions:
    """How a run can be reached from outside."""

    name: str = "run"
    """What ``--name`` of the clients says."""
    exact: bool = False
    """Whether a live run of that name is an error; otherwise a number is appended."""
    path: str | None = None
    """The socket's own path, in place of one made of folder and name."""
    group: str | None = None
    """Group whose members may use the socket, too."""


class Listener:
    """A listening control socket with its rights; :meth:`close` takes it away.

    Args:
        options: Where, and for whom.
        suffix: What the socket's name ends in, where it lies in a folder of ours.
        remedy: What to do where somebody has the name.

    Raises:
        ControlError: No folder can be had, a live run has the name, or the group is not known.
    """

    def __init__(self, options: ControlOptions, *, suffix: str = SUFFIX, remedy: str = _REMEDY) -> None:
        self._suffix, self._remedy = suffix, remedy
        self._group = _group_id(options.group)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            if options.path is not None:
                self._bind_there(str(Path(options.path).absolute()))
            else:
                self._bind_in_a_folder(options)
        except BaseException:
            self.socket.close()
            raise
        self.name = name_of(self.path)
        self._inode = Path(self.path).lstat().st_ino

    def close(self) -> None:
        """Stop listening, and remove the socket where it is still ours."""
        with contextlib.suppress(OSError), _locked(Path(self.path).parent):
            if Path(self.path).lstat().st_ino == self._inode:
                Path(self.path).unlink()
        self.socket.close()

    def _bind_there(self, path: str) -> None:
        check_length(path)
        try:
            self._bind_first([path])
        except OSError as error:
            raise ControlError(
                f"{path}: no control socket can be made ({error.strerror or error}). Choose another --control."
            ) from error

    def _bind_in_a_folder(self, options: ControlOptions) -> None:
        name = _checked(options.name)
        names = [name] if options.exact else [name, *(f"{name}-{number}" for number in range(2, 100))]
        refusals = []
        for folder in folders():
            refusal = self._try_folder(Path(folder), [f"{folder}/{one}{self._suffix}" for one in names])
            if refusal is None:
                return
            refusals.append(f"{folder} ({refusal.strerror or refusal})")
        raise ControlError(
            f"No folder for the control socket can be had: {'; '.join(refusals)}. Name a path for it with --control."
        )

    def _try_folder(self, folder: Path, paths: list[str]) -> OSError | None:
        try:
            self._make_folder(folder)
            self._bind_first(paths)
        except OSError as error:
            return error
        return None

    def _make_folder(self, folder: Path) -> None:
        """A folder that others may write to is none: they could put a socket of their own in the place of this one."""
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=_FOLDER_MODE)
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode):
            raise NotADirectoryError(None, "it is no folder")
        if about.st_uid != os.geteuid() or about.st_mode & 0o022:
            raise PermissionError(None, "others than this user may write to it")
        if self._group is None or about.st_mode & 0o005 == 0o005:
            return
        if about.st_mode & 0o050 and about.st_gid != self._group:
            raise PermissionError(None, f"it is open to group {about.st_gid}, of another run")
        os.chown(folder, -1, self._group)
        folder.chmod(_GROUP_FOLDER_MODE)

    def _bind_first(self, paths: list[str]) -> None:
        with _locked(Path(paths[0]).parent):
            self.path = next(itertools.dropwhile(_is_live, paths), "")
            if not self.path:
                raise ControlError(f"Somebody listens at {paths[0]} already. {self._remedy}")
            check_length(self.path)
            self._bind()

    def _bind(self) -> None:
        path = Path(self.path)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise FileExistsError(None, "a file is there that is no socket")
            path.unlink()  # its run is dead
        # Linux gives the file the rights that the unbound socket has: there is no moment in which it has others.
        os.fchmod(self.socket.fileno(), _MODE)
        self.socket.bind(self.path)
        if self._group is not None:
            os.chown(self.path, -1, self._group)
            path.chmod(_GROUP_MODE)
        self.socket.listen(BACKLOG)
        self.socket.setblocking(False)  # noqa: FBT003


def _checked(name: str) -> str:
    """Return a run's name.

    Raises:
        ControlError: It could not be a file's.
    """
    if not _NAME.fullmatch(name):
        raise ControlError(
            f"{name!r} is not a name for a run. Valid: 1 to 63 letters, digits, dots, dashes and underscores, with a "
            "letter or digit first."
        )
    return name


def _is_live(path: str) -> bool:
    try:
        connected = dial(path)
    except OSError:  # somebody is there, whether or not for us
        return True
    if connected is None:
        return False
    connected.close()
    return True


def _group_id(name: str | None) -> int | None:
    import grp  # noqa: PLC0415  not on every system

    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ControlError(f"There is no group '{name}' on this machine. Make it, or name one that is there.") from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    import fcntl  # noqa: PLC0415  not on every system

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
