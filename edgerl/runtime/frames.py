"""Gives images to policies: what a camera's process, or a robot's driver, uses of the frame port.

```python
with FrameWriter({"observation.image": ((480, 640, 3), "uint8")}, "/run/robot/camera.sock") as frames:
    while True:
        image, taken_ns = camera.read()  # yours
        frames.write("observation.image", image, stamp_ns=taken_ns)
```

Whoever runs a policy names the socket: ``edgerl run --frames observation.image=shm:/run/robot/camera.sock``. A frame is
copied into the shared memory of every reader that is there; none of them is ever waited for, and none need be there.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgerl.errors import FrameError
from edgerl.runtime.frame_mailbox import FrameOutlet
from edgerl.runtime.frame_packets import (
    BadPacket,
    FrameHello,
    FrameRefused,
    FrameWelcome,
    Packet,
    decode,
    encode,
)
from edgerl.runtime.layout import FrameChannel
from edgerl.runtime.unix_port import receive_with
from edgerl.spec import Dtype

MAX_READERS = 16
"""Connections at a time; each may have every frame."""
MODE = 0o600
"""Rights to the socket: its owner's only."""
MAX_PATH_BYTES = 107
"""Of ``sockaddr_un`` in Linux, less the zero at its end."""
_DESCRIPTORS = 4
"""One is expected; further ones are taken to be closed."""
_PACKETS = 8
"""Of one connection that are answered at a time."""


class _Heard(Enum):
    NOTHING = auto()
    PACKET = auto()
    END = auto()


@dataclass(eq=False)
class _Reader:
    """A controller that is connected."""

    connection: socket.socket
    outlets: dict[str, FrameOutlet] = field(default_factory=dict)

    def close(self) -> None:
        for outlet in self.outlets.values():
            outlet.close()
        self.connection.close()


class FrameWriter:
    """Writes frames to every controller that asks for them.

    Args:
        frames: Shape and dtype of each frame, by the name of the policy's input.
        path: Where to listen; the socket is this user's only. A socket that nobody listens on any more is replaced.
        connected: Sockets to controllers that are connected already.

    Raises:
        FrameError: Somebody listens there, or no socket can be made.
    """

    def __init__(
        self,
        frames: Mapping[str, tuple[tuple[int, ...], Dtype]],
        path: str | Path | None = None,
        *,
        connected: Iterable[socket.socket] = (),
    ) -> None:
        self._channels = {name: FrameChannel(name, shape, dtype) for name, (shape, dtype) in frames.items()}
        self._readers: list[_Reader] = []
        self._listening = None if path is None else _listen(str(path))
        self._path = path
        for connection in connected:
            self._admit(connection)
        self.attend()

    @property
    def readers(self) -> int:
        """Controllers that are connected and get at least one frame."""
        return sum(bool(reader.outlets) for reader in self._readers)

    def write(
        self, name: str, image: NDArray[np.generic], *, stamp_ns: int | None = None, state_stamp_ns: int = 0
    ) -> int:
        """Hand a frame to every reader, and answer whoever has come or gone; returns how many readers it went to.

        Args:
            name: Of the frame.
            image: Of its shape and dtype; copied.
            stamp_ns: When it was taken, in ``time.monotonic_ns``: the middle of the exposure, where the camera says it.
                None: now, which makes old images look young where the camera buffers them.
            state_stamp_ns: The stamp of the robot's STATE that belongs to it, in the robot's own clock; 0: none does.
                A simulation in lockstep must say it, before it sends that STATE.

        Raises:
            FrameError: There is no such frame, or it has another shape or dtype.
        """
        channel = self._channels.get(name)
        if channel is None:
            raise FrameError(f"There is no frame {name!r} here. Frames: {', '.join(self._channels)}.")
        if image.shape != channel.shape or image.dtype != channel.dtype:
            raise FrameError(
                f"{name} is {image.dtype} of shape {image.shape} now; it was announced as {channel.dtype} of shape "
                f"{channel.shape}."
            )
        self.attend()
        content = np.ascontiguousarray(image)
        stamp_ns = time.monotonic_ns() if stamp_ns is None else stamp_ns
        reached = 0
        for reader in self._readers:
            outlet = reader.outlets.get(name)
            if outlet is None:
                continue
            if outlet.post(content, stamp_ns, state_stamp_ns):
                reached += 1
            else:  # the controller has another writer for it
                reader.outlets.pop(name).close()
        return reached

    def attend(self) -> None:
        """Answer whoever has come or gone. Called by :meth:`write`; call it where frames are seconds apart."""
        self._accept()
        for reader in tuple(self._readers):
            heard, left = _Heard.PACKET, _PACKETS
            while heard is _Heard.PACKET and left:
                heard, left = self._hear(reader), left - 1
            if heard is _Heard.END:
                self._readers.remove(reader)
                reader.close()

    def close(self) -> None:
        """End the frames of every reader, and take the socket away."""
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        if self._listening is not None:
            self._listening.close()
            self._listening = None
            if self._path is not None:
                Path(self._path).unlink(missing_ok=True)

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while self._listening is not None:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # nobody, or one who has gone again, or no descriptor is left in this process
                return
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        if len(self._readers) >= MAX_READERS:
            connection.close()
            return
        connection.setblocking(False)  # noqa: FBT003
        self._readers.append(_Reader(connection))

    def _hear(self, reader: _Reader) -> _Heard:
        """Answer one packet, where there is one."""
        try:
            data, fds = receive_with(reader.connection, _DESCRIPTORS)
        except BlockingIOError:
            return _Heard.NOTHING
        except OSError:
            return _Heard.END
        try:
            packet = decode(data)
            if not isinstance(packet, FrameHello):
                return _Heard.END
            reader.connection.send(encode(self._answer(reader, packet, fds)), socket.MSG_NOSIGNAL)
        except (BadPacket, OSError):
            return _Heard.END
        finally:
            for fd in fds:
                os.close(fd)
        return _Heard.PACKET

    def _answer(self, reader: _Reader, hello: FrameHello, fds: list[int]) -> Packet:
        wanted = hello.channel
        own = self._channels.get(wanted.name)
        if own is None:
            return FrameRefused(hello.epoch, f"no such frame here; there are {', '.join(self._channels)}")
        if own != wanted:
            return FrameRefused(hello.epoch, f"it is {own.dtype} of shape {own.shape} here")
        if len(fds) != 1:
            return FrameRefused(hello.epoch, f"{len(fds)} descriptors came with HELLO, expected 1")
        try:
            outlet = FrameOutlet(fds[0], own, hello.epoch)
        except FrameError as error:
            return FrameRefused(hello.epoch, str(error))
        before = reader.outlets.pop(wanted.name, None)
        if before is not None:
            before.close()
        reader.outlets[wanted.name] = outlet
        return FrameWelcome(hello.epoch)


def _listen(path: str) -> socket.socket:
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise FrameError(f"{path}: a socket's path has at most {MAX_PATH_BYTES} bytes. Choose a shorter one.")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _remove_dead(path)
        # Linux gives the file the rights that the unbound socket has: there is no moment in which it has others.
        os.fchmod(listening.fileno(), MODE)
        listening.bind(path)
        listening.listen(MAX_READERS)
        listening.setblocking(False)  # noqa: FBT003
    except OSError as error:
        listening.close()
        raise FrameError(
            f"{path}: no socket can be made there ({error.strerror or error}). Choose another path."
        ) from error
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_dead(path: str) -> None:
    place = Path(path)
    try:
        if not stat.S_ISSOCK(place.lstat().st_mode):
            raise FrameError(f"{path}: a file is there that is no socket. Choose another path.")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        try:
            asking.settimeout(1.0)
            asking.connect(path)
        except ConnectionRefusedError:
            place.unlink()
            return
    raise FrameError(f"{path}: another process gives frames there. End it, or choose another path.")
