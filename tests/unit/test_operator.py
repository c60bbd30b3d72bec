"""The operator channel: which values a policy observes, what the envelope says of them, what the guardian is told."""

from __future__ import annotations

import ctypes
import math
from dataclasses import replace

import pytest

from edgerl import canonical
from edgerl.backends import Engine
from edgerl.envelope import Envelope, check_envelope, default_envelope
from edgerl.envelope.file import parse_envelope
from edgerl.envelope.operator import Operator, OperatorLimit
from edgerl.errors import EnvelopeError
from edgerl.operator_values import OperatorValue, operator_indices, operator_values
from edgerl.runtime import core
from edgerl.runtime.envelope_config import _apply_operator
from edgerl.runtime.layout import layout_of
from edgerl.runtime.load import Load
from edgerl.runtime.recording import policy_arrays, record_dtype
from edgerl.runtime.run import RunOptions, configure
from edgerl.runtime.structs import Ring
from edgerl.spec import History, Input, PolicySpec, Term, opaque_term
from tests import loop_parts
from tests.loop_parts import MS

PLAIN = loop_parts.spec_of(20 * MS)
BASE = """
schema = 1
on_reject = "hold"
safe_command = [0.0]
[loop]
budget_s = 0.01
valid_for_s = 0.04
state_timeout_s = 0.1
degrade = { misses = 3, of_ticks = 20 }
[ladder]
hold_s = 0.1
safe_s = 1.0
[default]
low = -2.0
high = 2.0
max_rate = inf
"""
CHANNEL = """
[operator]
timeout_s = 0.5
dead_man = true
[operator.values."velocity[0]"]
low = -0.5
high = 1.0
[operator.values."velocity[1]"]
low = -0.25
high = 0.25
timeout_value = 0.125
[operator.values.height]
low = 0.2
high = 0.4
timeout_value = 0.3
"""


def term(name: str, start: int, stop: int, unit: str | None = None, history: History | None = None) -> Term:
    return Term(name, start, stop, "operator", unit, None, (), None, None, None, history)


def steered(*terms: Term) -> PolicySpec:
    size = max(one.stop for one in terms)
    return replace(PLAIN, inputs=(Input("observation", (size,), "float32", 0, terms),))


STATE = replace(opaque_term("state", 1), start=2, stop=3)
WALKER = steered(term("velocity", 0, 2, "m/s"), STATE, term("height", 3, 4, "m"))


def envelope(text: str = CHANNEL, spec: PolicySpec = WALKER) -> Envelope:
    return parse_envelope((BASE + text).encode(), "envelope.toml", spec)


def test_values_are_the_elements_of_the_operators_terms() -> None:
    assert operator_values(WALKER) == (
        OperatorValue("velocity[0]", "m/s"),
        OperatorValue("velocity[1]", "m/s"),
        OperatorValue("height", "m"),
    )
    assert operator_indices(WALKER) == {"velocity[0]": 0, "velocity[1]": 1, "height": 2}
    assert operator_values(PLAIN) == ()


def test_a_history_repeats_its_values_and_the_same_term_elsewhere_is_the_same_wish() -> None:
    past = History(3, "oldest_first", "term_major", "zeros")
    spec = steered(term("velocity", 0, 6, "m/s", past))
    again = replace(
        spec, inputs=(*spec.inputs, Input("observation.critic", (2,), "float32", 64, (term("velocity", 0, 2),)))
    )
    assert [value.name for value in operator_values(again)] == ["velocity[0]", "velocity[1]"]


def test_the_file_says_limits_what_stands_in_and_whether_a_switch_is_held() -> None:
    assert envelope().operator == Operator(
        (
            OperatorLimit("velocity[0]", -0.5, 1.0, 0.0),
            OperatorLimit("velocity[1]", -0.25, 0.25, 0.125),
            OperatorLimit("height", 0.2, 0.4, 0.3),
        ),
        500 * MS,
        dead_man=True,
    )
    only = envelope("[operator]\ntimeout_s = 0.2\ndead_man = true\n", PLAIN)
    assert only.operator == Operator((), 200 * MS, dead_man=True)
    assert envelope("", PLAIN).operator is None


def test_an_envelope_with_and_one_without_an_operator_are_read_back_as_they_were() -> None:
    for one in (envelope(), envelope("", PLAIN)):
        assert canonical.loads(Envelope, canonical.dumps(one), "it") == one
    assert "operator" not in canonical.dumps(envelope("", PLAIN))  # older documents keep their bytes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"observes what an operator wants \(velocity\[0\], velocity\[1\], height\), and nothing limits it"),
        (CHANNEL.replace("timeout_s = 0.5", "timeout_s = 0.0"), "operator.timeout_s is 0, valid is more than 0 to 10"),
        (CHANNEL.replace("timeout_s = 0.5", "timeout_s = 11.0"), "operator.timeout_s is 11"),
        (CHANNEL.replace("timeout_s = 0.5", "timeout_s = nan"), "timeout_s is nan"),
        (CHANNEL.replace("timeout_s = 0.5", "timeout_s = -1.0"), "timeout_s is -1"),
        (CHANNEL.replace("timeout_s = 0.5", ""), "timeout_s is missing"),
        (CHANNEL.replace("high = 1.0", "high = -0.5"), r"'velocity\[0\]': low is -0.5 and high -0.5"),
        (CHANNEL.replace("high = 1.0", "high = 1e39"), r"'velocity\[0\]': low is -0.5 and high 1e\+39"),
        (CHANNEL.replace("high = 1.0", "high = inf"), "finite number"),
        (CHANNEL.replace("high = 0.4", ""), "high is missing"),
        (CHANNEL.replace("timeout_value = 0.3", ""), r"'height': timeout_value 0 is outside \[0.2, 0.4\]"),
        (CHANNEL.replace("values.height", "values.speed"), r"no operator value 'speed'. Its values: velocity\[0\]"),
        (CHANNEL[: CHANNEL.index("[operator.values.height]")], "operator value 'height' has no limits"),
        (CHANNEL.replace("dead_man = true", "dead_man = 1"), "dead_man is 1. Expected true or false"),
        (CHANNEL.replace("dead_man", "deadman"), "unknown key 'deadman'"),
        (CHANNEL.replace("low = 0.2", "low = 0.2\nstep = 1"), "unknown key 'step'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(text, words) -> None:
    with pytest.raises(EnvelopeError, match=words):
        envelope(text)


def test_limits_for_what_a_policy_does_not_observe_are_refused() -> None:
    operator = Operator((OperatorLimit("height", 0.2, 0.4, 0.3),), 500 * MS, dead_man=False)
    with pytest.raises(EnvelopeError, match="its operator values are height; the policy's, in this order, none"):
        check_envelope(replace(envelope("", PLAIN), operator=operator), PLAIN)
    swapped = replace(envelope().operator, values=envelope().operator.values[::-1])
    with pytest.raises(EnvelopeError, match="its operator values are height, velocity"):
        check_envelope(replace(envelope(), operator=swapped), WALKER)


def test_a_table_that_says_nothing_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="says nothing; remove it"):
        envelope("[operator]\ntimeout_s = 0.2\n", PLAIN)


def test_more_values_than_the_guardian_has_room_for_are_refused() -> None:
    values = tuple(OperatorLimit(f"v[{index}]", 0.0, 1.0, 0.0) for index in range(17))
    with pytest.raises(EnvelopeError, match="17 values, valid is up to 16"):
        replace(envelope("", PLAIN), operator=Operator(values, MS, dead_man=False))


def test_no_envelope_is_derived_for_a_policy_that_is_steered() -> None:
    with pytest.raises(EnvelopeError, match=r"No envelope can be derived: the policy observes what an operator wants"):
        default_envelope(WALKER)


def test_the_guardian_is_told_the_same() -> None:
    config = core.new_config()
    _apply_operator(config, envelope().operator)
    assert (config.operator_count, config.operator_timeout_ns, config.dead_man) == (3, 500 * MS, 1)
    channels = [(one.low, one.high, one.timeout_value) for one in config.operators[:3]]
    assert channels[:2] == [(-0.5, 1.0, 0.0), (-0.25, 0.25, 0.125)]
    assert math.isclose(channels[2][2], 0.3, rel_tol=1e-6)
    untouched = core.new_config()
    _apply_operator(untouched, None)
    assert bytes(untouched) == bytes(core.new_config())


def test_a_recording_has_a_place_for_what_the_operator_wants() -> None:
    load = Load(Engine("onnxruntime", "here", "float32", "", WALKER, {}), b"", envelope(), "")
    config, arrays = configure(load, RunOptions()), policy_arrays(layout_of(WALKER), WALKER)
    record = record_dtype(arrays)
    assert core.ring_bytes(config) == ctypes.sizeof(Ring) + config.ring_capacity * record.itemsize
    assert [(one.name, one.unit) for one in arrays[-1].channels] == [
        ("velocity[0]", "m/s"), ("velocity[1]", "m/s"), ("height", "m"),
    ]  # fmt: skip
