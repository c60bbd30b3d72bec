"""Writes the TOML file that asks for what a checkpoint does not say.

What is missing stands in it as commented-out lines with made-up values and the reason why somebody has to say it; what
is known stands beside it as comments. As written it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgerl.spec import Action, Input, PolicySpec, Robot, Term

_ACTION_EXAMPLES = {
    "names": '["hip", "knee"]',
    "unit": '"rad"',
    "meaning": '"position"  # or velocity, torque; opaque: as the environment takes it',
    "offset": "[0.0, 0.0]  # command = action * scale + offset, in the unit above",
    "scale": "[0.25, 0.25]",
}
_ROBOT_EXAMPLES = {
    "joints": '["hip", "knee"]  # in policy order',
    "default_pose": "[0.0, 0.0]  # rad or m",
    "kp": "[20.0, 20.0]  # Nm/rad or N/m",
    "kd": "[0.5, 0.5]",
    "pd": '"drive"  # who runs the inner law: drive, guardian or none',
    "quaternion_order": '"wxyz"  # or xyzw',
}
_TERM_EXAMPLES = {
    "source": '"joint_position"  # joint_velocity, imu.gyro, imu.gravity, operator, last_action_raw, phase, external',
    "unit": '"rad"',
    "frame": '"base"',
    "joints": '["hip", "knee"]',
    "offset": "[0.0, 0.0]  # the policy sees (value - offset) * scale",
    "scale": "[1.0, 1.0]",
    "clip": "[-5.0, 5.0]",
    "history": '{ length = 1, layout = "term_major", reset = "repeat" }',
}


def template(spec: PolicySpec) -> str:
    """Return the text of a file for ``edgerl export CKPT --spec FILE``, to be filled in by a person."""
    return "\n".join(_lines(spec)) + "\n"


def graph_template(inputs: str, outputs: str) -> str:
    """Return the text of the file for a graph that somebody else made, which does not say what its action is.

    Args:
        inputs: The graph's inputs with dtype and shape, for people.
        outputs: The graph's outputs with dtype and shape, for people.
    """
    lines = [
        "# What this graph does not say. Take the # away where you know the value; the first three have to be given.",
        f"# Its inputs: {_comment(inputs)}",
        f"# Its outputs: {_comment(outputs)}",
        "",
        "# period_s = 0.02  # or rate_hz = 50; the period in which the policy was trained",
        "",
        "[action]",
        '# kind = "continuous"  # or discrete, multi_discrete, multi_binary',
        "# low = [-1.0, -1.0]  # least value of each channel; -inf for none, 0 for choices",
        "# high = [1.0, 1.0]  # largest value of each channel; inf for none, number of choices minus one",
        *(f"# {name} = {example}" for name, example in _ACTION_EXAMPLES.items()),
        "",
        "[graph]",
        '# action = "actions"  # the output that is the action, or the logits; where there is more than one',
    ]
    return "\n".join(lines) + "\n"


def _lines(spec: PolicySpec) -> Iterator[str]:
    trainer = " ".join(filter(None, (spec.provenance.trainer, spec.provenance.trainer_version)))
    yield f"# What the checkpoint ({_comment(trainer)}) does not say. Take the # away where you know the value."
    yield "# Values after 'known:' were read from the checkpoint and need not be repeated."
    missing = spec.unknowns()
    if missing:
        yield "#"
        yield "# The robot cannot run without:"
        yield from (f"#   {item.field}: {item.why}" for item in missing)
    yield ""
    yield from _period(spec)
    yield "# override = []  # fields that the checkpoint says and that you say otherwise, on purpose"
    yield ""
    yield from _action(spec.action)
    yield ""
    yield from _robot(spec.robot)
    for item in spec.inputs:
        yield from _input(item)


def _period(spec: PolicySpec) -> Iterator[str]:
    if spec.period_ns is None:
        yield "# period_s = 0.02  # or rate_hz = 50; the period in which the policy was trained"
    else:
        yield f"# known: period_s = {spec.period_ns / 1e9!r}"


def _action(action: Action) -> Iterator[str]:
    yield "[action]"
    yield f"# known: {action.kind}, {action.size} channels, low {_value(action.low)}, high {_value(action.high)}"
    yield from _fields(action, _ACTION_EXAMPLES)


def _robot(robot: Robot) -> Iterator[str]:
    yield "[robot]"
    yield from _fields(robot, _ROBOT_EXAMPLES)


def _input(item: Input) -> Iterator[str]:
    shape = " x ".join(str(axis) for axis in item.shape)
    yield ""
    yield f"# {item.name}: {shape} {item.dtype}"
    if len(item.shape) > 1:  # an image has no joints
        return
    for term in item.terms:
        yield f"[terms.{_quoted(f'{item.name}.{term.name}')}]"
        yield f"# elements {term.start} to {term.stop - 1}, source {term.source}"
        yield from _fields(term, _TERM_EXAMPLES)
    if _is_opaque(item) and item.size > 1:
        half = item.size // 2
        yield "# To split it into terms of your own, write instead, until all elements are covered:"
        yield f"# [terms.{_quoted(f'{item.name}.joint_position')}]"
        yield f"# slice = [0, {half}]  # first element, one past the last"
        yield '# source = "joint_position"'


def _fields(part: Action | Robot | Term, examples: dict[str, str]) -> Iterator[str]:
    for name, example in examples.items():
        value = getattr(part, name)
        if value in (None, (), "opaque", "none"):
            yield f"# {name} = {example}"
        else:
            yield f"# known: {name} = {_value(value)}"


def _is_opaque(item: Input) -> bool:
    return len(item.terms) == 1 and item.terms[0].source == "opaque"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    return _quoted(value) if isinstance(value, str) else _comment(repr(value))


def _quoted(text: str) -> str:
    """Return a TOML string; whatever a checkpoint calls its parts, it stays one."""
    plain = (one if one.isprintable() and one not in '"\\' else f"\\U{ord(one):08x}" for one in text)
    return f'"{"".join(plain)}"'


def _comment(text: str) -> str:
    """Keep a text that came from a checkpoint inside its comment."""
    return "".join(character if character.isprintable() else " " for character in text)
