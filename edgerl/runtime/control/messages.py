"""What is said on a control socket: one JSON object per packet, of bounded size, in both directions.

A request names what is wanted, ``{"do": "arm"}``, and who wants it; the answer says whether it was taken and how the
run stands. Reading is strict, except that an e-stop is an e-stop whatever else its packet holds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from edgerl import canonical
from edgerl.errors import SpecError

VERSION = 1
MAX_REQUEST_BYTES = 4096
MAX_REPLY_BYTES = 65536
MAX_VALUES = 16
MAX_OWNER = 64

Verb = Literal[
    "status", "estop", "arm", "disarm", "rearm", "reset", "stop", "own", "release", "load", "switch", "drop", "operate"
]
VERBS: tuple[str, ...] = get_args(Verb)
FREE_VERBS = ("status", "estop", "release")
"""Anybody with the right to the socket may ask for these, whoever owns the robot."""

Stage = Literal["starting", "loading", "waiting", "arming", "running", "stopped", "stopping"]
"""Where a run is. ``waiting``: in SAFE, to be armed. ``stopped``: after a fault or an e-stop, until it is reset."""

Refusal = Literal["", "bad", "refused"]


@dataclass(frozen=True)
class Ask:
    """One request, as it was sent."""

    do: Verb
    as_name: str = ""
    """Who wants it; the user's name where it is not said."""
    take: bool = False
    """``own``: from another owner, too."""
    values: tuple[float, ...] = ()
    """``operate``: what the policy is to observe, in the order of :class:`OperatorStatus`."""
    dead_man: bool = False
    """``operate``: whether the switch is held."""
    at_ns: int = 0
    """``operate``: when that was so, CLOCK_MONOTONIC; 0: now."""


@dataclass(frozen=True)
class OwnerStatus:
    """Who owns the robot: the name that was said, and the user that the kernel says."""

    name: str
    uid: int


@dataclass(frozen=True)
class PolicyStatus:
    """One policy of a run."""

    bundle: str
    """SHA-256 of the bundle that it is from; empty where there is none."""
    state: str
    """``loading``, ``ready``, or how it ended; empty where there is and was none."""


@dataclass(frozen=True)
class LoopStatus:
    """How the loop stands; published by the run about fifty times a second."""

    at_ns: int
    """CLOCK_MONOTONIC of the publication: old where the supervisor hangs."""
    stage: Stage = "starting"
    mode: str = ""
    """Of the guardian; empty before it runs."""
    clock: str = ""
    ticks: int = 0
    armed: int = 0
    """How often the policy was put in charge."""
    arm_refused: int = 0
    arm_missing: tuple[str, ...] = ()
    """What kept the last ARM from happening."""
    fault: str = ""
    """Event that led to FALLBACK or STOPPED; empty where none is latched."""
    fault_tick: int = 0
    policy: PolicyStatus = PolicyStatus("", "loading")
    candidate: PolicyStatus = PolicyStatus("", "")
    """The policy that is listened to beside the acting one, and may take over."""
    restarts: int = 0
    """Policies that were started in place of one that died."""
    shadowed: int = 0
    """Actions of candidates that were recorded."""
    switched: int = 0
    """How often a candidate took over."""
    switch_refused: int = 0
    message: str = ""
    """For people: why it stands as it does, where there is something to say."""
    actions_late: int = 0
    states_lost: int = 0
    missed_periods: int = 0


@dataclass(frozen=True)
class OperatorValueStatus:
    """One value that an operator may say."""

    name: str
    unit: str
    low: float
    high: float
    timeout_value: float
    """What the policy observes where nothing fresh was said."""


@dataclass(frozen=True)
class OperatorStatus:
    """What an operator may say to a run, as its envelope has it."""

    values: tuple[OperatorValueStatus, ...]
    timeout_s: float
    dead_man: bool
    """Whether a switch has to be held while the policy is in charge."""


@dataclass(frozen=True)
class RunStatus:
    """A run, as its control socket tells."""

    name: str
    pid: int
    robot: str
    bundle: str
    """SHA-256."""
    recording: str
    started_unix_ns: int
    operator: OperatorStatus | None
    """None: the run takes nothing from an operator."""
    owner: OwnerStatus | None
    clients: int
    """Connections to the control socket, this one included."""
    loop: LoopStatus


@dataclass(frozen=True)
class Reply:
    """The answer to one request."""

    version: int
    do: str
    """What was asked for; empty where that could not be read."""
    refusal: Refusal
    """Empty: it was taken. ``bad``: it is no request. ``refused``: not now, or not from you."""
    message: str
    status: RunStatus | None


class BadRequest(ValueError):
    """A packet that is no request; the message says why."""


def encode_ask(ask: Ask) -> bytes:
    """Return the packet of a request."""
    said = {"do": ask.do, "as": ask.as_name, "take": ask.take}
    said |= {"values": ask.values, "dead_man": ask.dead_man, "at_ns": ask.at_ns}
    return json.dumps({"version": VERSION, **{key: value for key, value in said.items() if value}}).encode()


def decode_ask(packet: bytes) -> Ask:
    """Return the request in a packet.

    Raises:
        BadRequest: It holds none.
    """
    try:
        said = canonical.parse(packet, "The request")
    except SpecError as error:
        raise BadRequest(str(error)) from error
    if not isinstance(said, dict):
        raise BadRequest('The request is no JSON object. Expected one such as {"do": "status"}.')
    do = said.pop("do", None)
    if do == "estop":
        return Ask("estop", _name(said.get("as"), strict=False))
    version = said.pop("version", VERSION)
    if version != VERSION:
        raise BadRequest(
            f"The request has version {version!r}; this run speaks version {VERSION}. Use the same edgerl."
        )
    if do not in VERBS:
        raise BadRequest(f"The request is to do {_short(do)}. Valid: {', '.join(VERBS)}.")
    name, take, dead_man = _name(said.pop("as", None)), _flag(said, "take"), _flag(said, "dead_man")
    ask = Ask(do, name, take, _values(said.pop("values", [])), dead_man, _stamp(said.pop("at_ns", 0)))
    if said:
        known = "do, as, take, values, dead_man, at_ns, version"
        raise BadRequest(f"The request has an unknown key {_short(min(said))}. Known: {known}.")
    return ask


def encode_reply(reply: Reply) -> bytes:
    """Return the packet of an answer."""
    return canonical.dumps(reply).encode()


def decode_reply(packet: bytes) -> Reply:
    """Return the answer in a packet.

    Raises:
        SpecError: It holds none, or one of another version.
    """
    said = canonical.parse(packet, "The run's answer")
    version = said.get("version") if isinstance(said, dict) else None
    if version != VERSION:
        raise SpecError(f"The run answered in version {version!r}, this is {VERSION}. Use the edgerl that started it.")
    return canonical.from_plain(Reply, said, "The run's answer")


def _name(value: object, *, strict: bool = True) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and 0 < len(value) <= MAX_OWNER and value.isprintable():
        return value
    if strict:
        raise BadRequest(
            f"The name {_short(value)} cannot be an owner's. Valid: 1 to {MAX_OWNER} printable characters."
        )
    return ""


def _values(given: object) -> tuple[float, ...]:
    if not isinstance(given, list) or len(given) > MAX_VALUES or not all(map(_is_number, given)):
        raise BadRequest(f"values is {_short(given)}. Expected a list of up to {MAX_VALUES} finite numbers below 1e30.")
    return tuple(map(float, given))


def _is_number(one: object) -> bool:
    return isinstance(one, (int, float)) and not isinstance(one, bool) and abs(one) < 1e30


def _stamp(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**63:
        raise BadRequest(f"at_ns is {_short(given)}. Expected nanoseconds of CLOCK_MONOTONIC.")
    return given


def _flag(said: dict[str, Any], key: str) -> bool:
    value = said.pop(key, False)
    if not isinstance(value, bool):
        raise BadRequest(f"{key} is {_short(value)}. Expected true or false.")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
