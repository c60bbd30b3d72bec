"""Reading the envelope file, a TOML file that a person writes beside the policy.

Everything about a form of the file is in ``docs/envelope.md``; what the values mean and what contradicts itself is in
:mod:`edgerl.envelope`. Channels are named as the spec names them, or by their index; ``[default]`` fills what a
channel's own table does not say.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, get_args

from edgerl.envelope import (
    ChannelLimits,
    Clock,
    Degrade,
    Envelope,
    FrameLimits,
    OnReject,
    OnViolation,
    check_envelope,
    command_box,
    discrete_channels,
)
from edgerl.envelope.check import SCHEMA
from edgerl.envelope.joints import channel_names, closes_loop
from edgerl.envelope.law_file import (
    LAW_TABLES,
    channel_of,
    nanoseconds,
    per_channel,
    read_damping,
    read_gains,
    read_inner_law,
    read_ladder,
    read_prepare,
)
from edgerl.envelope.operator_file import read_operator
from edgerl.envelope.state_file import read_state
from edgerl.envelope.watchdog_file import read_watchdog
from edgerl.errors import EnvelopeError
from edgerl.spec import Action, PolicySpec
from edgerl.toml import Table, parse_toml, read_toml

_LOOP: Final = (
    *("budget_s", "valid_for_s", "state_timeout_s", "allow_lockstep", "degrade", "action_delay"),
    "inference_timeout_s",
    "clock",
)
_TOP: Final = (
    "schema",
    "unit",
    "on_reject",
    "safe_command",
    "loop",
    "ladder",
    "frames",
    "operator",
    "state",
    "watchdog",
    "default",
    "channels",
    *LAW_TABLES,
)
_LIMITS: Final = ("low", "high", "max_rate", "max_acceleration", "on_violation", "target_low", "target_high")


def read_envelope(path: Path | str, spec: PolicySpec) -> Envelope:
    """Return the envelope in a TOML file, resolved against and checked with the spec.

    Raises:
        EnvelopeError: Not readable, an unknown key, a missing value, or a contradiction; the message names key and
            value.
    """
    return _read(read_toml(Path(path), _TOP, EnvelopeError), spec)


def parse_envelope(data: bytes, where: str, spec: PolicySpec) -> Envelope:
    """Return the envelope in TOML text; ``where`` names it in errors.

    Raises:
        EnvelopeError: As :func:`read_envelope`.
    """
    return _read(parse_toml(data, where, _TOP, EnvelopeError), spec)


def _read(table: Table, spec: PolicySpec) -> Envelope:
    schema = table.integer("schema")
    if schema != SCHEMA:
        raise EnvelopeError(f"{table.where}: schema is {schema}. This edgerl reads {SCHEMA}.")
    if "unit" in table and table.text("unit") != spec.action.unit:
        raise EnvelopeError(
            f"{table.where}: unit is {table.text('unit')!r}; the policy's action has {spec.action.unit!r}."
        )
    loop = table.table("loop", _LOOP)
    degrade = loop.table("degrade", ("misses", "of_ticks"))
    try:
        prepare = read_prepare(table, spec)
        envelope = Envelope(
            schema=schema,
            origin="file",
            channels=_channels(table, spec),
            safe_command=_safe_command(table, spec.action),
            on_reject=table.choice("on_reject", get_args(OnReject)),
            degrade=Degrade(degrade.integer("misses"), degrade.integer("of_ticks")),
            ladder=read_ladder(table),
            budget_ns=nanoseconds(loop, "budget_s"),
            valid_for_ns=nanoseconds(loop, "valid_for_s"),
            state_timeout_ns=nanoseconds(loop, "state_timeout_s"),
            allow_lockstep=loop.boolean("allow_lockstep") if "allow_lockstep" in loop else False,
            inner_law=read_inner_law(table),
            prepare=prepare,
            safe_gains=read_gains(table, "gains", channel_names(spec.action), spec),
            damp_kd=read_damping(table, channel_names(spec.action)),
            frames=_frames(table),
            operator=read_operator(table, spec),
            action_delay=loop.integer("action_delay") if "action_delay" in loop else None,
            inference_timeout_ns=nanoseconds(loop, "inference_timeout_s") if "inference_timeout_s" in loop else None,
            clock=loop.choice("clock", get_args(Clock)) if "clock" in loop else "grid",
            state=read_state(table, spec, prepare),
            watchdog=read_watchdog(table),
        )
        check_envelope(envelope, spec)
    except EnvelopeError as error:
        if str(error).startswith(table.where):
            raise
        raise EnvelopeError(f"{table.where}: {error}") from error
    return envelope


def _frames(table: Table) -> FrameLimits | None:
    if "frames" not in table:
        return None
    return FrameLimits(nanoseconds(table.table("frames", ("max_age_s",)), "max_age_s"))


def _channels(table: Table, spec: PolicySpec) -> tuple[ChannelLimits, ...]:
    action = spec.action
    if action.kind != "continuous":
        for key in ("default", "channels"):
            if key in table:
                raise EnvelopeError(
                    f"{table.where}: [{key}] limits a {action.kind} action; its choices are its only limits. Remove it."
                )
        return discrete_channels(action)
    default = table.table("default", _LIMITS) if "default" in table else None
    names = channel_names(action)
    own = _own_tables(table, names)
    boxes: tuple[tuple[float, float] | None, ...] = command_box(action) if closes_loop(spec) else (None,) * len(names)
    return tuple(_limits(table, name, own.get(name), default, box=box) for name, box in zip(names, boxes, strict=True))


def _own_tables(table: Table, names: tuple[str, ...]) -> dict[str, Table]:
    """Return the table of each channel that has one, by the channel's name."""
    keys = table.keys("channels")
    own: dict[str, Table] = {}
    for key in keys:
        name = channel_of(table, key, names)
        if name in own:
            raise EnvelopeError(f"{table.where}: [channels] gives channel {name!r} twice, by name and by index.")
        own[name] = table.table("channels", keys).table(key, _LIMITS)
    return own


def _limits(
    table: Table, name: str, own: Table | None, default: Table | None, *, box: tuple[float, float] | None
) -> ChannelLimits:
    """Return the limits of one channel; ``box`` stands in for targets that nobody limits, and is None without any."""

    def said_in(key: str) -> Table | None:
        return next((item for item in (own, default) if item is not None and key in item), None)

    def number(key: str, *, infinite: bool = False, otherwise: float | None = None) -> float:
        if (source := said_in(key)) is not None:
            return source.number(key, infinite=infinite)
        if otherwise is None:
            raise EnvelopeError(
                f"{table.where}: channel {name!r} has no {key}. Say it in [channels.{name}] or in [default]."
            )
        return otherwise

    low, high = number("low"), number("high")
    if not low < high:
        raise EnvelopeError(f"{table.where}: channel {name!r} has low {low:g}, which is not below high {high:g}.")
    violation = said_in("on_violation")
    targets = [
        number(key, otherwise=end) if end is not None or said_in(key) else None
        for key, end in zip(("target_low", "target_high"), box or (None, None), strict=True)
    ]
    return ChannelLimits(
        name=name,
        low=low,
        high=high,
        max_rate=number("max_rate", infinite=True),
        max_acceleration=number("max_acceleration", infinite=True, otherwise=math.inf),
        on_violation=violation.choice("on_violation", get_args(OnViolation)) if violation else "reject",
        target_low=targets[0],
        target_high=targets[1],
    )


def _safe_command(table: Table, action: Action) -> tuple[float, ...]:
    """Return the safe command, given as a list in the action's order or as a table by channel."""
    names = channel_names(action)
    if "safe_command" in table and not table.is_list("safe_command") and not table.is_table("safe_command"):
        raise EnvelopeError(f"{table.where}: safe_command is no list and no table by channel.")
    return per_channel(table, "safe_command", names)
