"""A frame mailbox from Python: made by the controller, mapped by the camera's process that writes it.

The controller makes one for each frame that its policy observes, of the size that the policy's spec says, and nobody
can resize it. The camera's process gets a descriptor to write, the policy process one that it can only read.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct

import numpy as np
from numpy.typing import NDArray

from edgerl.errors import FrameError
from edgerl.runtime import core
from edgerl.runtime.enums import FRAME_MAGIC, FRAME_VERSION, Result
from edgerl.runtime.frame_structs import Frame
from edgerl.runtime.layout import FrameChannel
from edgerl.runtime.segments import is_sealed, new_segment, read_only

_START = struct.Struct("<IIQ")


class FrameMemory:
    """The controller's side of one mailbox; ``stack`` closes its descriptors.

    Attributes:
        channel: Whose frames it holds.
        fd: For the camera's process.
        read_only: For the policy process: a descriptor of the same memory that cannot be mapped for writing.

    Raises:
        PlatformError: This kernel has no sealed memory, or ``/proc`` is not there.
    """

    def __init__(self, stack: contextlib.ExitStack, channel: FrameChannel) -> None:
        self.channel = channel
        segment = new_segment(stack, f"frame-{channel.name}"[:200], segment_bytes(channel))
        self._memory = segment.memory
        self._address = segment.address
        self.fd = segment.fd
        core.library().erl_frame_create(self._address, channel.nbytes)
        self.read_only = read_only(stack, self.fd)

    def admit(self, epoch: int) -> None:
        """Let a writer of this epoch write, and no other."""
        core.library().erl_frame_admit(self._address, epoch)


class FrameOutlet:
    """The writer's side of one mailbox.

    Args:
        fd: Descriptor that came with HELLO; it may be closed afterwards.
        channel: What the mailbox must hold.
        epoch: That HELLO named.

    Raises:
        FrameError: It is no mailbox for these frames, or somebody could still shrink it under its writer.
    """

    def __init__(self, fd: int, channel: FrameChannel, epoch: int) -> None:
        size = segment_bytes(channel)
        if not is_sealed(fd) or os.fstat(fd).st_size != size:
            raise FrameError(f"The descriptor that came for {channel.name} is not sealed memory of {size:,} bytes.")
        try:
            self._memory = mmap.mmap(fd, size)
        except OSError as error:
            raise FrameError(f"The mailbox for {channel.name} cannot be mapped ({error.strerror}).") from error
        start = _START.unpack_from(self._memory)
        if start != (FRAME_MAGIC, FRAME_VERSION, channel.nbytes):
            self._memory.close()
            raise FrameError(f"The mailbox that came for {channel.name} is of another version or size: {start}.")
        self._address = core.address(self._memory)
        self._frame = Frame(epoch=epoch)
        self._post = core.library().erl_frame_post
        self._nbytes = channel.nbytes

    def post(self, content: NDArray[np.generic], stamp_ns: int, state_stamp_ns: int) -> bool:
        """Write a frame and wake its reader; False where another writer has taken over. Never waits.

        Args:
            content: Contiguous in C order, of the channel's shape and dtype.
            stamp_ns: ``time.monotonic_ns()`` of when it was taken.
            state_stamp_ns: Stamp of the STATE that it belongs to, in the robot's clock; 0 for none.
        """
        frame = self._frame
        frame.sequence += 1
        frame.stamp_ns, frame.state_stamp_ns = stamp_ns, state_stamp_ns
        answer = self._post(self._address, ctypes.addressof(frame), content.ctypes.data, self._nbytes)
        return bool(answer == Result.OK)

    def close(self) -> None:
        """Unmap it."""
        self._memory.close()


def segment_bytes(channel: FrameChannel) -> int:
    """Return the size of a channel's mailbox.

    Raises:
        FrameError: Its frames are larger than any mailbox.
    """
    size = int(core.library().erl_frame_segment_bytes(channel.nbytes))
    if size == 0:
        raise FrameError(f"A frame of {channel.nbytes:,} bytes ({channel.name}) fits no mailbox.")
    return size
