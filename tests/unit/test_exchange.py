"""Bundles that come to a run that is going on: what may take over, and how the rest is refused."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from edgerl.errors import DamagedBundle, PolicyProcessError, UnreadableFile
from edgerl.runtime.exchange import MOST_NAMED, check_newcomer, newcomer_in
from edgerl.spec import opaque_term
from tests import loop_parts
from tests.loop_parts import MS

SPEC = loop_parts.spec_of(20 * MS)
LOAD = loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3)))


def changed(*, action: dict | None = None, robot: dict | None = None, **fields):
    spec = replace(
        SPEC, action=replace(SPEC.action, **action or {}), robot=replace(SPEC.robot, **robot or {}), **fields
    )
    return replace(LOAD, engine=replace(LOAD.engine, spec=spec))


def limited(**limits):
    (channel,) = LOAD.envelope.channels
    return replace(LOAD, envelope=replace(LOAD.envelope, channels=(replace(channel, **limits),)))


def test_the_same_policy_with_other_weights_may_take_over() -> None:
    other = loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.ones(3)))
    check_newcomer(other, LOAD)
    check_newcomer(changed(action={"low": (-1.0,)}), LOAD)  # how it gets to the same command is its own affair
    check_newcomer(replace(LOAD, envelope=replace(LOAD.envelope, origin="file")), LOAD)


@pytest.mark.parametrize(
    ("newcomer", "words"),
    [
        (changed(period_ns=10 * MS), "period_ns is 10000000, the run's 20000000"),
        (changed(robot={"policy_divider": 4}), "policy_divider is 4, the run's 1"),
        (changed(action={"unit": "rad"}), "action.unit is 'rad', the run's None"),
        (changed(action={"raw": True}), "action.raw is True, the run's False"),
        (
            changed(inputs=(replace(SPEC.inputs[0], shape=(3,), terms=(opaque_term("other", 3),)),)),
            r"inputs\[0\].terms\[0\].name is 'other', the run's 'observation'",
        ),
        (limited(max_rate=2.5), r"envelope.channels\[0\].max_rate is 2.5, the run's 'inf'"),
        (limited(high=1.0), r"envelope.channels\[0\].high is 1.0, the run's 2.0"),
        (
            replace(LOAD, envelope=replace(LOAD.envelope, valid_for_ns=99 * MS)),
            "envelope.valid_for_ns is 99000000, the run's 40000000",
        ),
    ],
)
def test_what_does_not_fit_the_run_is_named_with_both_values(newcomer, words) -> None:
    with pytest.raises(PolicyProcessError, match=f"cannot take over: {words}. End the run"):
        check_newcomer(newcomer, LOAD)


def test_all_differences_are_listed_up_to_a_bound() -> None:
    other = changed(period_ns=10 * MS, action={"unit": "rad", "meaning": "torque"})
    with pytest.raises(PolicyProcessError) as error:
        check_newcomer(other, LOAD)
    assert all(word in str(error.value) for word in ("period_ns", "action.unit", "action.meaning"))
    wide = loop_parts.spec_of(20 * MS, size=4, actions=3)
    with pytest.raises(PolicyProcessError, match=r"; and \d+ more\. End the run") as error:
        check_newcomer(loop_parts.load_of(wide, loop_parts.linear(wide, np.zeros(12))), LOAD)
    assert str(error.value).count(" is ") == MOST_NAMED


def test_only_a_regular_file_is_read(tmp_path) -> None:
    for path in ("/dev/zero", str(tmp_path)):
        file = os.open(path, os.O_RDONLY)
        with pytest.raises(UnreadableFile, match="no regular file"):
            newcomer_in(file, LOAD)
        os.close(file)


def test_a_descriptor_that_cannot_be_read_and_a_file_that_is_no_bundle_are_refused(tmp_path) -> None:
    path = tmp_path / "x.edgerl"
    path.write_bytes(b"PK no bundle")
    for flags, error in ((os.O_WRONLY, UnreadableFile), (os.O_RDONLY, DamagedBundle)):
        file = os.open(path, flags)
        with pytest.raises(error):
            newcomer_in(file, LOAD)
        os.close(file)
