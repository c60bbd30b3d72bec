"""The envelope's inner law, way into ACTIVE and ladders: what is refused, and what the guardian makes of it."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgerl import canonical
from edgerl.bundle.replay import replay_golden
from edgerl.envelope import Envelope, check_envelope, default_envelope
from edgerl.envelope.file import parse_envelope
from edgerl.envelope.joints import command_fields
from edgerl.envelope.ladder import Ladder, Rung
from edgerl.errors import EnvelopeError, EnvelopeRejectsPolicy, LoopError
from edgerl.golden import GoldenSet
from edgerl.runtime import core
from edgerl.runtime.enums import InnerLaw, LadderClass, OnViolation, Role, Source
from edgerl.runtime.envelope_config import apply_envelope
from edgerl.runtime.layout import Channel, Layout, layout_of
from edgerl.runtime.structs import Config
from edgerl.spec import PolicySpec, Robot
from tests.unit.test_envelope import SMALL, spec_of

KP, KD = (20.0, 30.0), (0.5, 0.75)
S = 1_000_000_000
BASE = SMALL.replace("[ladder]\nhold_s = 0.1\nsafe_s = 1.0\n", "")
TWO_TIMES = "[ladder]\nhold_s = 0.1\nsafe_s = 1.0\n"
TORQUES = TWO_TIMES + "[default]\nlow = -8.0\nhigh = 8.0\nmax_rate = inf\n"


def robot_of(pd: str, **changes: Any) -> Robot:
    # The joints of the robot are in another order than the action's.
    given = {"joints": ("knee", "hip"), "default_pose": (-0.4, 0.2), "kp": KP, "kd": KD, "pd": pd, **changes}
    return Robot(**{"quaternion_order": None, "policy_divider": 1, **given})


DRIVE = dataclasses.replace(spec_of(), robot=robot_of("drive"))
GUARDIAN = dataclasses.replace(spec_of(), robot=robot_of("guardian"))
STATE = tuple(Channel(name, "1") for name in ("dq[hip]", "q[knee]", "q[hip]", "dq[knee]"))


def parsed(text: str, spec: PolicySpec) -> Envelope:
    return parse_envelope(text.encode(), "envelope.toml", spec)


def drive(law: str = "", ladder: str = TWO_TIMES) -> Envelope:
    return parsed(BASE + ladder + law, DRIVE)


def guardian(law: str = "", spec: PolicySpec = GUARDIAN, limits: str = TORQUES) -> Envelope:
    head = BASE[: BASE.index("[default]")].replace("[0.0, 0.1]", "[0.0, 0.0]")
    return parsed(head + limits + law, spec)


def configured(envelope: Envelope, spec: PolicySpec) -> Config:
    """Return a configuration that the guardian has accepted."""
    config = core.new_config()
    config.session, config.state_count, config.observation_bytes, config.ring_capacity = 1, len(STATE), 64, 16
    config.arm_ticks = 10
    apply_envelope(config, envelope, spec, Layout(STATE, layout_of(spec).command))
    core.check_config(config)
    return config


def test_drives_that_take_gains_are_told_position_kp_and_kd_of_each_joint():
    channels = [(channel.name, channel.unit) for channel in layout_of(DRIVE).command]
    gains = [("kp[hip]", "Nm/rad"), ("kp[knee]", "Nm/rad"), ("kd[hip]", "Nms/rad"), ("kd[knee]", "Nms/rad")]
    assert channels == [("q[hip]", "rad"), ("q[knee]", "rad"), *gains]


def test_a_joint_whose_loop_the_guardian_closes_is_told_its_torque():
    assert [(channel.name, channel.unit) for channel in layout_of(GUARDIAN).command] == [
        ("tau[hip]", "Nm"),
        ("tau[knee]", "Nm"),
    ]
    sliding = dataclasses.replace(GUARDIAN, action=dataclasses.replace(GUARDIAN.action, unit="m"))
    assert {channel.unit for channel in layout_of(sliding).command} == {"N"}


@pytest.mark.parametrize(
    ("spec", "role"),
    [
        (spec_of(), "position"),
        (spec_of(meaning="velocity"), "velocity"),
        (spec_of(meaning="torque"), "torque"),
        (spec_of(meaning="opaque"), "other"),
        (dataclasses.replace(spec_of(), robot=robot_of("drive", kp=None)), "position"),
        (dataclasses.replace(spec_of(meaning="velocity"), robot=robot_of("drive")), "velocity"),
    ],
)
def test_without_gains_to_tell_a_command_channel_is_an_action_channel(spec, role):
    fields = command_fields(spec)
    assert [(field.name, field.unit, field.role) for field in fields] == [("hip", "rad", role), ("knee", "rad", role)]
    assert [channel.name for channel in layout_of(spec).command] == ["hip", "knee"]


@pytest.mark.parametrize(
    ("changes", "robot", "message"),
    [
        ({"meaning": "torque"}, {}, r"the guardian closes the joints' loop, and the action is a continuous torque"),
        ({}, {"kp": None}, r"the spec has no kp and kd"),
        ({"names": ("hip", "ankle")}, {}, r"action channel 'ankle' is no joint of the robot"),
        ({"unit": "deg"}, {}, r"positions are in 'deg'; gains are known per rad or m"),
    ],
)
def test_an_inner_law_that_lacks_something_is_refused_before_anything_starts(changes, robot, message):
    spec = dataclasses.replace(spec_of(**changes), robot=robot_of("guardian", **robot))
    with pytest.raises(LoopError, match=message):
        layout_of(spec)
    names = spec.action.names or ()
    limits = tuple(
        dataclasses.replace(channel, name=name) for channel, name in zip(guardian().channels, names, strict=True)
    )
    with pytest.raises(EnvelopeError, match=message):
        check_envelope(dataclasses.replace(guardian(), channels=limits), spec)


def test_gains_in_the_guardian_are_the_policys_by_joint_and_bounded_by_those_that_are_named():
    config = configured(drive("[gains]\nkp = 5.0\nkd = { hip = 1.0, knee = 2.0 }\n"), DRIVE)
    channels = config.commands[: config.command_count]
    assert (config.action_count, config.command_count) == (2, 6)
    assert [channel.action for channel in channels] == [0, 1, -1, -1, -1, -1]
    assert [channel.role for channel in channels] == [Role.POSITION] * 2 + [Role.KP] * 2 + [Role.KD] * 2
    assert [channel.measured for channel in channels] == [2, 1, -1, -1, -1, -1]
    assert [channel.nominal for channel in channels[2:]] == [30.0, 20.0, 0.75, 0.5]
    assert [channel.safe for channel in channels] == pytest.approx([0.0, 0.1, 5.0, 5.0, 1.0, 2.0])
    assert [channel.damp for channel in channels] == pytest.approx([0.0, 0.1, 0.0, 0.0, 0.75, 0.5])
    assert [(channel.low, channel.high) for channel in channels[2:]] == [(0, 30), (0, 20), (0.75, 1), (0.5, 2)]


def test_without_a_word_gains_are_the_policys_own_in_every_mode():
    config = configured(drive(), DRIVE)
    for channel, own in zip(config.commands[2:6], [30.0, 20.0, 0.75, 0.5], strict=True):
        assert (channel.nominal, channel.safe, channel.prepare) == (own, own, own)


def test_preparing_goes_to_the_default_pose_with_gains_of_its_own():
    config = configured(drive("[prepare]\nduration_s = 2.0\nkp = 60.0\nblend_s = 0.25\n"), DRIVE)
    assert (config.prepare_ns, config.blend_ns) == (2 * S, S // 4)
    prepared = [channel.prepare for channel in config.commands[: config.command_count]]
    assert prepared == pytest.approx([0.2, -0.4, 60.0, 60.0, 0.75, 0.5])


def test_preparing_goes_to_the_pose_that_the_file_gives():
    prepare = drive("[prepare]\nduration_s = 2.0\npose = { knee = 0.1, hip = -0.1 }\n").prepare
    assert prepare is not None
    assert (prepare.pose, prepare.gains, prepare.blend_ns) == ((-0.1, 0.1), None, 0)


def test_a_blend_needs_no_pose():
    config = configured(drive("[prepare]\nduration_s = 0\nblend_s = 0.5\n"), DRIVE)
    assert (config.prepare_ns, config.blend_ns) == (0, S // 2)


def test_the_guardian_gets_a_law_for_every_joint_whose_loop_it_closes():
    config = configured(guardian("[prepare]\nduration_s = 1.0\nkp = 90.0\nkd = 3.0\n[damp]\nkd = 2.5\n"), GUARDIAN)
    hip, knee = config.commands[:2]
    assert (config.command_count, config.action_count) == (2, 2)
    assert (hip.role, hip.pd, hip.measured, hip.measured_rate) == (Role.TORQUE, 1, 2, 0)
    assert (knee.measured, knee.measured_rate) == (1, 3)
    assert (hip.kp, hip.kd, hip.prepare_kp, hip.prepare_kd, hip.damp_kd) == (30.0, 0.75, 90.0, 3.0, 2.5)
    assert (knee.kp, knee.kd, hip.damp, hip.safe) == (20.0, 0.5, 0.0, 0.0)
    assert (hip.low, hip.high, hip.target_low, hip.target_high) == (-8.0, 8.0, -1.0, 1.0)
    assert hip.prepare == pytest.approx(0.2)


def test_the_targets_of_a_joint_have_limits_of_their_own():
    limits = TORQUES.replace("max_rate = inf", "max_rate = inf\ntarget_low = -0.5\n[channels.knee]\ntarget_high = 0.25")
    hip, knee = guardian(limits=limits).channels
    assert (hip.target_low, hip.target_high) == (-0.5, 1.0)
    assert (knee.target_low, knee.target_high) == (-0.5, 0.25)
    with pytest.raises(EnvelopeError, match=r"target_low is -0.5 and target_high -0.75, valid are two finite"):
        guardian(limits=limits.replace("0.25", "-0.75"))


def test_a_robot_that_does_not_say_how_its_joint_stands_cannot_have_its_loop_closed():
    config = core.new_config()
    with pytest.raises(LoopError, match=r"loop of tau\[hip\], and the robot's states have no channel dq\[hip\]"):
        apply_envelope(config, guardian(), GUARDIAN, Layout(STATE[1:], layout_of(GUARDIAN).command))


def test_no_envelope_is_derived_for_torques_that_nobody_limited():
    with pytest.raises(EnvelopeError, match=r"nobody said which torques"):
        default_envelope(GUARDIAN)
    assert default_envelope(DRIVE).safe_command == (0.2, -0.4)


def test_between_two_actions_the_guardian_holds_or_interpolates():
    assert configured(drive(), DRIVE).inner_law == InnerLaw.HOLD
    assert configured(drive('[inner]\nlaw = "interpolate"\n'), DRIVE).inner_law == InnerLaw.INTERPOLATE


def rungs_of(config: Config, fault: LadderClass) -> list[tuple[Source, int]]:
    ladder = config.ladders[fault]
    return [(Source(rung.source), rung.duration_ns) for rung in ladder.rungs[: ladder.count]]


def test_every_class_of_faults_may_have_rungs_of_its_own():
    ladder = """
[ladder.policy]
rungs = [{ do = "hold", for_s = 0.2 }, { do = "standby", for_s = 3 }, { do = "damp", for_s = 1 }]
[ladder.state]
rungs = [{ do = "damp", for_s = 1.5 }]
[ladder.machine]
rungs = [{ do = "safe", for_s = 0.5 }, { do = "lapse", for_s = 1 }]
"""
    config = configured(drive(ladder=ladder), DRIVE)
    policy = [(Source.HOLD, S // 5), (Source.STANDBY, 3 * S), (Source.DAMP, S)]
    assert rungs_of(config, LadderClass.POLICY) == policy
    assert rungs_of(config, LadderClass.STATE) == [(Source.DAMP, 3 * S // 2)]
    assert rungs_of(config, LadderClass.MACHINE) == [(Source.SAFE, S // 2), (Source.LAPSE, S)]
    assert drive(ladder=ladder).ladder.longest_ns == 4_200_000_000 + 1_500_000_000


def test_a_class_without_rungs_holds_and_is_safe_for_the_two_times():
    config = configured(drive(ladder=TWO_TIMES + '[ladder.state]\nrungs = [{ do = "damp", for_s = 1 }]\n'), DRIVE)
    for fault in (LadderClass.POLICY, LadderClass.MACHINE):
        assert rungs_of(config, fault) == [(Source.HOLD, S // 10), (Source.SAFE, S)]
    assert rungs_of(config, LadderClass.STATE) == [(Source.DAMP, S)]


def test_rungs_without_a_time_are_left_out():
    config = configured(drive(ladder="[ladder]\nhold_s = 0\nsafe_s = 1\n"), DRIVE)
    assert rungs_of(config, LadderClass.POLICY) == [(Source.SAFE, S)]


ONE_EACH = "".join(
    f'[ladder.{name}]\nrungs = [{{ do = "safe", for_s = 1 }}]\n' for name in ("policy", "state", "machine")
)


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        (TWO_TIMES + ONE_EACH, r"hold_s is given, and every class of faults has rungs of its own"),
        ("[ladder]\nhold_s = 0.1\n", r"safe_s is missing"),
        (ONE_EACH.replace('"safe"', '"wave"', 1), r"rungs\[0\]: do is 'wave'. Valid: hold, safe, damp, standby, lapse"),
        (ONE_EACH.replace("for_s", "s", 1), r"rungs\[0\]: unknown key 's'. Known keys: do, for_s"),
        (ONE_EACH.replace("for_s = 1", "for_s = -1", 1), r"for_s is -1. Expected seconds"),
        (ONE_EACH.replace("rungs = [", "rungs = [2, ", 1), r"rungs is \[2, .*Expected a list of tables"),
        (ONE_EACH.replace('[{ do = "safe", for_s = 1 }]', "[]", 1), r"ladder.policy has 0 rungs, valid is 1 to 4"),
        (ONE_EACH.replace("for_s = 1 }", "for_s = 1 }" + ', { do = "safe", for_s = 1 }' * 4, 1), r"policy has 5 rungs"),
        (ONE_EACH.replace('state]\nrungs = [{ do = "safe"', 'state]\nrungs = [{ do = "standby"'), r"\[0\] is standby"),
        (ONE_EACH.replace('{ do = "safe"', '{ do = "lapse", for_s = 1 }, { do = "safe"', 1), r"\[0\] is lapse"),
        (ONE_EACH.replace("for_s = 1 ", "for_s = 3601 ", 1), r"for_s is 3601. Expected seconds, 0 to 3600"),
    ],
)  # fmt: skip
def test_a_ladder_that_makes_no_sense_is_refused_by_key_and_value(ladder, message):
    with pytest.raises(EnvelopeError, match=message):
        drive(ladder=ladder)


def test_times_out_of_range_are_refused_in_bytes_too():
    with pytest.raises(EnvelopeError, match=r"ladder.policy\[0\].for_s is -1e-09 s"):
        dataclasses.replace(drive(), ladder=Ladder(0, 0, None, policy=(Rung("hold", -1),)))
    with pytest.raises(EnvelopeError, match=r"ladder.safe_s is 7200 s"):
        dataclasses.replace(drive(), ladder=Ladder(0, 7200 * S, None))


@pytest.mark.parametrize("fault", ["policy", "state", "machine"])
def test_on_every_ladder_holding_a_torque_for_long_needs_a_reason(fault):
    rungs = '[{ do = "hold", for_s = 0.06 }, { do = "safe", for_s = 1 }, { do = "hold", for_s = 0.06 }]'
    ladder = ONE_EACH.replace(f'{fault}]\nrungs = [{{ do = "safe", for_s = 1 }}]', f"{fault}]\nrungs = {rungs}")
    limits = ladder + TORQUES.replace(TWO_TIMES, "")
    message = rf"ladder.{fault} holds for 0.12 s for a command that is a torque; beyond 0.1 s ladder.hold_reason"
    with pytest.raises(EnvelopeError, match=message):
        guardian(limits=limits)
    torque = spec_of(meaning="torque", unit="rad")
    with pytest.raises(EnvelopeError, match=message):
        parsed(BASE + ladder, torque)
    reason = '[ladder]\nhold_reason = "It hangs."\n'
    assert guardian(limits=reason + limits).ladder.hold_reason == "It hangs."
    assert drive(ladder=ladder).ladder.hold_reason is None


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ("[prepare]\nduration_s = 1\npose = [0.0, 0.6]\n", r"'knee': prepare.pose 0.6 is outside \[-1, 0.5\]"),
        ("[prepare]\nduration_s = 1\npose = [0.0]\n", r"pose has 1 values for 2 channels"),
        ("[prepare]\nduration_s = 1\npose = { hip = 0.0 }\n", r"pose has no value for channel 'knee'"),
        ("[prepare]\nduration_s = 0\npose = [0.0, 0.0]\n", r"prepare has a pose without a duration"),
        ("[prepare]\npose = [0.0, 0.0]\n", r"duration_s is missing"),
        ("[prepare]\nduration_s = 1\nkp = -1\n", r"prepare.kp is -1, valid is 0 or more"),
        ("[prepare]\nduration_s = 1\nblend_s = 3601\n", r"blend_s is 3601"),
        ("[gains]\nkp = [1.0]\n", r"kp has 1 values for 2 channels"),
        ("[gains]\nkd = inf\n", r"kd is inf. Expected a finite number"),
        ("[gains]\nkq = 1\n", r"unknown key 'kq'. Known keys: kd, kp"),
        ("[damp]\nkd = -0.5\n", r"damp.kd is -0.5, valid is 0 or more"),
        ('[inner]\nlaw = "spline"\n', r"law is 'spline'. Valid: hold, interpolate"),
        ("[channels.hip]\ntarget_low = 0\ntarget_high = 1\n", r"'hip' has target_low and target_high, which only"),
        ("[channels.hip]\ntarget_low = 0\n", r"target_low is 0.0 and target_high None, valid are two"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused_by_key_and_value(law, message):
    with pytest.raises(EnvelopeError, match=message) as caught:
        drive(law)
    assert str(caught.value).startswith("envelope.toml")


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ("[gains]\nkp = 1\nkd = 1\n", r"\[gains\] gives gains with every command, and this robot's joints take none"),
        ("[gains]\nkp = 1\n", r"kd is missing, and the policy's spec has none"),
        ("[damp]\nkd = 1\n", r"\[damp\] gives gains, and this robot's joints take none"),
        ("[prepare]\nduration_s = 1\npose = [0, 0]\nkp = 1\nkd = 1\n", r"\[prepare\] gives gains"),
        ("[prepare]\nduration_s = 1\n", r"pose is missing, and the policy has no default pose of the joints hip, knee"),
    ],
)
def test_gains_are_only_for_joints_that_take_some(law, message):
    with pytest.raises(EnvelopeError, match=message):
        parsed(BASE + TWO_TIMES + law, spec_of())
    assert guardian("[damp]\nkd = 1\n").damp_kd == (1.0, 1.0)
    with pytest.raises(EnvelopeError, match=r"\[gains\] gives gains with every command"):
        guardian("[gains]\nkp = 1\nkd = 1\n")


def test_a_ladder_damps_only_joints_that_take_gains():
    ladder = ONE_EACH.replace('"safe"', '"damp"', 1)
    assert drive(ladder=ladder).ladder.does("damp")
    with pytest.raises(EnvelopeError, match=r"a ladder damps, which takes gains, and this robot's joints take none"):
        parsed(BASE + ladder, spec_of())


@pytest.mark.parametrize("meaning", ["velocity", "torque", "opaque"])
def test_only_positions_have_a_pose_to_go_to(meaning):
    with pytest.raises(EnvelopeError, match=rf"\[prepare\] goes to a pose, and the action is a continuous {meaning}"):
        parsed(BASE + TWO_TIMES + "[prepare]\nduration_s = 1\npose = [0, 0]\n", spec_of(meaning=meaning))


def test_between_choices_there_is_nothing_to_interpolate_or_blend():
    choices = spec_of(kind="multi_discrete", names=None, unit=None, meaning="opaque", low=(0.0, 0.0), high=(2.0, 4.0))
    text = BASE[: BASE.index("[default]")].replace("0.1]", "3.0]").replace('unit = "rad"', "") + TWO_TIMES
    with pytest.raises(EnvelopeError, match=r"inner.law is interpolate, and between the choices of a multi_discrete"):
        parsed(text + '[inner]\nlaw = "interpolate"\n', choices)
    with pytest.raises(EnvelopeError, match=r"prepare.blend_s is given, and between the choices"):
        parsed(text + "[prepare]\nduration_s = 0\nblend_s = 1\n", choices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"damp_kd": (1.0,)}, r"damp.kd has 1 values for 2 channels"),
        ({"damp_kd": (math.inf, 1.0)}, r"damp.kd is inf"),
        ({"damp_kd": (1e39, 1.0)}, r"damp.kd is 1e\+39"),
    ],
)
def test_gains_out_of_a_file_of_bytes_are_checked_like_any_other(changes, message):
    with pytest.raises(EnvelopeError, match=message):
        dataclasses.replace(drive(), **changes)


def test_a_pose_out_of_a_file_of_bytes_is_checked_like_any_other():
    prepare = drive("[prepare]\nduration_s = 1\n").prepare
    assert prepare is not None
    for changes, message in (
        ({"pose": (0.0,)}, r"prepare.pose has 1 values for 2 channels"),
        ({"pose": None}, r"prepare has no pose to go to"),
        ({"blend_ns": -1}, r"prepare.blend_s is -1e-09 s"),
    ):
        with pytest.raises(EnvelopeError, match=message):
            dataclasses.replace(drive(), prepare=dataclasses.replace(prepare, **changes))


def test_an_envelope_with_everything_reads_back_bit_for_bit_and_one_without_has_not_grown():
    law = '[prepare]\nduration_s = 1\nkp = 1\n[gains]\nkp = 2\n[damp]\nkd = 3\n[inner]\nlaw = "interpolate"\n'
    for envelope in (drive(law, ladder=ONE_EACH), guardian("[damp]\nkd = 3\n")):
        assert canonical.loads(Envelope, canonical.dumps(envelope), "envelope") == envelope
    for name in ("prepare", "inner_law", "damp_kd", "safe_gains", "target_low", "machine"):
        assert name not in canonical.dumps(drive())


def golden(*values: float) -> GoldenSet:
    """Return a recorded rollout of the first channel."""
    rows = len(values)
    actions = np.zeros((rows, 2), np.float32)
    actions[:, 0] = values
    start = np.arange(rows) == 0
    return GoldenSet(
        model="ab" * 32,
        inputs={},
        episode_start=start,
        expected_float32=actions,
        tolerance=np.zeros(2),
        decided=np.ones((rows, 2), bool),
        expected_trainer=actions,
        trainer_rows=np.ones(rows, bool),
        state={},
    )


def test_of_torques_the_positions_that_the_policy_asks_for_are_judged_and_the_evidence_says_so():
    envelope = guardian()
    evidence = replay_golden(envelope, golden(0.0, 1.0, -1.0), GUARDIAN, 20_000_000)
    assert "3 golden actions ask for positions within range" in evidence
    assert "torques were not judged, since they depend on the robot's state" in evidence
    with pytest.raises(EnvelopeRejectsPolicy, match=r"Row 1 .*'hip' is 1.5, above target_high = 1"):
        replay_golden(envelope, golden(0.0, 1.5), GUARDIAN, 20_000_000)
    with pytest.raises(EnvelopeRejectsPolicy, match=r"Row 1 .*'hip' is -1.5, below target_low = -1"):
        replay_golden(envelope, golden(0.0, -1.5), GUARDIAN, 20_000_000)


def test_of_drives_that_take_gains_the_positions_are_judged():
    assert "within rate" in replay_golden(drive(), golden(0.0, 0.1), DRIVE, 20_000_000)
    with pytest.raises(EnvelopeRejectsPolicy, match=r"faster than max_rate = 10"):
        replay_golden(drive(), golden(0.0, 0.3), DRIVE, 20_000_000)


def test_of_a_slow_policy_the_base_ticks_between_its_actions_are_judged():
    slow = dataclasses.replace(DRIVE, robot=robot_of("drive", policy_divider=4))
    patient = BASE.replace("misses = 3", "misses = 5") + TWO_TIMES
    straight = parsed(patient + '[inner]\nlaw = "interpolate"\n', slow)
    held = parsed(patient, slow)
    assert "within rate" in replay_golden(straight, golden(0.0, 0.3, 0.0), slow, 10_000_000)
    with pytest.raises(EnvelopeRejectsPolicy, match=r"Row 1 .*'hip' is 0.30.* faster than max_rate = 10"):
        replay_golden(held, golden(0.0, 0.3, 0.0), slow, 10_000_000)
    with pytest.raises(EnvelopeRejectsPolicy, match=r"Row 2 .*'hip' is 0.1.* faster than max_rate = 10"):
        replay_golden(straight, golden(0.0, 0.3, -0.2), slow, 10_000_000)


def test_what_the_page_shows_is_read_as_it_stands():
    blocks = re.findall(
        r"```toml\n(.*?)```", (Path(__file__).parents[2] / "docs" / "envelope.md").read_text(), re.DOTALL
    )
    ladder = next(block for block in blocks if block.startswith("[ladder]"))
    law = next(block for block in blocks if block.startswith("[inner]"))
    envelope = drive(law, ladder=ladder)
    assert envelope.prepare is not None
    assert envelope.prepare.gains is not None
    assert (envelope.inner_law, envelope.damp_kd, envelope.prepare.pose) == ("interpolate", (3.0, 3.0), (0.0, 0.4))
    assert [rung.do for rung in envelope.ladder.rungs("policy")] == ["standby", "damp"]


def test_both_channels_reject_or_saturate_as_the_file_says():
    config = configured(guardian(limits=TORQUES + 'on_violation = "saturate"\n'), GUARDIAN)
    assert {channel.on_violation for channel in config.commands[:2]} == {OnViolation.SATURATE}
    assert np.isinf(config.commands[0].max_rate)
