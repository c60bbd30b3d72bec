"""The structs of the frame port: a mirror of ``edgerl/core/edgerl_segments.h``, as :mod:`edgerl.runtime.structs` is."""

from __future__ import annotations

import ctypes

_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64


class Frame(ctypes.Structure):
    """What comes with an image, or another large input."""

    _fields_ = [
        ("epoch", _U64),
        ("sequence", _U64),
        ("stamp_ns", _U64),
        ("state_stamp_ns", _U64),
    ]


class FrameMailbox(ctypes.Structure):
    """Camera's process to policy: header of a frame segment; ``buffers`` times buffer and content follow it."""

    _fields_ = [
        ("magic", _U32),
        ("version", _U32),
        ("frame_bytes", _U64),
        ("epoch", _U64),
        ("published", _U32),
        ("buffers", _U32),
        ("reserved", _U64 * 4),
    ]


class FrameBuffer(ctypes.Structure):
    """Header of one buffer of a frame segment; ``frame_bytes`` follow it, padded to a multiple of 64."""

    _fields_ = [
        ("sequence", _U32),
        ("reserved", _U32 * 7),
        ("frame", _U64 * (ctypes.sizeof(Frame) // 8)),
    ]


class FrameInput(ctypes.Structure):
    """One frame input of the policy, in the policy's own memory."""

    _fields_ = [
        ("mailbox", ctypes.c_void_p),
        ("to", ctypes.c_void_p),
        ("bytes", _U64),
        ("dtype", _U32),
        ("reserved", _U32),
        ("age_ns", _U64),
        ("frame", Frame),
    ]
