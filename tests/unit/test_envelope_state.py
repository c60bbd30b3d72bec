"""What the envelope says of the robot's state: how it is written, what is refused, and what the guardian is told."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl import canonical
from edgerl.envelope import Envelope, check_envelope
from edgerl.envelope.file import parse_envelope
from edgerl.envelope.state import StateLimits, StateSet
from edgerl.envelope.watchdog import Jitter, Watchdog
from edgerl.errors import EnvelopeError
from edgerl.inspection import _show_envelope
from edgerl.runtime import core
from edgerl.runtime.enums import Clock
from edgerl.runtime.envelope_config import apply_envelope
from edgerl.runtime.layout import Channel, layout_of
from edgerl.runtime.observation_config import apply_terms
from edgerl.runtime.run import RunOptions, configure
from edgerl.runtime.state_config import apply_state
from edgerl.runtime.structs import Config
from edgerl.spec import PolicySpec
from tests import loop_parts
from tests.unit.test_state_channels import WALKER, spec_of, term

S = 1_000_000_000
POSED = dataclasses.replace(WALKER, robot=dataclasses.replace(WALKER.robot, pd="none", default_pose=(0.1, 0.5, -0.2)))
FLAT = spec_of(term("position", "joint_position", 1, unit="rad", joints=("hip",)))
FILE = """
schema = 1
on_reject = "hold"
safe_command = [0.0, 0.0]
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
"""
OPERATOR = """
[operator]
timeout_s = 0.5
[operator.values."command[0]"]
low = -1.0
high = 1.0
[operator.values."command[1]"]
low = -1.0
high = 1.0
"""


def parsed(extra: str = "", spec: PolicySpec = POSED, loop: str = "") -> Envelope:
    text = FILE.replace("[loop]\n", f"[loop]\n{loop}\n") + extra + (OPERATOR if spec is not FLAT else "")
    return parse_envelope(text.encode(), "envelope.toml", spec)


def limits(extra: str, spec: PolicySpec = POSED) -> dict[str, StateLimits]:
    state = parsed("[state.channels]\n" + extra, spec).state
    assert state is not None
    return {one.name: one for one in state.channels}


def configured(envelope: Envelope, spec: PolicySpec = POSED) -> Config:
    """Return a configuration that the guardian has accepted."""
    config, layout = core.new_config(), layout_of(spec, envelope)
    config.session, config.ring_capacity, config.arm_ticks = 1, 16, 10
    apply_envelope(config, envelope, spec, layout)
    apply_terms(config, spec)
    apply_state(config, envelope, layout)
    core.check_config(config)
    return config


def test_a_kind_is_all_of_its_channels_and_a_channels_own_table_goes_before_it_key_by_key():
    found = limits('dq = { low = -20.0, high = 20 }\n"dq[knee]" = { high = 30.0 }\n"imu.gyro" = { high = 9.0 }')
    assert {name: (one.low, one.high) for name, one in found.items()} == {
        "dq[hip]": (-20.0, 20.0),
        "dq[knee]": (-20.0, 30.0),
        "dq[ankle]": (-20.0, 20.0),
        "imu.gyro.x": (-math.inf, 9.0),
        "imu.gyro.y": (-math.inf, 9.0),
        "imu.gyro.z": (-math.inf, 9.0),
    }
    assert list(found) == ["dq[hip]", "dq[knee]", "dq[ankle]", *(f"imu.gyro.{axis}" for axis in "xyz")]
    assert limits('"dq[*]" = { high = 20.0 }') == limits("dq = { high = 20.0 }")


def test_a_start_set_is_a_value_with_a_tolerance_or_two_ends_of_which_a_limit_is_one():
    found = limits(
        '"q[knee]" = { low = -2.0, high = 2.0, start = { value = 0.3, tolerance = 0.25 } }\n'
        '"q[hip]" = { low = -2.0, high = 2.0, start = { low = -0.5 } }\n'
        '"phase[0]" = { start = { high = 0.5 } }'
    )
    assert {name: (one.start_low, one.start_high) for name, one in found.items()} == {
        "q[hip]": (-0.5, 2.0),
        "q[knee]": (0.3 - 0.25, 0.3 + 0.25),
        "phase[0]": (-math.inf, 0.5),
    }


def test_positions_start_around_the_pose_that_the_policy_begins_in():
    text = "q = { start = { tolerance = 0.25 } }\n"
    assert limits(text)["q[knee]"].start_low == 0.5 - 0.25
    prepared = limits(text + "[prepare]\nduration_s = 1.0\npose = { knee = 0.75, hip = 0.0 }\n")
    assert (prepared["q[knee]"].start_low, prepared["q[hip]"].start_high) == (0.5, 0.25)


def test_a_channel_with_a_unit_is_one_that_only_the_envelope_names():
    text = (
        '"temperature[knee]" = { high = 90.0 }\nbattery = { low = 42.0, unit = "V" }\n'
        '"temperature[*]" = { high = 80.0, unit = "degC" }'
    )
    envelope = parsed("[state.channels]\n" + text)
    before = layout_of(POSED).state
    assert layout_of(POSED, envelope).state == (
        *before,
        Channel("temperature[hip]", "degC"),
        Channel("temperature[knee]", "degC"),
        Channel("temperature[ankle]", "degC"),
        Channel("battery", "V"),
    )
    config = configured(envelope)
    highs = [config.states[index].high for index in range(len(before), config.state_count)]
    assert highs == [80.0, 90.0, 80.0, math.inf]
    assert config.states[config.state_count - 1].low == 42.0


def test_the_observation_of_an_environment_is_limited_by_index():
    opaque = spec_of(term("o", "opaque", 3))
    for name in ("observation[1]", "observation"):
        found = parse_envelope(
            f'{FILE}[state.channels]\n"{name}" = {{ low = -3.0, start = {{ value = 0, tolerance = 0.1 }} }}'.encode(),
            "envelope.toml",
            opaque,
        )
        assert found.state is not None
        assert len(found.state.channels) == (1 if name.endswith("]") else 3)
        assert {one.low for one in found.state.channels} == {-3.0}


def test_the_guardian_is_told_all_of_it():
    envelope = parsed(
        "[state]\nmax_tilt_rad = 1.0\nmax_start_tilt_rad = 0.25\n"
        '[state.channels]\ndq = { low = -20, high = 20, noisy = true }\n"dq[hip]" = { noisy = false }\n'
        '"imu.quat" = { noisy = true }\n"q[knee]" = { start = { value = 0.5, tolerance = 0.25 } }\n'
        "[watchdog]\nfrozen_ticks = 7\nheartbeat_timeout_s = 0.5\n"
        "jitter = { budget_s = 0.001, misses = 5, of_ticks = 1000 }\n"
    )
    config = configured(envelope)
    names = [channel.name for channel in layout_of(POSED, envelope).state]
    noisy = [name for index, name in enumerate(names) if config.states[index].noisy]
    assert noisy == ["dq[knee]", "dq[ankle]", *(f"imu.quat.{part}" for part in "wxyz")]
    knee = config.states[names.index("q[knee]")]
    assert (knee.low, knee.high, knee.start_low, knee.start_high) == (-math.inf, math.inf, 0.25, 0.75)
    assert config.states[names.index("dq[hip]")].high == 20.0
    assert (config.tilt_cos, config.start_tilt_cos) == (
        pytest.approx(math.cos(1.0), abs=1e-7),
        pytest.approx(math.cos(0.25), abs=1e-7),
    )
    assert (config.frozen_ticks, config.heartbeat_timeout_ns) == (7, S // 2)
    assert (config.jitter_budget_ns, config.jitter_limit, config.jitter_window) == (1_000_000, 5, 1000)


def test_the_bundles_own_time_for_the_supervisor_goes_before_the_runs():
    spec = loop_parts.spec_of(20_000_000)
    options = RunOptions(heartbeat_timeout_ns=3 * S)
    for watchdog, expected in ((None, 3 * S), (Watchdog(None, None, S // 2), S // 2)):
        load = loop_parts.load_of(spec, loop_parts.linear(spec, np.zeros(3)), watchdog=watchdog)
        assert configure(load, options).heartbeat_timeout_ns == expected


def test_without_a_word_nothing_is_limited_or_watched():
    config = configured(parsed())
    for index in range(config.state_count):
        one = config.states[index]
        ends = (one.low, one.high, one.start_low, one.start_high)
        assert ends == (-math.inf, math.inf, -math.inf, math.inf)
    assert (config.tilt_cos, config.start_tilt_cos, config.frozen_ticks, config.jitter_budget_ns) == (-1.0, -1.0, 0, 0)
    assert config.clock == Clock.GRID


def test_the_robot_may_be_the_clock():
    assert configured(parsed(loop='clock = "robot"')).clock == Clock.ROBOT
    assert parsed(loop='clock = "grid"') == parsed()
    with pytest.raises(EnvelopeError, match=r"clock is 'lockstep'. Valid: grid, robot"):
        parsed(loop='clock = "lockstep"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"q[knie]" = { low = 0.0 }', r"observes no channel 'q\[knie\]'. Its channels: q\[hip\], q\[knee\], dq\[hip\]"),
        ('"q[knie]" = { low = 0.0, unit = "rad" }', r"'q\[knie\]' is of no joint of the robot. Joints: hip, knee, ank"),
        ("speed = { high = 1.0 }", "observes no channel 'speed'"),
        ("dq = { lower = 1.0 }", "unknown key 'lower'. Known keys: high, low, noisy, start, unit"),
        ("dq = { low = 1.0, high = 1.0 }", r"dq\[hip\] has low 1, which is not below high 1"),
        ('dq = { low = 1.0 }\n"dq[knee]" = { high = 0.0 }', r"dq\[knee\] has low 1, which is not below high 0"),
        ("dq = { high = nan }", "high is nan. Expected a finite number"),
        ("dq = { high = inf }", "high is inf. Expected a finite number"),
        ("dq = { high = 1e300 }", r"'dq\[hip\]': 1e\+300 is no limit, valid are float32"),
        ("dq = { low = 1.0, high = 1.00000000001 }", "not below high 1 as float32"),
        ("dq = { high = true }", "high is True. Expected a finite number"),
        ("dq = 3", "dq is 3. Expected a table"),
        ('dq = { high = 1 }\n"dq[*]" = { high = 2 }', r"dq\[hip\] is given twice, with and without \[\*\]"),
        ('dq = { unit = "deg/s" }', r"the unit of dq\[hip\] is 'deg/s'; the policy observes it in 'rad/s'"),
        ('battery = { low = 4.0, unit = " " }', "unit is empty"),
        ("dq = { noisy = true }", r"'dq\[hip\]' is noisy, and nothing watches whether it is stuck"),
        ("q = { start = {} }", "says no set. Give value and tolerance, or low and high"),
        ("q = { start = { value = 0.0 } }", "says no set"),
        ("q = { start = { value = 0.0, low = 0.0 } }", "says no set"),
        ("q = { start = { tolerance = 0.1, low = 0.0 } }", "has a tolerance and low"),
        ("q = { start = { tolerance = 0.0 } }", "tolerance is 0. Expected more than 0"),
        ("dq = { start = { tolerance = 0.1 } }", r"no start pose of dq\[hip\] to stand in for it"),
        ("q = { low = 0.3, start = { tolerance = 0.1 } }", r"start set from .* reaches beyond its limits \[0.3, inf\]"),
        ("q = { start = { low = 1.0, high = 0.0 } }", "start set begins at 1, which is not below its end 0"),
        ("q = { start = { low = nan } }", "low is nan"),
    ],
)
def test_a_channel_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(EnvelopeError, match=message):
        limits(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[state]\nmax_tilt_rad = 0.0", "max_tilt_rad is 0, valid is more than 0 and less than pi"),
        ("[state]\nmax_tilt_rad = 57.0", "max_tilt_rad is 57, valid is more than 0 and less than pi"),
        ("[state]\nmax_start_tilt_rad = -1", "max_start_tilt_rad is -1, valid"),
        ("[state]\nmax_tilt_rad = nan", "max_tilt_rad is nan"),
        ("[state]\nmax_tilt_rad = 0.5\nmax_start_tilt_rad = 0.6", "beyond max_tilt_rad = 0.5: it would be armed at f"),
        ("[state]\nmax_tilt = 0.5", "unknown key 'max_tilt'. Known keys: channels, max_start_tilt_rad, max_tilt_rad"),
        ("[watchdog]", "watches nothing; remove it"),
        ("[watchdog]\nfrozen_ticks = 5", "no state channel is noisy"),
        ("[watchdog]\nfrozen_ticks = 0\n[state.channels]\ndq = { noisy = true }", "frozen_ticks is 0, valid is 1 to"),
        ("[watchdog]\nheartbeat_timeout_s = 0.05", "heartbeat_timeout_s is 0.05, valid is 0.1 to 3600"),
        ("[watchdog]\njitter = { budget_s = 0.001, misses = 9, of_ticks = 8 }", "jitter says 9 misses of 8 ticks"),
        ("[watchdog]\njitter = { budget_s = 0.001, misses = 1, of_ticks = 1025 }", "of_ticks <= 1024"),
        ("[watchdog]\njitter = { budget_s = 0.0, misses = 1, of_ticks = 10 }", "jitter.budget_s is 0, valid is more"),
        ("[watchdog]\njitter = { budget_s = 0.02, misses = 1, of_ticks = 10 }", "less than the control period of 0.02"),
        ("[watchdog]\njitter = { budget_s = 0.001, misses = 1 }", "of_ticks is missing"),
    ],
)
def test_a_tilt_or_a_watchdog_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(EnvelopeError, match=message):
        parsed(text)


def test_a_tilt_needs_a_robot_that_says_how_it_stands():
    with pytest.raises(EnvelopeError, match=r"max_tilt_rad is given, and the robot does not say how it stands"):
        parsed("[state]\nmax_tilt_rad = 0.5\n", FLAT)


def test_a_channel_for_each_joint_needs_joints():
    nowhere = spec_of(term("o", "opaque", 3))
    nowhere = dataclasses.replace(nowhere, robot=dataclasses.replace(nowhere.robot, joints=(), pd="none"))
    with pytest.raises(EnvelopeError, match="the policy's spec names no joints"):
        parse_envelope(
            f'{FILE}[state.channels]\n"temperature[*]" = {{ high = 80.0, unit = "degC" }}'.encode(), "e.toml", nowhere
        )


def test_an_envelope_of_another_policy_is_refused():
    one = StateLimits("dq[hip]", None, -1.0, 1.0, -math.inf, math.inf, noisy=False)
    flat = parsed(spec=FLAT)
    for changes, message in (
        ({}, r"there is no state channel 'dq\[hip\]'; the policy's are q\[hip\]"),
        ({"name": "q[hip]", "unit": "rad"}, r"'q\[hip\]' has a unit in the envelope, and the policy's spec says"),
    ):
        state = StateSet((dataclasses.replace(one, **changes),), None, None)
        with pytest.raises(EnvelopeError, match=message):
            check_envelope(dataclasses.replace(flat, state=state), FLAT)
    with pytest.raises(EnvelopeError, match=r"'dq\[hip\]' is given twice"):
        dataclasses.replace(flat, state=StateSet((one, one), None, None))
    with pytest.raises(EnvelopeError, match="nan is no limit"):
        dataclasses.replace(flat, state=StateSet((dataclasses.replace(one, low=math.nan),), None, None))


def test_an_envelope_that_says_none_of_it_has_the_bytes_that_it_always_had():
    text = canonical.dumps(parsed())
    for key in ("clock", "state", "watchdog"):
        assert f'"{key}":' not in text
    everything: dict[str, Any] = {
        "clock": "robot",
        "state": StateSet((StateLimits("v", "V", -math.inf, 1.0, -1.0, 0.5, noisy=True),), 0.5, 0.25),
        "watchdog": Watchdog(Jitter(1000, 2, 3), 4, S),
    }
    envelope = dataclasses.replace(parsed(), **everything)
    assert canonical.loads(Envelope, canonical.dumps(envelope), "it") == envelope


def test_what_the_page_shows_is_read_as_it_stands():
    page = (Path(__file__).parents[2] / "docs" / "envelope.md").read_text()
    (block,) = (one for one in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if one.startswith("[state]"))
    bent = dataclasses.replace(POSED, robot=dataclasses.replace(POSED.robot, default_pose=(0.1, -0.8, -0.2)))
    envelope = parsed(block, bent)
    config = configured(envelope, bent)
    names = [channel.name for channel in layout_of(bent, envelope).state]
    assert names[-4:] == ["temperature[hip]", "temperature[knee]", "temperature[ankle]", "battery"]
    knee = config.states[names.index("q[knee]")]
    assert (knee.noisy, knee.low, config.frozen_ticks) == (1, pytest.approx(-2.6), 20)


def test_inspect_shows_it(capsys):
    _show_envelope(
        parsed(
            "[state]\nmax_tilt_rad = 1.0\nmax_start_tilt_rad = 0.25\n"
            '[state.channels]\ndq = { low = -20.0, high = 20.0, noisy = true }\n"q[hip]" = { start = { low = -0.5 } }\n'
            '"temperature[*]" = { high = 80.0, unit = "degC" }\n'
            "[watchdog]\nfrozen_ticks = 7\nheartbeat_timeout_s = 0.5\n"
            "jitter = { budget_s = 0.001, misses = 5, of_ticks = 1000 }\n",
            loop='clock = "robot"',
        ),
        POSED,
    )
    printed = re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    for text in (
        "the robot's: its state begins the tick", "up to 1 rad", "where it leans up to 0.25 rad",
        "7 equal states of a noisy channel", "5 of the last 1000 ticks more than 1 ms late", "silent for 500 ms",
        "-20 to 20 yes", "-0.5 or more", "up to 80 degC", "dq[hip], dq[knee],",
    ):  # fmt: skip
        assert text in printed


LOWS = st.sampled_from(("-3.0", "-2.0", "-1e-50", "0.0", "-1e38", "-1e39"))
HIGHS = st.sampled_from(("3.0", "2.0", "1e-50", "0.5", "1e38", "1e39"))
TILTS = st.sampled_from((("1.0", "0.5"), ("3.14", None), (None, "1e-50"), (None, None), ("0.5", "1.0")))
STARTS = st.one_of(
    st.builds("{{ low = {}, high = {} }}".format, LOWS, HIGHS),
    st.builds("{{ value = 0.0, tolerance = {} }}".format, HIGHS),
    st.builds("{{ tolerance = {} }}".format, HIGHS),
)
TABLES = st.dictionaries(
    st.sampled_from(("q", '"q[hip]"', '"q[knee]"', '"q[*]"', '"imu.quat"', '"t[*]"', '"t[hip]"', "v")),
    st.fixed_dictionaries(
        {},
        optional={
            "low": LOWS, "high": HIGHS, "start": STARTS, "noisy": st.sampled_from(("true", "false")),
            "unit": st.just('"rad"'),
        },
    ),
    max_size=4,
)  # fmt: skip


@settings(max_examples=400)
@given(TABLES, TILTS, st.sampled_from((0, 1, 9, 9, 9)))
def test_what_is_not_refused_the_guardian_accepts(tables, tilts, frozen):
    tilt, start_tilt = tilts
    noisy = any(one.get("noisy") == "true" for one in tables.values())
    lines = ["[state]"] + [f"max_tilt_rad = {tilt}"] * (tilt is not None)
    lines += [f"max_start_tilt_rad = {start_tilt}"] * (start_tilt is not None) + ["[state.channels]"]
    lines += [f"{key} = {{ {', '.join(map(' = '.join, one.items()))} }}" for key, one in tables.items()]
    lines += ["[watchdog]", f"frozen_ticks = {frozen}"] if noisy else []
    try:
        envelope = parsed("\n".join(lines))
    except EnvelopeError:
        return
    configured(envelope)
    assert canonical.loads(Envelope, canonical.dumps(envelope), "it") == envelope
