"""Reading what the envelope file says about the inner law, the way into ACTIVE and the ladders.

Values of channels are given as one number for all, as a list in the order of the action, or as a table by channel.
What the file leaves out is taken from the policy's spec, where that knows it.
"""

from __future__ import annotations

from typing import Final, get_args

from edgerl.envelope import InnerLaw, Prepare
from edgerl.envelope.joints import Gains, channel_names, gains_of, law_problems
from edgerl.envelope.ladder import CLASSES, MAX_TIME_NS, Do, Ladder, Rung
from edgerl.errors import EnvelopeError
from edgerl.spec import PolicySpec
from edgerl.toml import Table

LAW_TABLES: Final = ("inner", "prepare", "gains", "damp")
"""Tables of the file that are read here, beside [ladder]."""


def read_ladder(table: Table) -> Ladder:
    """Return ``[ladder]``: the two times of all classes, rungs of single ones, or both."""
    ladder = table.table("ladder", ("hold_s", "safe_s", "hold_reason", *CLASSES))
    own = {name: _rungs(ladder.table(name, ("rungs",))) for name in CLASSES if name in ladder}
    complete = len(own) == len(CLASSES)
    for key in ("hold_s", "safe_s"):
        if complete and key in ladder:
            raise EnvelopeError(
                f"{ladder.where}: {key} is given, and every class of faults has rungs of its own. Remove one of both."
            )
    return Ladder(
        hold_ns=0 if complete else nanoseconds(ladder, "hold_s"),
        safe_ns=0 if complete else nanoseconds(ladder, "safe_s"),
        hold_reason=ladder.text("hold_reason") if "hold_reason" in ladder else None,
        policy=own.get("policy"),
        state=own.get("state"),
        machine=own.get("machine"),
    )


def read_inner_law(table: Table) -> InnerLaw:
    """Return ``[inner] law``; hold where the file says nothing."""
    return table.table("inner", ("law",)).choice("law", get_args(InnerLaw)) if "inner" in table else "hold"


def read_prepare(table: Table, spec: PolicySpec) -> Prepare | None:
    """Return ``[prepare]``; its pose is the policy's default pose where the file gives none."""
    if "prepare" not in table:
        return None
    prepare = table.table("prepare", ("duration_s", "pose", "kp", "kd", "blend_s"))
    duration_ns = nanoseconds(prepare, "duration_s")
    names = channel_names(spec.action)
    return Prepare(
        duration_ns=duration_ns,
        pose=_pose(prepare, names, spec) if duration_ns > 0 or "pose" in prepare else None,
        gains=read_gains(table, "prepare", names, spec),
        blend_ns=nanoseconds(prepare, "blend_s") if "blend_s" in prepare else 0,
    )


def read_gains(table: Table, key: str, names: tuple[str, ...], spec: PolicySpec) -> Gains | None:
    """Return kp and kd of a table; one that is missing is the policy's own, and both missing is None."""
    if key not in table:
        return None
    known = ("kp", "kd") if key == "gains" else ("duration_s", "pose", "kp", "kd", "blend_s")
    gains = table.table(key, known)
    given = {name: per_channel(gains, name, names, one_for_all=True) for name in ("kp", "kd") if name in gains}
    if not given:
        return None
    own = None if any(law_problems(spec)) else gains_of(spec)
    if own is None and len(given) < 2:
        missing = next(name for name in ("kp", "kd") if name not in given)
        raise EnvelopeError(f"{gains.where}: {missing} is missing, and the policy's spec has none to stand in for it.")
    return Gains(given.get("kp") or (own.kp if own else ()), given.get("kd") or (own.kd if own else ()))


def read_damping(table: Table, names: tuple[str, ...]) -> tuple[float, ...] | None:
    """Return ``[damp] kd``."""
    if "damp" not in table:
        return None
    return per_channel(table.table("damp", ("kd",)), "kd", names, one_for_all=True)


def per_channel(table: Table, key: str, names: tuple[str, ...], *, one_for_all: bool = False) -> tuple[float, ...]:
    """Return a value for each channel: a list in the action's order, or a table by channel, or one number for all."""
    if table.is_table(key):
        keys = table.keys(key)
        by_key = table.table(key, keys)
        given = {channel_of(table, item, names): by_key.number(item) for item in keys}
        if len(given) != len(keys):
            raise EnvelopeError(f"{table.where}: {key} gives a channel twice, by name and by index.")
        if missing := [name for name in names if name not in given]:
            raise EnvelopeError(f"{table.where}: {key} has no value for channel {missing[0]!r}.")
        return tuple(given[name] for name in names)
    if one_for_all and not table.is_list(key):
        return (table.number(key),) * len(names)
    values = table.numbers(key)
    if len(values) != len(names):
        raise EnvelopeError(f"{table.where}: {key} has {len(values)} values for {len(names)} channels.")
    return values


def channel_of(table: Table, key: str, names: tuple[str, ...]) -> str:
    """Return the name of the channel that a key means, by name or by index."""
    if key in names:
        return key
    if key.isascii() and key.isdigit() and len(key) < 6 and int(key) < len(names):
        return names[int(key)]
    raise EnvelopeError(
        f"{table.where}: there is no channel {key!r}. "
        f"Channels: {', '.join(names)}, or their index 0 to {len(names) - 1}."
    )


def nanoseconds(table: Table, key: str) -> int:
    """Return a time given in seconds."""
    seconds = table.number(key)
    if not 0 <= seconds <= MAX_TIME_NS / 1e9:
        raise EnvelopeError(f"{table.where}: {key} is {seconds:g}. Expected seconds, 0 to {MAX_TIME_NS / 1e9:g}.")
    return round(seconds * 1e9)


def _rungs(table: Table) -> tuple[Rung, ...]:
    return tuple(
        Rung(rung.choice("do", get_args(Do)), nanoseconds(rung, "for_s"))
        for rung in table.tables("rungs", ("do", "for_s"))
    )


def _pose(prepare: Table, names: tuple[str, ...], spec: PolicySpec) -> tuple[float, ...]:
    if "pose" in prepare:
        return per_channel(prepare, "pose", names)
    pose, joints = spec.robot.default_pose, spec.robot.joints
    if pose is None or any(name not in joints for name in names):
        raise EnvelopeError(
            f"{prepare.where}: pose is missing, and the policy has no default pose of the joints {', '.join(names)}."
        )
    return tuple(pose[joints.index(name)] for name in names)
