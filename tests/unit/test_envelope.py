from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl import canonical
from edgerl.envelope import Envelope, check_envelope, default_envelope
from edgerl.envelope.file import parse_envelope, read_envelope
from edgerl.envelope.ladder import hold_limit_ns
from edgerl.errors import EdgerlError, EnvelopeError
from edgerl.runtime import core
from edgerl.runtime.enums import OnViolation, Source
from edgerl.runtime.envelope_config import apply_envelope, target_channels
from edgerl.runtime.layout import layout_of
from edgerl.spec import SCHEMA, Action, PolicySpec, Provenance, Robot, opaque_term, packed
from edgerl.spec import Input as SpecInput

EXAMPLE = Path(__file__).parents[2] / "examples" / "halfcheetah" / "envelope.toml"
NAMES = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")

SMALL = """
schema = 1
unit = "rad"
on_reject = "hold"
safe_command = [0.0, 0.1]
[loop]
budget_s = 0.01
valid_for_s = 0.05
state_timeout_s = 0.1
degrade = { misses = 3, of_ticks = 20 }
[ladder]
hold_s = 0.1
safe_s = 1.0
[default]
low = -1.0
high = 1.0
max_rate = 10
[channels.knee]
high = 0.5
on_violation = "saturate"
max_acceleration = 200.0
"""


def spec_of(**action: Any) -> PolicySpec:
    values: dict[str, Any] = {
        "kind": "continuous", "names": ("hip", "knee"), "unit": "rad", "meaning": "position", "low": (-1.0, -1.0),
        "high": (1.0, 1.0), "clipped_in_graph": True, "raw": False, "offset": None, "scale": None,
    }  # fmt: skip
    values.update(action)
    robot = Robot((), None, None, None, "none", None, 1)
    inputs = packed([SpecInput("observation", (3,), "float32", 0, (opaque_term("observation", 3),))])
    provenance = Provenance("test", None, None, {}, {}, None, ())
    return PolicySpec(SCHEMA, inputs, Action(**values), robot, 20_000_000, (), provenance, {})


CHEETAH = dataclasses.replace(
    spec_of(names=NAMES, unit=None, meaning="opaque", low=(-1.0,) * 6, high=(1.0,) * 6), period_ns=50_000_000
)
GRIPPER = spec_of(
    kind="multi_discrete", names=None, unit=None, meaning="opaque", low=(0.0, 0.0), high=(2.0, 4.0),
)  # fmt: skip


def small(old: str = "", new: str = "", spec: PolicySpec | None = None) -> Envelope:
    assert old in SMALL
    return parse_envelope(SMALL.replace(old, new).encode(), "envelope.toml", spec or spec_of())


def test_a_channel_that_could_never_set_out_is_refused():
    fast = dataclasses.replace(spec_of(), period_ns=250_000)  # 4 kHz: 3.8 rad/s2 is one float32 beside 3.14 in a period
    joint = {"low = -1.0": "low = -3.14", "high = 1.0": "high = 3.14", "= 0.01": "= 0.0001", "= 200.0": "= 3.0"}
    text = SMALL
    for old, new in joint.items():
        text = text.replace(old, new)
    text = text.replace("high = 0.5", "high = 3.0")
    with pytest.raises(EnvelopeError, match=r"knee could not set out: max_acceleration = 3 .* valid is 3\.81 or more"):
        check_envelope(parse_envelope(text.encode(), "envelope.toml", fast), fast)
    enough = text.replace("max_acceleration = 3.0", "max_acceleration = 4.0")
    check_envelope(parse_envelope(enough.encode(), "envelope.toml", fast), fast)


def test_the_example_fits_its_policy() -> None:
    envelope = read_envelope(EXAMPLE, CHEETAH)
    assert [channel.name for channel in envelope.channels] == list(NAMES)
    assert {(channel.low, channel.high, channel.max_rate) for channel in envelope.channels} == {(-1.0, 1.0, math.inf)}
    assert (envelope.budget_ns, envelope.valid_for_ns, envelope.allow_lockstep) == (20_000_000, 100_000_000, True)


def test_a_channels_own_table_goes_before_the_default() -> None:
    hip, knee = small().channels
    assert (hip.high, hip.max_rate, hip.max_acceleration, hip.on_violation) == (1.0, 10.0, math.inf, "reject")
    assert (knee.low, knee.high, knee.max_acceleration, knee.on_violation) == (-1.0, 0.5, 200.0, "saturate")
    assert small("[channels.knee]", "[channels.1]") == small()


def test_the_safe_command_may_be_given_by_name_or_index() -> None:
    assert small("[0.0, 0.1]", "{ knee = 0.1, hip = 0 }") == small()
    assert small("[0.0, 0.1]", "{ knee = 0.1, 0 = 0.0 }") == small()


def test_an_envelope_reads_back_bit_for_bit() -> None:
    for envelope in (small(), default_envelope(CHEETAH), default_envelope(GRIPPER)):
        text = canonical.dumps(envelope)
        assert canonical.loads(Envelope, text, "envelope") == envelope
        assert canonical.dumps(canonical.loads(Envelope, text, "envelope")) == text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("on_reject", "onreject", r"unknown key 'onreject'. Known keys: channels, damp, default, frames, gains"),
        ("schema = 1", "schema = 2", r"schema is 2. This edgerl reads 1"),
        ('unit = "rad"', 'unit = "deg"', r"unit is 'deg'; the policy's action has 'rad'"),
        ('"hold"', '"stop"', r"on_reject is 'stop'. Valid: hold, safe, lapse"),
        ("[0.0, 0.1]", "[0.0]", r"safe_command has 1 values for 2 channels"),
        ("[0.0, 0.1]", "{ knee = 0.1 }", r"safe_command has no value for channel 'hip'"),
        ("[0.0, 0.1]", "{ knee = 0.1, hip = 0, 1 = 0 }", r"gives a channel twice"),
        ("[0.0, 0.1]", "[0.0, nan]", r"safe_command\[1\] is nan. Expected a finite number"),
        ("[0.0, 0.1]", "[0.0, 0.6]", r"channel 'knee': the safe command 0.6 is outside \[-1, 0.5\]"),
        ("[0.0, 0.1]", "[0.0, true]", r"safe_command\[1\] is True"),
        ("budget_s = 0.01", "budget_s = 0.02", r"budget_s is 0.02 s, valid is less than the control period of 0.02 s"),
        ("budget_s = 0.01", "budget_s = 0", r"budget_s is 0 s, valid is more than 0"),
        ("budget_s = 0.01", "budget_s = -1", r"budget_s is -1. Expected seconds"),
        ("budget_s = 0.01", "budget_s = inf", r"budget_s is inf. Expected a finite number"),
        ("valid_for_s = 0.05", "valid_for_s = 0.01", r"valid_for_s is 0.01 s, valid is the control period of 0.02 s"),
        ("state_timeout_s = 0.1", "state_timeout_s = 0.01", r"state_timeout_s is 0.01 s"),
        ("misses = 3", "misses = 0", r"degrade says 0 misses of 20 ticks"),
        ("misses = 3", "misses = 21", r"degrade says 21 misses of 20 ticks"),
        ("of_ticks = 20", "of_ticks = 2000", r"misses <= of_ticks <= 1024"),
        ("misses = 3", "misses = 3.0", r"misses is 3.0. Expected an integer"),
        ("hold_s = 0.1", "hold_s = 4000", r"hold_s is 4000. Expected seconds, 0 to 3600"),
        ("low = -1.0", "low = 1.0", r"channel 'hip' has low 1, which is not below high 1"),
        ("low = -1.0", "low = 2.0", r"channel 'hip' has low 2, which is not below high 1"),
        ("low = -1.0", "low = -inf", r"low is -inf. Expected a finite number"),
        ("low = -1.0", "low = -1e39", r"low is -1e\+39 and high 1, valid are finite float32"),
        ("low = -1.0", "# low", r"channel 'hip' has no low. Say it in \[channels.hip\] or in \[default\]"),
        ("max_rate = 10", "# rate", r"channel 'hip' has no max_rate"),
        ("max_rate = 10", "max_rate = 0", r"channel 'hip': max_rate is 0, valid is more than 0"),
        ("max_rate = 10", "max_rate = nan", r"max_rate is nan. Expected a number, or inf"),
        ("max_rate = 10", "max_rate = -inf", r"max_rate is -inf"),
        ("max_rate = 10", "max_rate = 1" + "0" * 400, r"max_rate is 1000"),
        ("max_acceleration = 200.0", "max_acceleration = -1", r"channel 'knee': max_acceleration is -1"),
        ('"saturate"', '"clamp"', r"on_violation is 'clamp'. Valid: reject, saturate"),
        ("[channels.knee]", "[channels.ankle]", r"no channel 'ankle'. Channels: hip, knee, or their index 0 to 1"),
        ("[channels.knee]", "[channels.2]", r"no channel '2'"),
        ("[channels.knee]", "[channels.1]\nlow = 0.0\n[channels.knee]", r"channel 'knee' twice, by name and by index"),
        ("[default]", "[defaults]", r"unknown key 'defaults'"),
        ("[default]", "[default", r"not valid TOML"),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused_by_key_and_value(old: str, new: str, message: str) -> None:
    with pytest.raises(EnvelopeError, match=message) as caught:
        small(old, new)
    assert str(caught.value).startswith("envelope.toml")


@pytest.mark.parametrize("meaning", ["velocity", "torque", "opaque"])
def test_holding_a_command_that_keeps_the_robot_moving_needs_a_reason(meaning: str) -> None:
    spec = spec_of(meaning=meaning)
    assert small(spec=spec).ladder.hold_ns == hold_limit_ns(20_000_000)
    with pytest.raises(EnvelopeError, match=r"ladder.hold_s is 0.101 s .* beyond 0.1 s ladder.hold_reason"):
        small("hold_s = 0.1", "hold_s = 0.101", spec)
    reasoned = small("hold_s = 0.1", 'hold_s = 0.101\nhold_reason = "The arm hangs."', spec)
    assert reasoned.ladder.hold_reason == "The arm hangs."
    assert small("hold_s = 0.1", "hold_s = 5.0", spec_of(meaning="position")).ladder.hold_ns == 5_000_000_000


def test_one_slow_period_may_always_be_held() -> None:
    assert hold_limit_ns(500_000_000) == 500_000_000


def test_limits_that_are_one_float32_are_refused_as_empty() -> None:
    knee = dataclasses.replace(small().channels[1], low=0.49999999999)
    envelope = dataclasses.replace(small(), channels=(small().channels[0], knee), safe_command=(0.0, 0.5))
    with pytest.raises(EnvelopeError, match=r"channel 'knee': low 0.5 is not below high 0.5"):
        check_envelope(envelope, spec_of())


def test_discrete_actions_have_no_limits_but_their_choices() -> None:
    text = SMALL[: SMALL.index("[default]")].replace("0.1]", "3.0]").replace('unit = "rad"', "")
    envelope = parse_envelope(text.encode(), "envelope.toml", GRIPPER)
    assert [(one.low, one.high, one.on_violation) for one in envelope.channels] == [
        (0.0, 2.0, "reject"),
        (0.0, 4.0, "reject"),
    ]
    with pytest.raises(EnvelopeError, match=r"\[default\] limits a multi_discrete action"):
        parse_envelope(SMALL.replace('unit = "rad"', "").encode(), "envelope.toml", GRIPPER)
    loose = dataclasses.replace(envelope.channels[0], on_violation="saturate")
    with pytest.raises(EnvelopeError, match=r"no other limits than its choices"):
        check_envelope(dataclasses.replace(envelope, channels=(loose, envelope.channels[1])), GRIPPER)


def test_an_envelope_of_another_policy_does_not_fit() -> None:
    with pytest.raises(EnvelopeError, match=r"its channels are hip, knee; the policy's, in this order, bthigh"):
        check_envelope(small(), CHEETAH)
    with pytest.raises(EnvelopeError, match=r"in this order, knee, hip"):
        check_envelope(small(), spec_of(names=("knee", "hip")))


def test_the_default_envelope_is_the_trainers_box_and_says_so() -> None:
    envelope = default_envelope(CHEETAH)
    check_envelope(envelope, CHEETAH)
    assert envelope.origin == "action_box"
    assert envelope.safe_command == (0.0,) * 6
    assert not envelope.allow_lockstep


def test_the_default_envelope_of_scaled_actions_is_in_the_units_of_the_command() -> None:
    spec = spec_of(
        meaning="torque", unit="Nm", low=(-2.0, -1.0), high=(1.0, 1.0), scale=(-10.0, 1.0), offset=(1.0, 0.0)
    )
    assert [(one.low, one.high) for one in default_envelope(spec).channels] == [(-9.0, 21.0), (-1.0, 1.0)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (spec_of(meaning="torque", high=(1.0, math.inf)), r"channel 'knee' has the action box \[-1, inf\]"),
        (spec_of(meaning="torque", low=(0.5, -1.0)), r"zero is outside \[0.5, 1\] of channel 'hip'"),
        (spec_of(meaning="position"), r"no default pose of the same joints"),
        (dataclasses.replace(CHEETAH, period_ns=None), r"no control period"),
    ],
)
def test_no_envelope_is_derived_from_what_is_not_known(spec: PolicySpec, message: str) -> None:
    with pytest.raises(EnvelopeError, match=message):
        default_envelope(spec)


def test_positions_are_safe_in_the_default_pose() -> None:
    robot = Robot(("hip", "knee"), (0.2, -0.4), None, None, "drive", None, 1)
    spec = dataclasses.replace(spec_of(), robot=robot)
    envelope = default_envelope(spec)
    check_envelope(envelope, spec)
    assert envelope.safe_command == (0.2, -0.4)


def test_an_envelope_out_of_a_file_of_bytes_is_checked_like_any_other() -> None:
    hip, knee = small().channels
    many = tuple(dataclasses.replace(hip, name=str(index)) for index in range(257))
    for changes, message in (
        ({"schema": 2}, r"schema is 2, this edgerl reads 1"),
        ({"channels": (), "safe_command": ()}, r"it has 0 channels, valid is 1 to 256"),
        ({"channels": many, "safe_command": (0.0,) * 257}, r"it has 257 channels"),
        ({"safe_command": (0.0,)}, r"safe_command has 1 values for 2 channels"),
        ({"channels": (dataclasses.replace(hip, high=math.inf), knee)}, r"'hip': low is -1 and high inf"),
        ({"channels": (dataclasses.replace(hip, max_rate=1e-60), knee)}, r"'hip': max_rate is 1e-60"),
        ({"valid_for_ns": -1}, r"valid_for_s is -1e-09 s"),
    ):
        with pytest.raises(EnvelopeError, match=message):
            dataclasses.replace(small(), **changes)


def test_what_the_envelope_says_stands_in_the_guardians_configuration() -> None:
    config = core.new_config()
    config.session, config.state_count, config.observation_bytes, config.ring_capacity = 1, 3, 64, 16
    config.arm_ticks = 10
    envelope = small()
    apply_envelope(config, envelope, spec_of(), layout_of(spec_of()))
    core.check_config(config)
    assert (config.period_ns, config.budget_ns, config.valid_for_ns) == (20_000_000, 10_000_000, 50_000_000)
    assert config.state_timeout_ns == 100_000_000
    for ladder in config.ladders:
        rungs = [(rung.source, rung.duration_ns) for rung in ladder.rungs[: ladder.count]]
        assert rungs == [(Source.HOLD, 100_000_000), (Source.SAFE, 1_000_000_000)]
    assert (config.bucket_limit, config.bucket_window, config.allow_lockstep) == (3, 20, 0)
    assert (config.on_reject, config.command_count, config.action_count) == (Source.HOLD, 2, 2)
    knee = config.commands[1]
    assert (knee.low, knee.high, knee.max_rate, knee.max_acceleration) == (-1.0, 0.5, 10.0, 200.0)
    assert (knee.safe, knee.on_violation) == (pytest.approx(0.1), OnViolation.SATURATE)
    assert math.isinf(config.commands[0].max_acceleration)


CAMERA = dataclasses.replace(
    spec_of(), inputs=(SpecInput("observation", (8, 8, 3), "uint8", 0, (opaque_term("observation", 192),)),)
)
FRAMES = SMALL + "[frames]\nmax_age_s = 0.04\n"


def test_a_policy_that_sees_needs_a_limit_for_the_age_of_what_it_sees() -> None:
    envelope = parse_envelope(FRAMES.encode(), "envelope.toml", CAMERA)
    assert envelope.frames is not None
    assert envelope.frames.max_age_ns == 40_000_000
    assert canonical.loads(Envelope, canonical.dumps(envelope), "envelope") == envelope
    with pytest.raises(EnvelopeError, match=r"observation is an image, .* \[frames\] max_age_s is missing"):
        parse_envelope(SMALL.encode(), "envelope.toml", CAMERA)
    with pytest.raises(EnvelopeError, match=r"limits for images \(\[frames\]\), and the policy observes none"):
        parse_envelope(FRAMES.encode(), "envelope.toml", spec_of())
    for value, message in (("0", "frames.max_age_s is 0 s, valid is more than 0"), ("-1", "max_age_s is -1. Expected")):
        with pytest.raises(EnvelopeError, match=message):
            parse_envelope(FRAMES.replace("0.04", value).encode(), "envelope.toml", CAMERA)


def test_the_default_envelope_of_a_policy_that_sees_allows_two_of_its_periods() -> None:
    robot = Robot(CAMERA.action.names or (), (0.2, -0.4), None, None, "none", None, 5)
    for spec, allowed in ((dataclasses.replace(CAMERA, robot=robot), 200_000_000), (CHEETAH, None)):
        frames = default_envelope(spec).frames
        assert (frames.max_age_ns if frames else None) == allowed


def test_an_envelope_without_images_has_the_bytes_that_it_always_had() -> None:
    assert "frames" not in canonical.dumps(small())


_ANY = st.floats(allow_nan=False) | st.floats(-2, 2, allow_nan=False)


@given(_ANY, _ANY, _ANY, _ANY, _ANY)
def test_what_the_envelope_accepts_the_guardian_accepts(
    low: float, high: float, safe: float, rate: float, acceleration: float
) -> None:
    hip = dataclasses.replace(small().channels[0], low=low, high=high, max_rate=rate, max_acceleration=acceleration)
    try:
        envelope = dataclasses.replace(small(), channels=(hip,), safe_command=(safe,))
    except EnvelopeError:
        return
    row = np.full((1, 1), safe, np.float32)
    replay = core.replay_envelope(target_channels(envelope), row, np.zeros(1, np.uint64), np.ones(1, bool))
    assert not replay.verdicts.any()
    assert replay.written == row


@given(st.binary(max_size=60), st.integers(0, len(SMALL)), st.integers(0, 40))
def test_no_damage_to_the_file_raises_anything_else(noise: bytes, start: int, length: int) -> None:
    text = SMALL.encode()
    try:
        parse_envelope(text[:start] + noise + text[start + length :], "envelope.toml", spec_of())
    except EdgerlError as error:
        assert type(error) is EnvelopeError
