"""The policy process's side of the frame port: its mailboxes, mapped for reading, and where each frame goes.

Before an inference one call into the core copies every frame into the runner's inputs, judges its age (in lockstep: the
state that it belongs to), and counts what it found in the action mailbox, where the supervisor reads it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from typing import TypeAlias

from edgerl.backends import Runner
from edgerl.errors import PolicyProcessError
from edgerl.frame_inputs import frame_inputs
from edgerl.runtime import core
from edgerl.runtime.enums import Dtype
from edgerl.runtime.frame_structs import FrameInput
from edgerl.spec import Input, PolicySpec

FrameArguments: TypeAlias = tuple[int, int, int, int, int]
"""Of ``erl_frames_take``: inputs, their count, header, longest age in [ns], action mailbox. Addresses, but for two."""


class FrameReader:
    """The frames of a policy, on their way into its runner.

    Args:
        fds: Descriptors of the mailboxes, in the order of the spec's frame inputs.
        spec: Of the policy.
        runner: Its inputs are written.
        header: Address of the header that each observation is copied to.
        max_age_ns: An older frame is not taken.
        account: Address of the action mailbox, which keeps the account.

    Attributes:
        arguments: What ``erl_frames_take`` is called with, once for each observation, while this reader lives.

    Raises:
        PolicyProcessError: They are not the mailboxes of this policy.
    """

    def __init__(
        self, fds: Sequence[int], spec: PolicySpec, runner: Runner, *, header: int, max_age_ns: int, account: int
    ) -> None:
        wanted = frame_inputs(spec)
        if len(fds) != len(wanted):
            raise PolicyProcessError(f"The policy observes {len(wanted)} images; {len(fds)} mailboxes were given.")
        self._memories = [_map(fd, item) for fd, item in zip(fds, wanted, strict=True)]
        self._arrays = [runner.inputs[item.name] for item in wanted]
        for item, array in zip(wanted, self._arrays, strict=True):
            if array.nbytes != item.nbytes or not array.flags.c_contiguous:
                raise PolicyProcessError(f"The runner's input {item.name} is not {item.nbytes} bytes in C order.")
        self._inputs = (FrameInput * len(wanted))(
            *(
                FrameInput(core.address(memory), array.ctypes.data, item.nbytes, Dtype[item.dtype.upper()])
                for memory, array, item in zip(self._memories, self._arrays, wanted, strict=True)
            )
        )
        self.arguments: FrameArguments = (ctypes.addressof(self._inputs), len(wanted), header, max_age_ns, account)


def _map(fd: int, item: Input) -> mmap.mmap:
    size = int(core.library().erl_frame_segment_bytes(item.nbytes))
    if size == 0 or os.fstat(fd).st_size != size:
        raise PolicyProcessError(f"The mailbox of {item.name} is not one for frames of {item.nbytes:,} bytes.")
    # All pages now: the first frame must not be slower than the others.
    return mmap.mmap(fd, size, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
