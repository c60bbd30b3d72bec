"""Where the control sockets of runs lie, and which of them are alive.

One socket per run, ``FOLDER/NAME.sock``. A run makes it in the first folder that it can have; a client looks into all
of them. The kernel says who lives: a socket that nobody listens on any more refuses every connection. The e-stop comes
through here, so this module imports little.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgerl.errors import ControlError, NoRight, NoSuchRun

SUFFIX = ".sock"
MAX_PATH_BYTES = 107
"""Of ``sockaddr_un`` in Linux, less the zero at its end."""
PATIENCE_S = 2.0
"""A run that is alive answers within milliseconds."""


class Connection:
    """A connected control socket and the name of its run."""

    def __init__(self, name: str, path: str, connected: socket.socket) -> None:
        self.name = name
        self.path = path
        self.socket = connected


def folders(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return where control sockets may lie, the first choice first."""
    environ = os.environ if environ is None else environ
    found = [one for one in environ.get("RUNTIME_DIRECTORY", "").split(":") if one]  # systemd's RuntimeDirectory=
    own = environ.get("XDG_RUNTIME_DIR")
    shared = ["/run/edgerl"]
    personal = [f"{own}/edgerl"] if own else []
    found += shared + personal if os.geteuid() == 0 else personal + shared
    found.append(f"{environ.get('TMPDIR') or '/tmp'}/edgerl-{os.geteuid()}")  # noqa: S108  judged before it is used
    return tuple(dict.fromkeys(found))


def check_length(path: str) -> None:
    """Refuse a path that no socket can have.

    Raises:
        ControlError: It is too long.
    """
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ControlError(
            f"{path}: a socket's path has at most {MAX_PATH_BYTES} bytes. Choose a shorter one with --control."
        )


def dial(path: str) -> socket.socket | None:
    """Return a connection to the run that listens at ``path``; None where nobody does.

    Raises:
        PermissionError: Somebody may, but not for us.
        OSError: It is alive, but does not take connections.
    """
    dialled = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        dialled.settimeout(PATIENCE_S)
        dialled.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        dialled.close()
        return None
    except OSError as error:
        dialled.close()
        if error.errno in (errno.EPROTOTYPE, errno.ENOTSOCK):  # a socket of another kind, or none: not a run's
            return None
        raise
    return dialled


def reach(name: str | None = None, *, control: str | None = None) -> Connection:
    """Connect to a live run.

    Args:
        name: Its name; None where only one is alive.
        control: Path of its socket, where it was started with one.

    Raises:
        NoSuchRun: None is alive, none of this name, or several and no name was said.
        NoRight: This user may not use its socket.
    """
    if control is not None:
        connected = _dial(control)
        if connected is None:
            raise NoSuchRun(f"No run listens at {control}.")
        return Connection(name_of(control), control, connected)
    found = reach_all(name)
    if len(found) == 1:
        return found[0]
    for one in found:
        one.socket.close()
    if found:
        names = ", ".join(f"{one.name} ({one.path})" for one in found)
        raise NoSuchRun(f"{len(found)} runs are alive: {names}. Say which with --name, or --control PATH.")
    which = "No run is alive" if name is None else f"No run of the name '{name}' is alive"
    others = ", ".join(live_names()) if name is not None else ""
    raise NoSuchRun(
        f"{which}{'; these are: ' + others if others else ''}. A run listens in one of {', '.join(folders())}; "
        "edgerl run says where."
    )


def reach_all(name: str | None = None) -> list[Connection]:
    """Connect to every live run, or to those of one name.

    Raises:
        NoRight: There are none, but sockets or folders that this user may not use.
    """
    found: list[Connection] = []
    denied: list[str] = []
    for path in _candidates(denied):
        if name is not None and name_of(path) != name:
            continue
        try:
            connected = dial(path)
        except PermissionError:
            denied.append(path)
        except OSError:  # alive, and so busy that it takes nobody: there is nothing to say to it
            continue
        else:
            if connected is not None:
                found.append(Connection(name_of(path), path, connected))
    if denied and not found:
        raise NoRight(denied[0])
    return found


def live_names() -> tuple[str, ...]:
    """Return the names of the runs that this user can reach."""
    try:
        found = reach_all()
    except NoRight:
        return ()
    for one in found:
        one.socket.close()
    return tuple(one.name for one in found)


def name_of(path: str) -> str:
    """Return the name of the run whose socket lies at ``path``."""
    return path.rpartition("/")[2].removesuffix(SUFFIX)


def _candidates(denied: list[str]) -> Iterator[str]:
    for folder in folders():
        try:
            paths = [str(path) for path in sorted(Path(folder).iterdir(), key=lambda path: path.stem)]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            denied.append(folder)
            continue
        yield from (path for path in paths if path.endswith(SUFFIX))


def _dial(path: str) -> socket.socket | None:
    check_length(path)
    try:
        return dial(path)
    except PermissionError as error:
        raise NoRight(path) from error
    except OSError as error:
        raise NoSuchRun(f"The run at {path} does not answer ({error.strerror or error}).") from error
