"""The structs that the C core and Python share.

A mirror of ``edgerl/core/edgerl_segments.h``: same names, same order, same bytes; a test compares every size and offset
with the library's. Times are integer nanoseconds. It holds no function and loads nothing.
"""

from __future__ import annotations

import ctypes

from edgerl.runtime.enums import (
    KEY_BYTES,
    MASK_WORDS,
    MAX_COMMANDS,
    MAX_DATAGRAM,
    MAX_ELEMENTS,
    MAX_OBSERVATION_BYTES,
    MAX_OPERATOR,
    MAX_RUNGS,
    MAX_STATES,
    MAX_TERMS,
    POLICY_SLOTS,
    Drop,
    FrameVerdict,
    LadderClass,
    Request,
)

_U8, _U32, _I32, _U64, _F32 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_int32, ctypes.c_uint64, ctypes.c_float


class StateChannel(ctypes.Structure):
    """Where one state channel stands in the packed observation record."""

    _fields_ = [
        ("low", _F32),
        ("high", _F32),
        ("start_low", _F32),
        ("start_high", _F32),
        ("noisy", _U32),
        ("reserved", _U32),
    ]


class Element(ctypes.Structure):
    """One value of one tick of an observation: ``clip((value - offset) * scale, low, high)``."""

    _fields_ = [
        ("source", _U32),
        ("index", _U32),
        ("offset", _F32),
        ("scale", _F32),
        ("low", _F32),
        ("high", _F32),
    ]


class Term(ctypes.Structure):
    """Consecutive elements, and where their last ``history`` ticks stand in the packed observation record."""

    _fields_ = [
        ("first", _U32),
        ("count", _U32),
        ("dtype", _U32),
        ("offset", _U32),
        ("history", _U32),
        ("stride", _U32),
        ("repeat", _U32),
        ("reserved", _U32),
    ]


class CommandChannel(ctypes.Structure):
    """Limits, meaning and inner law of one command channel; ``math.inf`` where there is no limit."""

    _fields_ = [
        ("low", _F32),
        ("high", _F32),
        ("max_rate", _F32),
        ("max_acceleration", _F32),
        ("safe", _F32),
        ("on_violation", _U32),
        ("role", _U32),
        ("action", _I32),
        ("measured", _I32),
        ("measured_rate", _I32),
        ("nominal", _F32),
        ("damp", _F32),
        ("prepare", _F32),
        ("pd", _U32),
        ("kp", _F32),
        ("kd", _F32),
        ("prepare_kp", _F32),
        ("prepare_kd", _F32),
        ("damp_kd", _F32),
        ("target_low", _F32),
        ("target_high", _F32),
    ]


class OperatorChannel(ctypes.Structure):
    """Limits of one operator value, and what stands in for it when it is too old."""

    _fields_ = [
        ("low", _F32),
        ("high", _F32),
        ("timeout_value", _F32),
        ("reserved", _U32),
    ]


class Rung(ctypes.Structure):
    """One rung of a fallback ladder."""

    _fields_ = [
        ("duration_ns", _U64),
        ("source", _U32),
        ("reserved", _U32),
    ]


class Ladder(ctypes.Structure):
    """What is sent after a fault, rung by rung; then nothing."""

    _fields_ = [
        ("count", _U32),
        ("reserved", _U32),
        ("rungs", Rung * MAX_RUNGS),
    ]


class Config(ctypes.Structure):
    """All that a guardian is told, once, before it starts. ``edgerl_segments.h`` says what each field means."""

    _fields_ = [
        ("magic", _U32),
        ("version", _U32),
        ("bytes", _U32),
        ("production", _U32),
        ("session", _U64),
        ("period_ns", _U64),
        ("budget_ns", _U64),
        ("valid_for_ns", _U64),
        ("lead_ns", _U64),
        ("spin_ns", _U64),
        ("state_grace_ns", _U64),
        ("state_timeout_ns", _U64),
        ("heartbeat_timeout_ns", _U64),
        ("inference_timeout_ns", _U64),
        ("jitter_budget_ns", _U64),
        ("operator_timeout_ns", _U64),
        ("prepare_ns", _U64),
        ("blend_ns", _U64),
        ("clock", _U32),
        ("allow_lockstep", _U32),
        ("bucket_limit", _U32),
        ("bucket_window", _U32),
        ("jitter_limit", _U32),
        ("jitter_window", _U32),
        ("frozen_ticks", _U32),
        ("on_reject", _U32),
        ("arm_ticks", _U32),
        ("policy_divider", _U32),
        ("action_delay", _U32),
        ("inner_law", _U32),
        ("state_count", _U32),
        ("command_count", _U32),
        ("action_count", _U32),
        ("raw_count", _U32),
        ("operator_count", _U32),
        ("dead_man", _U32),
        ("element_count", _U32),
        ("term_count", _U32),
        ("observation_bytes", _U32),
        ("ring_capacity", _U32),
        ("priority", _I32),
        ("cpu", _I32),
        ("lock_memory", _U32),
        ("attitude", _U32),
        ("attitude_channel", _U32),
        ("tilt_cos", _F32),
        ("start_tilt_cos", _F32),
        ("port", _U32),
        ("authenticated", _U32),
        ("receive_key", _U8 * KEY_BYTES),
        ("send_key", _U8 * KEY_BYTES),
        ("reserved", _U32),
        ("ladders", Ladder * len(LadderClass)),
        ("operators", OperatorChannel * MAX_OPERATOR),
        ("terms", Term * MAX_TERMS),
        ("states", StateChannel * MAX_STATES),
        ("elements", Element * MAX_ELEMENTS),
        ("commands", CommandChannel * MAX_COMMANDS),
    ]


class Operator(ctypes.Structure):
    """What the operator wants; ``stamp_ns`` 0: nobody has said anything yet."""

    _fields_ = [
        ("stamp_ns", _U64),
        ("dead_man", _U32),
        ("count", _U32),
        ("values", _F32 * MAX_OPERATOR),
    ]


class Requests(ctypes.Structure):
    """Supervisor to guardian. Write it through :func:`edgerl.runtime.core.request` and its neighbours."""

    _fields_ = [
        ("magic", _U32),
        ("version", _U32),
        ("acting", _U64),
        ("candidate", _U64),
        ("died", _U64 * POLICY_SLOTS),
        ("heartbeat", _U64),
        ("counters", _U32 * len(Request)),
        ("operator_sequence", _U32),
        ("reserved", _U32),
        ("operator_words", _U64 * (ctypes.sizeof(Operator) // 8)),
    ]


class Status(ctypes.Structure):
    """A copy of what the guardian says about itself after every tick."""

    _fields_ = [
        ("phase", _U32),
        ("start_fault", _U32),
        ("pid", _I32),
        ("priority_errno", _I32),
        ("affinity_errno", _I32),
        ("lock_errno", _I32),
        ("mode", _U32),
        ("source", _U32),
        ("event", _U32),
        ("clock", _U32),
        ("fault", _U32),
        ("state_flags", _U32),
        ("bucket_level", _U32),
        ("arm_blockers", _U32),
        ("arm_pending", _U32),
        ("switch_pending", _U32),
        ("jitter_level", _U32),
        ("ladder", _U32),
        ("acting", _U64),
        ("candidate", _U64),
        ("time_ns", _U64),
        ("ticks", _U64),
        ("state_sequence", _U64),
        ("fault_tick", _U64),
        ("missed_periods", _U64),
        ("overruns", _U64),
        ("armed", _U64),
        ("arm_refused", _U64),
        ("actions_taken", _U64),
        ("actions_late", _U64),
        ("actions_stale", _U64),
        ("switched", _U64),
        ("switch_refused", _U64),
        ("shadow_taken", _U64),
        ("operator_lost", _U64),
        ("states_taken", _U64),
        ("states_lost", _U64),
        ("states_skipped", _U64),
        ("commands_sent", _U64),
        ("send_errors", _U64),
        ("receive_errors", _U64),
        ("rejected", _U64),
        ("saturated", _U64),
        ("done", _U64),
        ("byes", _U64),
        ("dropped", _U64 * len(Drop)),
    ]


class StatusBlock(ctypes.Structure):
    """Guardian to supervisor, as it lies in shared memory."""

    _fields_ = [
        ("magic", _U32),
        ("version", _U32),
        ("sequence", _U32),
        ("reserved", _U32),
        ("words", _U64 * (ctypes.sizeof(Status) // 8)),
        ("violations", (_U32 * 8) * MAX_COMMANDS),
    ]


class ObservationHeader(ctypes.Structure):
    """What comes with an observation; the answer echoes ``sequence``."""

    _fields_ = [
        ("sequence", _U64),
        ("stamp_ns", _U64),
        ("deadline_ns", _U64),
        ("episode", _U32),
        ("bytes", _U32),
        ("clock", _U32),
        ("reserved", _U32),
    ]


class ObservationMailbox(ctypes.Structure):
    """Guardian to policy, as it lies in shared memory."""

    _fields_ = [
        ("magic", _U32),
        ("version", _U32),
        ("sequence", _U32),
        ("reserved", _U32 * 13),
        ("header", _U64 * (ctypes.sizeof(ObservationHeader) // 8)),
        ("reserved_end", _U64 * 3),
        ("record", _U64 * (MAX_OBSERVATION_BYTES // 8)),
    ]


class Action(ctypes.Structure):
    """The policy's answer to one observation."""

    _fields_ = [
        ("epoch", _U64),
        ("sequence", _U64),
        ("infer_ns", _U64),
        ("count", _U32),
        ("raw_count", _U32),
        ("values", _F32 * MAX_COMMANDS),
        ("raw", _F32 * MAX_COMMANDS),
    ]


class ActionMailbox(ctypes.Structure):
    """Policy to guardian, as it lies in shared memory."""

    _fields_ = [
        ("magic", _U32),
        ("version", _U32),
        ("sequence", _U32),
        ("reserved0", _U32),
        ("ready_epoch", _U64),
        ("median_ns", _U64),
        ("worst_ns", _U64),
        ("measured", _U64),
        ("reserved", _U64 * 2),
        ("words", _U64 * (ctypes.sizeof(Action) // 8)),
        ("frames", _U64 * len(FrameVerdict)),
        ("oldest_frame_ns", _U64),
        ("reserved_end", _U64),
    ]


class TickHeader(ctypes.Structure):
    """Fixed part of a tick record; ``edgerl_segments.h`` names the ``float32`` arrays that follow it in the ring."""

    _fields_ = [
        ("tick", _U64),
        ("tick_ns", _U64),
        ("scheduled_ns", _U64),
        ("start_ns", _U64),
        ("state_sequence", _U64),
        ("stamp_ns", _U64),
        ("post_ns", _U64),
        ("action_ns", _U64),
        ("write_ns", _U64),
        ("infer_ns", _U64),
        ("epoch", _U64),
        ("action_sequence", _U64),
        ("shadow_epoch", _U64),
        ("shadow_sequence", _U64),
        ("shadow_infer_ns", _U64),
        ("operator_stamp_ns", _U64),
        ("rejected", _U64 * MASK_WORDS),
        ("saturated", _U64 * MASK_WORDS),
        ("events", _U32),
        ("state_flags", _U32),
        ("missed_periods", _U32),
        ("bucket_level", _U32),
        ("causes", _U32),
        ("from_mode", _U8),
        ("mode", _U8),
        ("source", _U8),
        ("event", _U8),
        ("clock", _U8),
        ("observed", _U8),
        ("acting_slot", _U8),
        ("reserved", _U8 * 5),
    ]


class Ring(ctypes.Structure):
    """Header of the ring; ``capacity`` records of ``record_bytes`` follow it."""

    _fields_ = [
        ("magic", _U32),
        ("version", _U32),
        ("record_bytes", _U32),
        ("capacity", _U32),
        ("state_count", _U32),
        ("command_count", _U32),
        ("action_count", _U32),
        ("operator_count", _U32),
        ("head", _U64),
        ("reserved", _U64 * 3),
    ]


class DatagramMailbox(ctypes.Structure):
    """Driver to guardian, or guardian to driver, as it lies in shared memory."""

    _fields_ = [
        ("magic", _U32),
        ("version", _U32),
        ("sequence", _U32),
        ("reserved", _U32 * 13),
        ("words", _U64 * (1 + MAX_DATAGRAM // 8)),
    ]


class Transition(ctypes.Structure):
    """One cell of the mode table."""

    _fields_ = [
        ("source", _U8),
        ("next", _U8),
    ]


NOW = ctypes.CFUNCTYPE(_U64, ctypes.c_void_p)
SLEEP_UNTIL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _U64)
RECEIVE = ctypes.CFUNCTYPE(_I32, ctypes.c_void_p, ctypes.c_void_p, _U32, _U64)
SEND = ctypes.CFUNCTYPE(_I32, ctypes.c_void_p, ctypes.c_void_p, _U32)
WAIT_WORD = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, _U32, _U64)


class Port(ctypes.Structure):
    """The world as the loop sees it: clock, datagrams and the wait for an action."""

    _fields_ = [
        ("context", ctypes.c_void_p),
        ("now_ns", NOW),
        ("sleep_until", SLEEP_UNTIL),
        ("receive", RECEIVE),
        ("send", SEND),
        ("wait_word", WAIT_WORD),
    ]


class Segments(ctypes.Structure):
    """Addresses of what the guardian shares."""

    _fields_ = [
        ("status", ctypes.c_void_p),
        ("requests", ctypes.c_void_p),
        ("observation", ctypes.c_void_p),
        ("actions", ctypes.c_void_p * POLICY_SLOTS),
        ("ring", ctypes.c_void_p),
    ]
