"""The demo from end to end: what it promises on the README's first screen."""

from __future__ import annotations

import pytest

from edgerl.demo import FLOOR, run_demo
from edgerl.runtime.recording.read import read_recording

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    stages = []
    folder = tmp_path_factory.mktemp("demo")
    result = run_demo(folder, on_stage=stages.append)
    return result, folder, stages


def test_the_demo_goes_well_within_a_minute(demo):
    result, _, stages = demo
    assert result.passed
    assert result.parity.status == "passed"
    assert result.episode_return >= FLOOR * result.trainer_return.mean
    assert result.seconds < 60
    assert len(stages) == 3


def test_fifteen_seconds_of_the_episode_are_in_real_time_and_the_rest_in_lockstep(demo):
    result, _, _ = demo
    (episode,) = result.run.episodes
    assert episode.steps == result.run.misses.ticks == 1000
    assert episode.realtime_steps == 300
    assert result.run.lockstep_ticks >= 700


def test_quantiles_are_only_those_that_the_sample_can_carry(demo):
    result, _, _ = demo
    for summary in (result.run.timing.lateness, result.run.timing.latency):
        carried = {one.q for one in summary.quantiles if one.value is not None}
        assert carried == {0.5, 0.9, 0.99}


def test_bundle_recording_and_report_lie_where_it_says(demo):
    _, folder, _ = demo
    names = {
        "policy.onnx",
        "policy.golden.npz",
        "policy.certificate.json",
        "policy.edgerl",
        "recording.mcap",
        "report.html",
    }
    assert {path.name for path in folder.iterdir()} == names
    assert read_recording(folder / "recording.mcap").complete
    assert "The run went well" in (folder / "report.html").read_text()


def test_a_second_demo_replaces_the_first(demo):
    _, folder, _ = demo
    before = (folder / "recording.mcap").read_bytes()
    run_demo(folder)
    assert (folder / "recording.mcap").read_bytes() != before
