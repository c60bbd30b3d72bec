"""The command's channels: what the robot's inner law makes of each channel of the policy's action.

Without an inner law, or with one in drives that have gains of their own, a command channel is an action channel. Drives
that take gains get ``q[joint]``, ``kp[joint]`` and ``kd[joint]``. Where the guardian closes the loop they get
``tau[joint]``. Everything here follows from the spec alone, so that robot and controller agree on it; limits are the
envelope's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgerl.spec import Action, PolicySpec

Role = Literal["other", "position", "velocity", "torque", "kp", "kd"]
"""What a command channel means to the motor."""

_FORCES = {"rad": ("Nm", "Nm/rad", "Nms/rad"), "m": ("N", "N/m", "Ns/m")}
"""Force, position gain and damping gain by the unit of the position."""
_ROLES: dict[str, Role] = {"position": "position", "velocity": "velocity", "torque": "torque", "opaque": "other"}


@dataclass(frozen=True)
class CommandField:
    """One channel of the command."""

    name: str
    """As in the channel layout."""
    unit: str | None
    role: Role
    action: int
    """Channel of the action that it belongs to."""
    measured: str | None = None
    """State channel of the same quantity, or of the joint's position where the guardian closes the loop."""
    measured_rate: str | None = None
    """State channel of the joint's velocity, where the guardian closes the loop."""

    @property
    def acts(self) -> bool:
        """Whether it carries its channel of the action; gains do not."""
        return self.role not in ("kp", "kd")


@dataclass(frozen=True)
class Gains:
    """Gains of the inner law, one per channel of the action."""

    kp: tuple[float, ...]
    kd: tuple[float, ...]


def channel_names(action: Action) -> tuple[str, ...]:
    """Return the names of the action's channels: the spec's, or ``action[0]`` and so on where it has none."""
    return action.names or tuple(f"action[{index}]" for index in range(action.size))


def takes_gains(spec: PolicySpec) -> bool:
    """Return whether the drives are told position, kp and kd in every command."""
    return _has_law(spec) and spec.robot.pd == "drive" and spec.robot.kp is not None and spec.robot.kd is not None


def closes_loop(spec: PolicySpec) -> bool:
    """Return whether the guardian makes torques of the policy's positions."""
    return spec.robot.pd == "guardian"


def gains_of(spec: PolicySpec) -> Gains | None:
    """Return the policy's own gains in the order of the action; None where its robot takes none.

    Call it for a spec without :func:`law_problems`.
    """
    robot = spec.robot
    if not (takes_gains(spec) or closes_loop(spec)) or robot.kp is None or robot.kd is None:
        return None
    order = [robot.joints.index(name) for name in channel_names(spec.action)]
    return Gains(tuple(robot.kp[index] for index in order), tuple(robot.kd[index] for index in order))


def command_fields(spec: PolicySpec) -> tuple[CommandField, ...]:
    """Return the channels of the command, in the order of the layout; see :func:`law_problems`."""
    action, names = spec.action, channel_names(spec.action)
    force, stiffness, damping = _FORCES.get(action.unit or "", (None, None, None))
    if closes_loop(spec):
        return tuple(
            CommandField(f"tau[{name}]", force, "torque", index, f"q[{name}]", f"dq[{name}]")
            for index, name in enumerate(names)
        )
    role = _ROLES[action.meaning]
    measures = {"position": "q", "velocity": "dq"}.get(role)
    carried = tuple(
        CommandField(
            f"q[{name}]" if takes_gains(spec) else name,
            action.unit,
            role,
            index,
            f"{measures}[{name}]" if measures and name in spec.robot.joints else None,
        )
        for index, name in enumerate(names)
    )
    if not takes_gains(spec):
        return carried
    gains: tuple[tuple[Role, str | None], ...] = (("kp", stiffness), ("kd", damping))
    return carried + tuple(
        CommandField(f"{gain}[{name}]", unit, gain, index) for gain, unit in gains for index, name in enumerate(names)
    )


def law_problems(spec: PolicySpec) -> Iterator[str]:
    """Yield what the spec leaves open about an inner law that the command needs."""
    if not (takes_gains(spec) or closes_loop(spec)):
        return
    who = "the guardian closes the joints' loop" if closes_loop(spec) else "the drives take gains"
    if not _has_law(spec):
        yield f"{who}, and the action is a {spec.action.kind} {spec.action.meaning}; only positions have such a law"
        return
    if spec.robot.kp is None or spec.robot.kd is None:
        yield f"{who}, and the spec has no kp and kd"
    for name in channel_names(spec.action):
        if name not in spec.robot.joints:
            yield f"{who}, and action channel {name!r} is no joint of the robot"
    if spec.action.unit not in _FORCES:
        yield f"{who}, and positions are in {spec.action.unit!r}; gains are known per {' or '.join(_FORCES)}"


def _has_law(spec: PolicySpec) -> bool:
    return spec.action.kind == "continuous" and spec.action.meaning == "position"
