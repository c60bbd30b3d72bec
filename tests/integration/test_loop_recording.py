"""What real runs leave on the disk: the recording, the dumps of faults, and what happens when there is no room."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from edgerl.runtime.enums import Event, Mode
from edgerl.runtime.recording import recorder
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.recording.recorder import Keep
from edgerl.runtime.run import RunOptions, run_load
from edgerl.runtime.tally import tally_of
from tests import loop_parts
from tests.loop_parts import MS

SPEC = loop_parts.spec_of(20 * MS)
ROBOT = "gym:loop_environment:Clockwork-v0"
TICKS = RunOptions(ticks=100)
DUMPS = RunOptions(ticks=100, keep=Keep(ticks=False))


pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture
def load():
    return loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5))


@pytest.fixture
def small_disk(tmp_path):
    """A real file system with room for 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def killed(name: str):
    """Kill a process of the run once, when the policy has been in charge for a few ticks."""
    seen: list[int] = []

    def act(progress) -> None:
        if progress.mode == Mode.ACTIVE:
            seen.append(progress.ticks)
            if seen and progress.ticks - seen[0] >= 10 and name in loop_parts.children():
                os.kill(loop_parts.children()[name], signal.SIGKILL)

    return act


def test_a_result_is_what_its_recording_says(load, tmp_path) -> None:
    result = run_load(load, ROBOT, tmp_path / "run.mcap", TICKS)
    assert (result.recording, result.recording_trouble, result.dumps) == (str(tmp_path / "run.mcap"), (), ())
    recording = read_recording(tmp_path / "run.mcap")
    tally = tally_of(recording)
    assert (result.misses, result.modes, result.timing) == (tally.misses, tally.modes, tally.timing)
    assert (result.ticks, result.lost_records) == (len(recording.records), 0)


def test_without_a_recording_a_run_has_the_same_result_and_leaves_nothing(load, tmp_path) -> None:
    result = run_load(load, ROBOT, tmp_path / "run.mcap", DUMPS)
    assert (result.ended, result.recording, result.dumps, result.lost_records) == ("ticks", "", (), 0)
    assert result.misses.ticks == sum(span.ticks for span in result.modes if span.mode == "ACTIVE")
    assert result.timing.lateness.n == result.realtime_ticks > 50
    assert list(tmp_path.iterdir()) == []


def test_a_killed_policy_is_dumped_from_before_it_died_until_nothing_was_sent(load, tmp_path) -> None:
    result = run_load(load, ROBOT, tmp_path / "run.mcap", DUMPS, killed("policy"))
    assert result.fault == "policy_fault"
    assert result.dumps == (str(tmp_path / "run.fault-1.mcap"),)
    dump = read_recording(tmp_path / "run.fault-1.mcap")
    (fault,) = np.flatnonzero(dump.records["event"] == Event.POLICY_FAULT)
    assert dump.header.fault == f"policy-fault in tick {dump.records['tick'][fault]}"
    assert (dump.records["from_mode"][fault - 10 : fault] == Mode.ACTIVE).all()
    assert dump.records["mode"][fault] == Mode.FALLBACK
    assert dump.records["mode"][-1] == Mode.STOPPED
    assert dump.records["write_ns"][-1] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run.fault-1.mcap"]


def test_a_killed_guardian_is_dumped_up_to_its_last_tick(load, tmp_path) -> None:
    result = run_load(load, ROBOT, tmp_path / "run.mcap", RunOptions(), killed("guardian"))
    assert result.ended == "fault"
    assert result.dumps == (str(tmp_path / "run.fault-1.mcap"),)
    dump, recording = (read_recording(path) for path in (tmp_path / "run.fault-1.mcap", tmp_path / "run.mcap"))
    assert dump.header == replace(recording.header, fault="the guardian died")
    assert dump.records["tick"][-1] == recording.records["tick"][-1]
    assert recording.complete


def test_a_full_disk_ends_the_recording_and_not_the_run(load, small_disk, monkeypatch) -> None:
    monkeypatch.setattr(recorder, "FREE_BYTES", 0)
    (small_disk / "others").write_bytes(bytes(32 * 1024))
    result = run_load(load, ROBOT, small_disk / "run.mcap", TICKS)
    assert (result.ended, result.fault) == ("ticks", None)
    assert len(result.recording_trouble) == 1
    assert "No space left on device" in result.recording_trouble[0]
    recording = read_recording(small_disk / "run.mcap")
    assert 0 < len(recording.records) == result.ticks - result.lost_records < result.ticks
    assert result.misses.states_lost + result.misses.actions_late < result.misses.ticks / 2
    assert result.timing.lateness.n == result.realtime_ticks
