"""The C core from Python: where its files lie, its functions, and what they answer.

The supervisor and the policy process talk to the guardian through these functions only, so that every word in shared
memory is touched with the memory order that the C side relies on. ``address`` arguments are the address of the first
byte of a mapped segment (see :func:`address`). Nothing is loaded before it is used; waiting releases the GIL.
It does not start processes and does not open descriptors: that is the supervisor's.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgerl.errors import EnvelopeError, GuardianError, PlatformError
from edgerl.runtime.enums import (
    CONFIG_MAGIC,
    LAYOUT_VERSION,
    MAX_COMMANDS,
    Clock,
    Event,
    Mode,
    OnViolation,
    Request,
    Result,
    Source,
)
from edgerl.runtime.structs import CommandChannel, Config, ObservationHeader, Operator, Status, Transition

LIBRARY_NAME = "libedgerl_core.so"
GUARDIAN_NAME = "edgerl-guardian"
CORE_DIR_VARIABLE = "EDGERL_CORE_DIR"


@dataclass(frozen=True)
class ModeRow:
    """One cell of the mode table, in the words of the library itself."""

    mode: str
    event: str
    source: str
    """policy, hold, safe or lapse; or ladder and on-reject, which the configuration resolves."""
    next_mode: str


@dataclass(frozen=True)
class EnvelopeReplay:
    """What the envelope says about recorded commands."""

    verdicts: NDArray[np.uint8]
    """Bits of :class:`Verdict`, shape (rows, channels)."""
    written: NDArray[np.float32]
    """Command written in each row, shape (rows, channels); NaN where nothing is sent."""


def core_dir() -> Path:
    """Return the folder that holds the library and the guardian.

    Raises:
        PlatformError: Not Linux, or the package was built without its core.
    """
    override = os.environ.get(CORE_DIR_VARIABLE)
    if override:
        candidates = [Path(override)]
    else:
        import edgerl  # noqa: PLC0415  (its __path__ names the installed folder too, also in an editable install)

        candidates = [Path(folder) / "core" for folder in edgerl.__path__]
    for candidate in candidates:
        if (candidate / LIBRARY_NAME).is_file():
            return candidate
    if not sys.platform.startswith("linux"):
        raise PlatformError(
            f"The control loop needs Linux; this is {sys.platform}. Export and inspect work here; "
            "pack and run on a Linux machine."
        )
    raise PlatformError(
        f"{LIBRARY_NAME} is not in {', '.join(map(str, candidates))}. It is built when edgerl is installed on Linux "
        f"with a C compiler: pip install edgerl, or set {CORE_DIR_VARIABLE} to the folder of a build of your own."
    )


def guardian_path() -> Path:
    """Return the path of the guardian executable.

    Raises:
        PlatformError: Not Linux, or the package was built without its core.
    """
    path = core_dir() / GUARDIAN_NAME
    if not os.access(path, os.X_OK):
        raise PlatformError(f"{path} is not an executable file. Install edgerl again with a C compiler at hand.")
    return path


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Load the core once and declare the signatures of its functions.

    Raises:
        PlatformError: Not Linux, the package was built without its core, or the library does not load.
    """
    path = core_dir() / LIBRARY_NAME
    try:
        loaded = ctypes.CDLL(str(path), use_errno=True)
    except OSError as error:
        raise PlatformError(f"{path} does not load ({error}). Install edgerl again on this machine.") from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


_P, _U32, _U64, _I64, _TEXT = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64, ctypes.c_char_p
_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "erl_layout": (_I64, [_TEXT]),
    "erl_config_check": (_U32, [_P]),
    "erl_config_fault_name": (_TEXT, [_U32]),
    "erl_ring_bytes": (_U64, [_P]),
    "erl_status_create": (None, [_P]),
    "erl_requests_create": (None, [_P]),
    "erl_observation_create": (None, [_P]),
    "erl_action_create": (None, [_P]),
    "erl_ring_create": (None, [_P, _P]),
    "erl_request": (_U32, [_P, _U32]),
    "erl_request_policies": (None, [_P, _U64, _U64]),
    "erl_policy_died": (None, [_P, _U64]),
    "erl_operator_post": (None, [_P, _P]),
    "erl_request_heartbeat": (None, [_P]),
    "erl_status_read": (_U32, [_P, _P]),
    "erl_ring_head": (_U64, [_P]),
    "erl_ring_read": (_U32, [_P, _U64, _P, _U32]),
    "erl_observation_wait": (_U32, [_P, _P, _U64, _P, _P, _U32]),
    "erl_action_post": (_U32, [_P, _U64, _U64, _U64, _P, _U32, _P, _U32]),
    "erl_action_measured": (None, [_P, _U64, _U64, _U64]),
    "erl_action_ready": (None, [_P, _U64]),
    "erl_action_ready_epoch": (_U64, [_P]),
    "erl_action_times": (None, [_P, _P, _P, _P]),
    "erl_frame_segment_bytes": (_U64, [_U64]),
    "erl_frame_create": (None, [_P, _U64]),
    "erl_frame_admit": (None, [_P, _U64]),
    "erl_frame_post": (_U32, [_P, _P, _P, _U64]),
    "erl_frame_read": (_U32, [_P, _P, _P, _U64]),
    "erl_frames_take": (_U32, [_P, _U32, _P, _U64, _P]),
    "erl_datagram_create": (None, [_P]),
    "erl_datagram_post": (_U32, [_P, ctypes.c_char_p, _U32]),
    "erl_datagram_take": (ctypes.c_int32, [_P, _P, _P, _U32, _U64]),
    "erl_confinement": (ctypes.c_int32, []),
    "erl_confine": (ctypes.c_int32, [_U32]),
    "erl_blake2s": (None, [ctypes.c_char_p, _U32, ctypes.c_char_p, _U32, _P, _U32]),
    "erl_modes_transition": (_U32, [_U32, _U32, _P]),
    "erl_mode_name": (_TEXT, [_U32]),
    "erl_event_name": (_TEXT, [_U32]),
    "erl_source_name": (_TEXT, [_U32]),
    "erl_envelope_replay": (_U32, [_P, _U32, _U32, _U64, _U64, _P, _P, _P, _P, _P]),
    "erl_assembler_replay": (_U32, [_P, _U64, _P, _P, _P, _P, _P, _P]),
    "erl_loop_bytes": (_U64, []),
    "erl_loop_start": (_U32, [_P, _P, _P, _P]),
    "erl_tick": (_U32, [_P]),
    "erl_loop_terminate": (None, [_P]),
}


def address(buffer: object) -> int:
    """Return the address of a buffer's first byte; read-only mappings too. The caller keeps the buffer alive."""
    return int(np.frombuffer(cast("Any", buffer), dtype=np.uint8).ctypes.data)


def new_config() -> Config:
    """Return a configuration of zeros with its header, divider, clock and unset scheduling and limits filled in."""
    config = Config(magic=CONFIG_MAGIC, version=LAYOUT_VERSION, bytes=ctypes.sizeof(Config))
    config.policy_divider = 1
    config.on_reject = Source.HOLD
    config.clock = Clock.GRID
    config.cpu = -1
    config.tilt_cos = config.start_tilt_cos = -1.0
    return config


def check_config(config: Config) -> None:
    """Check a configuration as the guardian will.

    Raises:
        GuardianError: A value that the guardian would refuse.
    """
    fault = library().erl_config_check(ctypes.addressof(config))
    if fault:
        raise GuardianError(f"The guardian refuses this configuration: {config_fault_name(fault)}.")


def config_fault_name(fault: int) -> str:
    """Return what ``Status.start_fault`` means, in words."""
    return _text(library().erl_config_fault_name(fault))


def ring_bytes(config: Config) -> int:
    """Return the size of the ring segment that this configuration needs, in bytes."""
    return int(library().erl_ring_bytes(ctypes.addressof(config)))


def create_segments(
    config: Config, *, status: int, requests: int, observation: int, actions: Sequence[int], ring: int
) -> None:
    """Write the headers of zeroed segments, given by address, before the guardian maps them."""
    core = library()
    core.erl_status_create(status)
    core.erl_requests_create(requests)
    core.erl_observation_create(observation)
    for action in actions:
        core.erl_action_create(action)
    core.erl_ring_create(ring, ctypes.addressof(config))


def request(requests: int, kind: Request) -> None:
    """Ask something of the guardian; it acts within one tick."""
    library().erl_request(requests, kind)


def policy_word(epoch: int, slot: int) -> int:
    """Return how the guardian names a policy process: its epoch, new for every start, and its action mailbox."""
    return epoch << 8 | slot


def set_policies(requests: int, acting: int, candidate: int = 0) -> None:
    """Name the policy whose answers count and the one that is listened to beside it, as words; 0 for none."""
    library().erl_request_policies(requests, acting, candidate)


def policy_died(requests: int, policy: int) -> None:
    """Tell the guardian that a policy's process has ended, as a word; whether that is a fault is the guardian's."""
    library().erl_policy_died(requests, policy)


def post_operator(requests: int, values: Operator) -> None:
    """Tell the guardian what the operator wants."""
    library().erl_operator_post(requests, ctypes.addressof(values))


def heartbeat(requests: int) -> None:
    """Show the guardian that its supervisor lives."""
    library().erl_request_heartbeat(requests)


def read_status(status: int) -> Status | None:
    """Return a consistent copy of the status; None where the guardian died while it was writing it."""
    copy = Status()
    return copy if library().erl_status_read(status, ctypes.addressof(copy)) == Result.OK else None


def ring_head(ring: int) -> int:
    """Return how many records were written since the start."""
    return int(library().erl_ring_head(ring))


def read_record(ring: int, index: int, out: int, out_bytes: int) -> Result:
    """Copy the record of tick ``index``; OK, EMPTY (not written yet), LOST (overwritten) or BAD (``out`` too small)."""
    return Result(library().erl_ring_read(ring, index, out, out_bytes))


def wait_observation(
    mailbox: int, seen: ctypes.c_uint32, header: ObservationHeader, record: int, record_bytes: int, *, timeout_ns: int
) -> Result:
    """Wait for an observation newer than ``seen`` and copy it out.

    Args:
        mailbox: Address of the observation mailbox; a read-only mapping will do.
        seen: The caller's memory of the mailbox, ``c_uint32(0)`` at first; advanced here.
        header: Overwritten.
        record: Address that the packed record is copied to.
        record_bytes: Size of the packed record, as in the configuration.
        timeout_ns: How long to wait; the GIL is released.

    Returns:
        OK, TIMEOUT, INTERRUPTED (a signal arrived: call again), TORN or BAD (another size than ``record_bytes``).
    """
    return Result(
        library().erl_observation_wait(
            mailbox, ctypes.addressof(seen), timeout_ns, ctypes.addressof(header), record, record_bytes
        )
    )


def post_action(
    mailbox: int,
    epoch: int,
    sequence: int,
    values: NDArray[np.float32],
    *,
    raw: NDArray[np.float32] | None = None,
    infer_ns: int = 0,
) -> Result:
    """Answer observation ``sequence`` with commands and, where observations use it, the raw action; OK or BAD."""
    raw_at, raw_count = (None, 0) if raw is None else (raw.ctypes.data, raw.size)
    return Result(
        library().erl_action_post(
            mailbox, epoch, sequence, infer_ns, values.ctypes.data, values.size, raw_at, raw_count
        )
    )


def say_ready(mailbox: int, epoch: int, *, median_ns: int = 0, worst_ns: int = 0, measured: int = 0) -> None:
    """Say that the policy of this epoch is warm and has passed its golden set, and how long it took to infer."""
    library().erl_action_measured(mailbox, median_ns, worst_ns, measured)
    library().erl_action_ready(mailbox, epoch)


def ready_epoch(mailbox: int) -> int:
    """Return the epoch of the policy that said it is ready; 0 for none."""
    return int(library().erl_action_ready_epoch(mailbox))


def inference_times(mailbox: int) -> tuple[int, int, int]:
    """Return median and longest inference in [ns] of the policy that said it is ready, and how many were measured."""
    median_ns, worst_ns, measured = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_uint64()
    library().erl_action_times(mailbox, *(ctypes.addressof(one) for one in (median_ns, worst_ns, measured)))
    return median_ns.value, worst_ns.value, measured.value


def create_datagram_mailbox(mailbox: int) -> None:
    """Write the header of a zeroed datagram mailbox, before anybody maps it."""
    library().erl_datagram_create(mailbox)


def post_datagram(mailbox: int, data: bytes) -> Result:
    """Replace the datagram in a mailbox; OK, or BAD where it is longer than one may be."""
    return Result(library().erl_datagram_post(mailbox, data, len(data)))


def take_datagram(mailbox: int, seen: ctypes.c_uint32, buffer: ctypes.Array[ctypes.c_char], until_ns: int) -> bytes:
    """Return the newest datagram in a mailbox, where it is newer than ``seen``; empty where none came in time.

    Args:
        mailbox: Its address; a read-only mapping will do.
        seen: The caller's memory of the mailbox, ``c_uint32(0)`` at first; advanced here.
        buffer: Of one byte more than a datagram may have, so that one that is too long shows.
        until_ns: Waits so long, on the clock of ``time.monotonic_ns``; the GIL is released.
    """
    address, capacity = ctypes.addressof(buffer), ctypes.sizeof(buffer)
    size = library().erl_datagram_take(mailbox, ctypes.addressof(seen), address, capacity, max(0, until_ns))
    return ctypes.string_at(address, min(size, capacity))


def modes_table() -> tuple[ModeRow, ...]:
    """Return the table that the guardian runs by: every mode and event, in the library's order."""
    core, cell = library(), Transition()
    rows = []
    for mode in Mode:
        for event in Event:
            if core.erl_modes_transition(mode, event, ctypes.addressof(cell)) != Result.OK:
                continue
            names = (
                core.erl_mode_name(mode),
                core.erl_event_name(event),
                core.erl_source_name(cell.source),
                core.erl_mode_name(cell.next),
            )
            rows.append(ModeRow(*map(_text, names)))
    return tuple(rows)


def command_channel(
    *,
    low: float,
    high: float,
    max_rate: float,
    max_acceleration: float,
    safe: float,
    on_violation: OnViolation,
    action: int = -1,
) -> CommandChannel:
    """Return one channel: its limits (``math.inf`` where there is none) and the policy's action that it carries.

    What it means to the motor is left open, and damping and preparing send the safe value.
    """
    channel = CommandChannel(low, high, max_rate, max_acceleration, safe, on_violation)
    channel.action, channel.measured, channel.measured_rate = action, -1, -1
    channel.nominal = channel.damp = channel.prepare = safe
    channel.target_low, channel.target_high = -math.inf, math.inf
    return channel


def replay_envelope(
    channels: list[CommandChannel],
    commands: NDArray[np.float32],
    times_ns: NDArray[np.uint64],
    episode_start: NDArray[np.bool_],
    *,
    on_reject: Source = Source.HOLD,
    seed_ns: int = 0,
) -> EnvelopeReplay:
    """Run recorded commands through the envelope that the guardian runs.

    Args:
        channels: Limits, one per command channel.
        commands: Shape (rows, channels), float32.
        times_ns: Time of each row in [ns], shape (rows,), not decreasing within an episode.
        episode_start: True where a row begins an episode, shape (rows,).
        on_reject: What a rejected row writes: HOLD, SAFE or LAPSE.
        seed_ns: An episode begins as the guardian begins it, with the safe command written this long before its first
            row; 0: with nothing written, so that its first row has no rate.

    Raises:
        EnvelopeError: Shapes that do not fit each other, or limits that contradict each other.
    """
    rows, count = commands.shape if commands.ndim == 2 else (-1, -1)
    if count != len(channels) or times_ns.shape != (rows,) or episode_start.shape != (rows,):
        raise EnvelopeError(
            f"Commands of shape {commands.shape}, times {times_ns.shape} and episode starts {episode_start.shape} "
            f"do not fit {len(channels)} channels. Expected (rows, {len(channels)}), (rows,) and (rows,)."
        )
    table = (CommandChannel * MAX_COMMANDS)(*channels[:MAX_COMMANDS])
    given = np.ascontiguousarray(commands, dtype=np.float32)
    times = np.ascontiguousarray(times_ns, dtype=np.uint64)
    starts = np.ascontiguousarray(episode_start, dtype=np.uint8)
    verdicts = np.zeros((rows, count), dtype=np.uint8)
    written = np.zeros((rows, count), dtype=np.float32)
    arrays = (array.ctypes.data for array in (given, times, starts, verdicts, written))
    answer = library().erl_envelope_replay(ctypes.addressof(table), count, on_reject, seed_ns, rows, *arrays)
    if answer != Result.OK:
        raise EnvelopeError(
            f"The limits of {count} channels are refused. Each needs low <= safe <= high, finite, and a rate and an "
            f"acceleration above 0 (inf: no limit); between 1 and {MAX_COMMANDS} channels; on_reject hold, safe or "
            "lapse."
        )
    return EnvelopeReplay(verdicts, written)


def _text(name: bytes | None) -> str:
    return name.decode("ascii") if name is not None else "unknown"
