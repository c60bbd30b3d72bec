"""The numbers that the C core and Python agree on.

A mirror of the enums and limits in ``edgerl/core/edgerl_core.h``; a test compares them with the header.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

LAYOUT_VERSION = 1
MAX_STATES = 357
MAX_COMMANDS = 256
MASK_WORDS = 4
MAX_OBSERVATION_BYTES = 16384
MAX_DATAGRAM = 1472
MAX_DRAIN = 64
MAX_WINDOW = 1024
MAX_RING = 1_048_576
CAUSE_COUNT = 5
CONFIG_MAGIC = 0x434C5245
STATUS_MAGIC = 0x534C5245
REQUESTS_MAGIC = 0x514C5245
OBSERVATION_MAGIC = 0x4F4C5245
ACTION_MAGIC = 0x414C5245
RING_MAGIC = 0x524C5245


class Result(IntEnum):
    """What a function of the library answers."""

    OK = 0
    TIMEOUT = 1
    TORN = 2
    BAD = 3
    EMPTY = 4
    LOST = 5
    INTERRUPTED = 6
    ENDED = 7


class Mode(IntEnum):
    """State of the guardian."""

    SAFE = 0
    PREPARE = 1
    ACTIVE = 2
    FALLBACK = 3
    STOPPED = 4


class Source(IntEnum):
    """Where a command comes from; LADDER and ON_REJECT stand in the table only."""

    POLICY = 0
    HOLD = 1
    SAFE = 2
    LAPSE = 3
    LADDER = 4
    ON_REJECT = 5


class Event(IntEnum):
    """What a tick met, mildest first; recorded as bits ``1 << event``."""

    NOMINAL = 0
    ARM = 1
    ACTION_LATE = 2
    STATE_LOST = 3
    REJECT = 4
    DISARM = 5
    DONE = 6
    BUCKET_FAULT = 7
    STATE_FAULT = 8
    POLICY_FAULT = 9
    SUPERVISOR_FAULT = 10
    LADDER_END = 11
    RESET = 12
    ESTOP = 13
    QUIT = 14


class Clock(IntEnum):
    """What times the ticks."""

    WAITING = 0
    GRID = 1
    LOCKSTEP = 2


class Phase(IntEnum):
    """Life of a guardian process."""

    STARTING = 0
    READY = 1
    RUNNING = 2
    ENDED = 3
    REFUSED = 4


class Request(IntEnum):
    """What a supervisor asks of a guardian."""

    ARM = 0
    DISARM = 1
    ESTOP = 2
    RESET = 3
    QUIT = 4
    POLICY_DIED = 5


class Dtype(IntEnum):
    """Type of one channel in the packed observation record."""

    FLOAT32 = 0
    INT32 = 1
    UINT8 = 2


class OnViolation(IntEnum):
    """What the envelope does about a finite command outside its limits."""

    REJECT = 0
    SATURATE = 1


class Verdict(IntFlag):
    """Causes of one channel's verdict, and what was done about them."""

    NOT_FINITE = 0x01
    LOW = 0x02
    HIGH = 0x04
    RATE = 0x08
    ACCELERATION = 0x10
    SATURATED = 0x40
    REJECTED = 0x80


class StateFlag(IntFlag):
    """Flags of a STATE datagram."""

    EPISODE_START = 0x01
    LOCKSTEP = 0x02
    ESTOP = 0x04
    WAITING = 0x08
    DONE = 0x10


class ArmBlocker(IntFlag):
    """Why a wanted ARM has not happened."""

    NO_STATE = 0x01
    STATE_FAULT = 0x02
    ESTOP = 0x04
    POLICY_NOT_READY = 0x08
    ACTION_LATE = 0x10
    REJECTED = 0x20
    NOT_SAFE_MODE = 0x40
    DONE = 0x80


class Drop(IntEnum):
    """Why a datagram was dropped: index of ``Status.dropped``."""

    LENGTH = 0
    MAGIC = 1
    VERSION = 2
    KIND = 3
    SESSION = 4
    CRC = 5
    FIELD = 6
    OLD = 7
