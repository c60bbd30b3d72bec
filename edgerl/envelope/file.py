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
    MAX_TIME_NS,
    SCHEMA,
    ChannelLimits,
    Degrade,
    Envelope,
    FrameLimits,
    Ladder,
    OnReject,
    OnViolation,
    channel_names,
    check_envelope,
    discrete_channels,
)
from edgerl.errors import EnvelopeError
from edgerl.spec import Action, PolicySpec
from edgerl.toml import Table, parse_toml, read_toml

_TOP: Final = ("schema", "unit", "on_reject", "safe_command", "loop", "ladder", "frames", "default", "channels")
_LIMITS: Final = ("low", "high", "max_rate", "max_acceleration", "on_violation")


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
    loop = table.table("loop", ("budget_s", "valid_for_s", "state_timeout_s", "allow_lockstep", "degrade"))
    ladder = table.table("ladder", ("hold_s", "safe_s", "hold_reason"))
    degrade = loop.table("degrade", ("misses", "of_ticks"))
    try:
        envelope = Envelope(
            schema=schema,
            origin="file",
            channels=_channels(table, spec.action),
            safe_command=_safe_command(table, spec.action),
            on_reject=table.choice("on_reject", get_args(OnReject)),
            degrade=Degrade(degrade.integer("misses"), degrade.integer("of_ticks")),
            ladder=Ladder(
                hold_ns=_nanoseconds(ladder, "hold_s"),
                safe_ns=_nanoseconds(ladder, "safe_s"),
                hold_reason=ladder.text("hold_reason") if "hold_reason" in ladder else None,
            ),
            budget_ns=_nanoseconds(loop, "budget_s"),
            valid_for_ns=_nanoseconds(loop, "valid_for_s"),
            state_timeout_ns=_nanoseconds(loop, "state_timeout_s"),
            allow_lockstep=loop.boolean("allow_lockstep") if "allow_lockstep" in loop else False,
            frames=_frames(table),
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
    return FrameLimits(_nanoseconds(table.table("frames", ("max_age_s",)), "max_age_s"))


def _channels(table: Table, action: Action) -> tuple[ChannelLimits, ...]:
    if action.kind != "continuous":
        for key in ("default", "channels"):
            if key in table:
                raise EnvelopeError(
                    f"{table.where}: [{key}] limits a {action.kind} action; its choices are its only limits. Remove it."
                )
        return discrete_channels(action)
    default = table.table("default", _LIMITS) if "default" in table else None
    own = _own_tables(table, channel_names(action))
    return tuple(_limits(table, name, own.get(name), default) for name in channel_names(action))


def _own_tables(table: Table, names: tuple[str, ...]) -> dict[str, Table]:
    """Return the table of each channel that has one, by the channel's name."""
    keys = table.keys("channels")
    own: dict[str, Table] = {}
    for key in keys:
        name = _channel(table, key, names)
        if name in own:
            raise EnvelopeError(f"{table.where}: [channels] gives channel {name!r} twice, by name and by index.")
        own[name] = table.table("channels", keys).table(key, _LIMITS)
    return own


def _channel(table: Table, key: str, names: tuple[str, ...]) -> str:
    if key in names:
        return key
    if key.isascii() and key.isdigit() and len(key) < 6 and int(key) < len(names):
        return names[int(key)]
    raise EnvelopeError(
        f"{table.where}: there is no channel {key!r}. "
        f"Channels: {', '.join(names)}, or their index 0 to {len(names) - 1}."
    )


def _limits(table: Table, name: str, own: Table | None, default: Table | None) -> ChannelLimits:
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
    return ChannelLimits(
        name=name,
        low=low,
        high=high,
        max_rate=number("max_rate", infinite=True),
        max_acceleration=number("max_acceleration", infinite=True, otherwise=math.inf),
        on_violation=violation.choice("on_violation", get_args(OnViolation)) if violation else "reject",
    )


def _safe_command(table: Table, action: Action) -> tuple[float, ...]:
    """Return the safe command, given as a list in the action's order or as a table by channel."""
    names = channel_names(action)
    if "safe_command" not in table or table.is_list("safe_command"):
        values = table.numbers("safe_command")
        if len(values) != len(names):
            raise EnvelopeError(f"{table.where}: safe_command has {len(values)} values for {len(names)} channels.")
        return values
    keys = table.keys("safe_command")
    values_by_key = table.table("safe_command", keys)
    given = {_channel(table, key, names): values_by_key.number(key) for key in keys}
    if len(given) != len(keys):
        raise EnvelopeError(f"{table.where}: safe_command gives a channel twice, by name and by index.")
    if missing := [name for name in names if name not in given]:
        raise EnvelopeError(f"{table.where}: safe_command has no value for channel {missing[0]!r}.")
    return tuple(given[name] for name in names)


def _nanoseconds(table: Table, key: str) -> int:
    seconds = table.number(key)
    if not 0 <= seconds <= MAX_TIME_NS / 1e9:
        raise EnvelopeError(f"{table.where}: {key} is {seconds:g}. Expected seconds, 0 to {MAX_TIME_NS / 1e9:g}.")
    return round(seconds * 1e9)
