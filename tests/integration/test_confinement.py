"""A policy process that is ready can write nothing but its action mailbox, whatever it tries; as whatever user."""

from __future__ import annotations

import numpy as np
import pytest

from edgerl.errors import LoopError
from edgerl.runtime import confinement
from edgerl.runtime.enums import Source
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.run import RunOptions, run_load
from tests import loop_parts
from tests.loop_backends import FOLDER
from tests.loop_parts import MS

SPEC = loop_parts.spec_of(20 * MS)
ROBOT = "gym:loop_environment:Clockwork-v0"

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the policies may try to write."""
    made = tmp_path / "tried"
    made.mkdir()
    monkeypatch.setenv(FOLDER, str(made))
    return made


def load_of(backend: str):
    return loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5), backend=backend)


def test_whatever_a_ready_policy_tries_is_refused_and_the_run_goes_on(folder, tmp_path):
    result = run_load(load_of("hostile"), ROBOT, tmp_path / "run", RunOptions(ticks=40))
    assert (result.ended, result.warnings) == ("ticks", ()), result.message
    rows = read_recording(tmp_path / "run").records
    actions = rows["action"][rows["source"] == Source.POLICY, 0]
    assert actions[-5:].tolist() == [1.5] * 5  # which it says only when it has tried everything
    assert result.misses.rejected == 0
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["victim"]


def test_a_policy_that_is_not_confined_can_do_it(folder, tmp_path):
    """So the test above would see it if it could."""
    result = run_load(load_of("nosy"), ROBOT, tmp_path / "run", RunOptions(confine=False))
    assert result.ended == "fault"
    for deed in ("open the requests for writing", "write a file", "change a mode", "a UDP socket", "change a limit"):
        assert f"{deed}: done" in result.message
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["new"]
    assert len(result.warnings) == 1
    assert "not confined: the run was told so" in result.warnings[0]


def test_the_production_profile_wants_it_confined(tmp_path):
    options = RunOptions(production=True, confine=False)
    with pytest.raises(LoopError, match=r"The production profile refuses that\. Boot a kernel with CONFIG_SECCOMP"):
        run_load(load_of("onnxruntime"), ROBOT, tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_a_kernel_that_cannot_confine_is_named():
    class Kernel:
        @staticmethod
        def erl_confinement() -> int:
            return 22  # EINVAL: a kernel without these filters does not know the call's argument

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confinement.core, "library", Kernel)
        why = confinement.unconfined(wanted=True, production=False)
        assert "this kernel has no seccomp filters (Invalid argument)" in why
        with pytest.raises(LoopError, match="Invalid argument"):
            confinement.unconfined(wanted=True, production=True)
    assert confinement.unconfined(wanted=True, production=True) == ""
