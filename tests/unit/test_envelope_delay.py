"""Policies slower than the base tick, in the envelope: when an action takes effect, and what a late one costs."""

from __future__ import annotations

import dataclasses

import pytest

from edgerl import canonical
from edgerl.envelope import Degrade, Envelope, action_delay_of, check_envelope, default_envelope
from edgerl.envelope.file import parse_envelope
from edgerl.errors import EnvelopeError
from edgerl.runtime import core
from edgerl.runtime.envelope_config import apply_envelope
from edgerl.runtime.layout import layout_of
from edgerl.runtime.observation_config import apply_terms
from edgerl.spec import PolicySpec
from tests.loop_parts import MS, spec_of

FILE = """
schema = 1
on_reject = "hold"
safe_command = [0.0]
[loop]
budget_s = 0.0005
valid_for_s = 0.005
state_timeout_s = 0.1
degrade = { misses = 41, of_ticks = 400 }
[ladder]
hold_s = 0.05
safe_s = 1.0
[default]
low = -1.0
high = 1.0
max_rate = inf
"""


def slow(divider: int) -> PolicySpec:
    """Return the spec of a policy that acts in every ``divider``-th tick of 1 ms."""
    spec = spec_of(1 * MS)
    return dataclasses.replace(spec, robot=dataclasses.replace(spec.robot, policy_divider=divider))


def parsed(extra: str, divider: int = 20) -> Envelope:
    return parse_envelope(FILE.replace("[loop]\n", f"[loop]\n{extra}\n").encode(), "envelope.toml", slow(divider))


def test_a_policy_of_every_tick_acts_in_it_and_a_slow_one_when_its_next_observation_is_made():
    assert action_delay_of(parsed("", 1), slow(1)) == 0
    assert action_delay_of(parsed("", 20), slow(20)) == 20
    assert action_delay_of(parsed("action_delay = 1", 1), slow(1)) == 1
    assert action_delay_of(parsed("action_delay = 16", 20), slow(20)) == 16


@pytest.mark.parametrize(
    ("divider", "delay", "valid"), [(20, 0, "1 to 20"), (20, 21, "1 to 20"), (1, 2, "0 to 1"), (1, -1, "0 to 1")]
)
def test_a_delay_that_is_not_within_the_divider_is_refused(divider, delay, valid):
    with pytest.raises(EnvelopeError, match=f"action_delay is {delay}, valid is {valid} base ticks"):
        parsed(f"action_delay = {delay}", divider)


def test_waiting_within_the_tick_is_explained_to_whom_it_is_refused():
    with pytest.raises(EnvelopeError, match="0, to wait within the tick, is for policies that act in every tick"):
        parsed("action_delay = 0")


def test_misses_that_one_late_answer_uses_up_are_refused():
    spec, envelope = slow(20), parsed("")
    check_envelope(dataclasses.replace(envelope, degrade=Degrade(21, 400)), spec)
    with pytest.raises(EnvelopeError, match="one late answer of this policy makes 20 ticks late"):
        check_envelope(dataclasses.replace(envelope, degrade=Degrade(20, 400)), spec)
    check_envelope(dataclasses.replace(envelope, degrade=Degrade(1, 400)), slow(1))


@pytest.mark.parametrize(
    ("extra", "valid_s"),
    [("", 0.02), ("action_delay = 16\n", 0.016)],
)
def test_a_timeout_within_the_time_that_the_policy_has_is_refused(extra, valid_s):
    assert parsed(f"{extra}inference_timeout_s = {valid_s + 0.001}").inference_timeout_ns == round(valid_s * 1e9) + MS
    with pytest.raises(EnvelopeError, match=f"inference_timeout_s is {valid_s:g} s, valid is more than {valid_s:g} s"):
        parsed(f"{extra}inference_timeout_s = {valid_s}")
    with pytest.raises(EnvelopeError, match="inference_timeout_s is 0 s, valid is more than 0"):
        parsed(f"{extra}inference_timeout_s = 0.0")


def test_a_policy_of_every_tick_may_owe_an_answer_for_longer_than_a_period():
    assert parsed("inference_timeout_s = 0.0011", 1).inference_timeout_ns == 1_100_000
    with pytest.raises(EnvelopeError, match=r"inference_timeout_s is 0\.001 s"):
        parsed("inference_timeout_s = 0.001", 1)


@pytest.mark.parametrize("divider", [1, 2, 20, 51, 600, 1023])
def test_the_derived_envelope_bears_two_late_answers_wherever_there_is_room(divider):
    envelope = default_envelope(slow(divider))
    check_envelope(envelope, slow(divider))
    assert divider < envelope.degrade.misses <= envelope.degrade.of_ticks <= 1024
    if divider <= 51:
        assert (envelope.degrade.misses, envelope.degrade.of_ticks) == (2 * divider + 1, 20 * divider)


def test_a_divider_that_the_guardian_cannot_count_is_refused():
    with pytest.raises(EnvelopeError, match="valid is more than 1024"):
        check_envelope(default_envelope(slow(1024)), slow(1024))


def test_the_guardian_is_told():
    for extra, divider, expected in (("", 1, (1, 0, 0)), ("", 20, (20, 20, 0)), ("action_delay = 16", 20, (20, 16, 0))):
        config, spec = core.new_config(), slow(divider)
        apply_envelope(config, parsed(extra, divider), spec, layout_of(spec))
        assert (config.policy_divider, config.action_delay, config.inference_timeout_ns) == expected
    config = core.new_config()
    apply_envelope(config, parsed("inference_timeout_s = 0.1"), slow(20), layout_of(slow(20)))
    apply_terms(config, slow(20))
    assert config.inference_timeout_ns == 100 * MS
    config.session, config.arm_ticks, config.ring_capacity = 1, 21, 64
    core.check_config(config)


def test_an_envelope_that_says_neither_has_the_bytes_that_it_always_had():
    text = canonical.dumps(parsed("", 1))
    assert "action_delay" not in text
    assert "inference_timeout" not in text
    envelope = parsed("action_delay = 16\ninference_timeout_s = 0.1")
    assert canonical.loads(Envelope, canonical.dumps(envelope), "it") == envelope
