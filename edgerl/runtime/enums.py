"""The numbers that the C core and Python agree on.

A mirror of the enums and limits in ``edgerl/core/edgerl_names.h``; a test compares them with the header.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

LAYOUT_VERSION = 2
MAX_STATES = 357
MAX_COMMANDS = 256
MASK_WORDS = 4
MAX_OBSERVATION_BYTES = 16384
MAX_DATAGRAM = 1472
MAX_DRAIN = 64
MAX_WINDOW = 1024
MAX_ELEMENTS = 1024
MAX_TERMS = 64
MAX_OPERATOR = 16
MAX_RUNGS = 4
POLICY_SLOTS = 3
MAX_RING = 1_048_576
CAUSE_COUNT = 5
CONFIG_MAGIC = 0x434C5245
STATUS_MAGIC = 0x534C5245
REQUESTS_MAGIC = 0x514C5245
OBSERVATION_MAGIC = 0x4F4C5245
ACTION_MAGIC = 0x414C5245
RING_MAGIC = 0x524C5245
FRAME_MAGIC = 0x464C5245
FRAME_VERSION = 1
FRAME_BUFFERS = 4
MAX_FRAME_BYTES = 67_108_864
DATAGRAM_MAGIC = 0x4D4C5245
DATAGRAM_VERSION = 1
KEY_BYTES = 32
TAG_BYTES = 16


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
    RAMP = 4
    DAMP = 5
    STANDBY = 6
    LADDER = 7
    ON_REJECT = 8


class Event(IntEnum):
    """What a tick met, mildest first; recorded as bits ``1 << event``."""

    NOMINAL = 0
    OPERATOR_LOST = 1
    OVERRUN = 2
    SWITCH = 3
    PREPARE = 4
    ARM = 5
    ACTION_LATE = 6
    STATE_LOST = 7
    REJECT = 8
    DISARM = 9
    DONE = 10
    BUCKET_FAULT = 11
    JITTER_FAULT = 12
    LAPSED = 13
    STATE_FROZEN = 14
    STATE_LIMIT = 15
    STATE_FAULT = 16
    INFERENCE_TIMEOUT = 17
    POLICY_FAULT = 18
    DEAD_MAN = 19
    SUPERVISOR_FAULT = 20
    LADDER_END = 21
    RESET = 22
    ESTOP = 23
    QUIT = 24


class Clock(IntEnum):
    """What times the ticks."""

    WAITING = 0
    GRID = 1
    LOCKSTEP = 2
    ROBOT = 3


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
    SWITCH = 5


class LadderClass(IntEnum):
    """Which fallback ladder a fault leads onto."""

    POLICY = 0
    STATE = 1
    MACHINE = 2


class Role(IntEnum):
    """What a command channel means to the motor."""

    OTHER = 0
    POSITION = 1
    VELOCITY = 2
    TORQUE = 3
    KP = 4
    KD = 5


class InnerLaw(IntEnum):
    """What happens between two actions of a policy that is slower than the base tick."""

    HOLD = 0
    INTERPOLATE = 1


class Attitude(IntEnum):
    """Where the robot says how it stands."""

    NONE = 0
    WXYZ = 1
    XYZW = 2
    GRAVITY = 3


class ElementSource(IntEnum):
    """Where a value of an observation comes from."""

    STATE = 0
    GRAVITY = 1
    OPERATOR = 2
    LAST_RAW = 3


class Dtype(IntEnum):
    """Type of one channel in the packed observation record."""

    FLOAT32 = 0
    INT32 = 1
    UINT8 = 2


class PortKind(IntEnum):
    """How datagrams travel between guardian and robot."""

    UDP = 0
    SHM = 1


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
    OUTSIDE_START = 0x100
    DEAD_MAN = 0x200
    PREPARING = 0x400


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


class FrameVerdict(IntEnum):
    """What became of the frames of one observation: index of ``ActionMailbox.frames``."""

    TAKEN = 0
    MISSING = 1
    STALE = 2
    TORN = 3
    OTHER_STATE = 4
    NOT_FINITE = 5
