"""What runs beside the supervisor: the recording with its limits, the dumps of faults, the tally."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import OutputError
from edgerl.runtime import tally as tallies
from edgerl.runtime.enums import Event, Mode, Source
from edgerl.runtime.recording import Records, dumps, recorder
from edgerl.runtime.recording.dumps import MOST_DUMPS, TAIL_NS, FaultDumps
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.recording.recorder import Keep, Kept, Recorder
from edgerl.runtime.tally import Tally
from tests.recordings import HEADER, PERIOD_NS, any_ticks, fall, same, ticks

TAIL = TAIL_NS // PERIOD_NS


def record(path: Path, *batches: Records, keep: Keep | None = None) -> Kept:
    with Recorder(path, HEADER, keep) as running:
        for batch in batches:
            running.take(batch)
    return running.close()


def feed(path: Path, rows: Records, batch: int, before_s: float = 0.1) -> FaultDumps:
    found = FaultDumps(path, HEADER, round(before_s * 1e9))
    for first in range(0, len(rows), batch):
        found.feed(rows[first : first + batch])
    return found


@contextmanager
def full_disk(path: Path, room: int):
    """Past ``room`` bytes of one file writing fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_what_is_taken_is_in_the_recording(tmp_path: Path) -> None:
    rows = any_ticks(500)
    rows["from_mode"] = rows["mode"] = Mode.ACTIVE
    kept = record(tmp_path / "run.mcap", rows[:20], rows[20:21], rows[21:])
    assert kept == Kept(str(tmp_path / "run.mcap"), 500, (), ())
    recording = read_recording(tmp_path / "run.mcap")
    assert recording.complete
    assert same(recording.records, rows)


def test_a_recording_without_ticks_is_not_left_behind(tmp_path: Path) -> None:
    assert record(tmp_path / "run.mcap") == Kept("", 0, (), ())
    assert not list(tmp_path.iterdir())


def test_what_was_taken_is_on_the_disk_a_moment_later_without_an_end(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run.mcap", HEADER) as running:
        running.take(ticks(5))
        until = time.monotonic() + 10
        while not len(read_recording(tmp_path / "run.mcap").records) and time.monotonic() < until:
            time.sleep(0.01)
        found = read_recording(tmp_path / "run.mcap")
    assert (len(found.records), found.complete) == (5, False)


def test_recording_stops_at_its_limit_and_says_so_once(tmp_path: Path) -> None:
    rows = fall(ticks(3000), 2000)
    batches = [rows[first : first + 100] for first in range(0, 3000, 100)]
    running = Recorder(tmp_path / "run.mcap", HEADER, Keep(limit_bytes=300_000))
    for batch in batches:
        running.take(batch)
        wait_until_written(running)
    kept = running.close()
    assert kept.trouble == ("Recording stopped at its limit of 300,000 bytes.",)
    recording = read_recording(tmp_path / "run.mcap")
    assert recording.complete
    assert same(recording.records, rows[: kept.ticks])
    assert 0 < kept.ticks < 2000
    assert (tmp_path / "run.mcap").stat().st_size < 310_000
    assert kept.dumps == (str(tmp_path / "run.fault-1.mcap"),)  # faults are dumped all the same
    assert running.tally.ticks == 3000


def wait_until_written(running: Recorder) -> None:
    until = time.monotonic() + 10
    while running.waiting and time.monotonic() < until:
        time.sleep(0.002)


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    with full_disk(tmp_path, 200_000):
        running = Recorder(tmp_path / "run.mcap", HEADER)
        for first in range(0, 2000, 100):
            running.take(ticks(100, first))
            wait_until_written(running)
        kept = running.close()
    assert len(kept.trouble) == 1
    assert "Recording stopped" in kept.trouble[0]
    recording = read_recording(tmp_path / "run.mcap")
    assert len(recording.records) == kept.ticks > 100
    assert running.tally.ticks == 2000


def test_recording_stops_before_the_disk_is_full(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recorder, "SYNC_S", 0.0)
    monkeypatch.setattr(recorder, "FREE_BYTES", 2**62)
    kept = record(tmp_path / "run.mcap", ticks(10))
    assert "bytes are free" in kept.trouble[0]
    assert read_recording(tmp_path / "run.mcap").complete


def test_a_disk_that_stalls_costs_ticks_and_never_holds_the_supervisor_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recorder, "WAITING_BYTES", 100 * ticks(1).nbytes)
    going = threading.Event()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (going.wait(30), write(fd, data))[1])
    going.set()
    running = Recorder(tmp_path / "run.mcap", HEADER)
    going.clear()
    running.take(ticks(60))
    wait_until_written(running)  # the thread hangs in write from here on
    begun = time.monotonic()
    for first in range(60, 360, 60):
        running.take(ticks(60, first))
    assert time.monotonic() - begun < 5
    going.set()
    kept = running.close()
    assert kept.ticks == 120
    assert kept.trouble == ("The disk was too slow: 240 ticks were not recorded.",)
    assert read_recording(tmp_path / "run.mcap").lost == 0


def test_a_defect_of_the_recorder_shows_at_the_end_and_not_in_the_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Tally, "add", lambda *_: 1 / 0)
    running = Recorder(tmp_path / "run.mcap", HEADER)
    running.take(ticks(5))
    wait_until_written(running)
    running.take(ticks(5, 5))
    with pytest.raises(RuntimeError, match="defect"):
        running.close()


def test_a_recording_in_the_way_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "run.mcap").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        Recorder(tmp_path / "run.mcap", HEADER)
    assert (tmp_path / "run.mcap").read_bytes() == b"mine"


@pytest.mark.parametrize("batch", [1, 7, 100, 5000])
def test_a_fault_is_dumped_from_before_it_until_its_ladder_has_ended(tmp_path: Path, batch: int) -> None:
    rows = fall(ticks(3000), 1000, Event.POLICY_FAULT, ladder=40)
    found = feed(tmp_path / "run.mcap", rows, batch)
    assert found.written == [tmp_path / "run.fault-1.mcap"]
    dump = read_recording(found.written[0])
    assert dump.complete
    assert dump.header == replace(HEADER, fault="policy-fault in tick 1000")
    assert dump.lost == 0
    first = int(dump.records["tick"][0])
    assert 1000 - 100 - batch <= first <= 1000 - 100 or (first == 0 and batch > 900)
    assert same(dump.records, rows[first : 1040 + TAIL])
    assert [path.name for path in tmp_path.iterdir()] == ["run.fault-1.mcap"]


def test_a_dump_needs_no_recording(tmp_path: Path) -> None:
    kept = record(tmp_path / "run.mcap", fall(ticks(300), 200), keep=Keep(ticks=False))
    assert kept == Kept("", 0, (str(tmp_path / "run.fault-1.mcap"),), ())
    assert len(read_recording(tmp_path / "run.fault-1.mcap").records) == 300


def test_an_estop_is_dumped_and_an_orderly_end_is_not(tmp_path: Path) -> None:
    stopped = ticks(100)
    for event, dumped in ((Event.ESTOP, 1), (Event.QUIT, 0)):
        stopped["mode"][50:], stopped["from_mode"][51:], stopped["event"][50] = Mode.STOPPED, Mode.STOPPED, event
        found = feed(tmp_path / f"{event.name}.mcap", stopped, 20)
        found.close()
        assert len(found.written) == dumped


def test_each_fault_after_a_reset_has_a_dump_of_its_own(tmp_path: Path) -> None:
    rows = ticks(6000)
    for at in (1000, 3000):
        fall(rows[at - 10 : at + 500], 10)
        rows["from_mode"][at + 500] = Mode.STOPPED
    found = feed(tmp_path / "run", rows, 64)
    assert [path.name for path in found.written] == ["run.fault-1.mcap", "run.fault-2.mcap"]
    assert [read_recording(path).header.fault for path in found.written] == [
        "policy-fault in tick 1000",
        "policy-fault in tick 3000",
    ]


def test_a_fault_right_after_a_reset_is_in_the_same_dump(tmp_path: Path) -> None:
    rows = ticks(4000)
    for at in (1000, 1200):
        fall(rows[at - 10 : at + 100], 10)
        rows["from_mode"][at + 100] = Mode.STOPPED
    found = feed(tmp_path / "run", rows, 64)
    assert len(found.written) == 1
    assert read_recording(found.written[0]).records["tick"][-1] == 1240 + TAIL - 1


def test_a_ladder_without_end_does_not_fill_the_disk(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dumps, "LONGEST_NS", 700 * PERIOD_NS)
    found = feed(tmp_path / "run.mcap", fall(ticks(3000), 1000, ladder=2500), 100)
    assert read_recording(found.written[0]).records["tick"][-1] == 1699


def test_faults_without_end_do_not_fill_the_disk(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dumps, "TAIL_NS", 0)
    rows = ticks(50 * (MOST_DUMPS + 5))
    for at in range(20, len(rows), 50):
        fall(rows[at - 10 : at + 20], 10, ladder=5)
        rows["from_mode"][at + 20] = Mode.STOPPED
    found = feed(tmp_path / "run.mcap", rows, 1000)
    assert len(found.written) == len(list(tmp_path.iterdir())) == MOST_DUMPS
    assert found.trouble == f"Only the first {MOST_DUMPS} faults were dumped."


def test_the_window_stays_within_its_memory(tmp_path: Path, monkeypatch) -> None:
    size = ticks(1).nbytes
    monkeypatch.setattr(dumps, "WINDOW_BYTES", 50 * size)
    found = feed(tmp_path / "run.mcap", fall(ticks(3000), 2000), 10, before_s=60.0)
    first = int(read_recording(found.written[0]).records["tick"][0])
    assert 2000 - 50 <= first <= 2000 - 40


def test_the_guardians_death_is_dumped_though_no_tick_tells_of_it(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run.mcap", HEADER, Keep(ticks=False)) as running:
        running.take(ticks(300))
        running.trip("the guardian died")
    kept = running.close()
    dump = read_recording(Path(kept.dumps[0]))
    assert (dump.header.fault, len(dump.records)) == ("the guardian died", 300)


def test_a_dump_never_replaces_one_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "run.fault-1.mcap").write_bytes(b"earlier")
    kept = record(tmp_path / "run.mcap", fall(ticks(300), 200), keep=Keep(ticks=False))
    assert kept.dumps == (str(tmp_path / "run.fault-2.mcap"),)
    assert (tmp_path / "run.fault-1.mcap").read_bytes() == b"earlier"


def test_a_dump_that_does_not_fit_is_no_half_file_under_its_name(tmp_path: Path) -> None:
    with full_disk(tmp_path, 100_000):
        found = feed(tmp_path / "run.mcap", fall(ticks(3000), 2000), 50, before_s=1.0)
    assert found.written == []
    assert found.trouble is not None
    assert not (tmp_path / "run.fault-1.mcap").exists()
    (part,) = tmp_path.iterdir()
    assert f"What there is of it is in {part}" in found.trouble
    assert len(read_recording(part).records) > 50


def test_where_nothing_can_be_written_a_fault_is_only_told(tmp_path: Path) -> None:
    found = feed(tmp_path / "gone" / "run.mcap", fall(ticks(3000), 1000), 100)
    assert found.written == []
    assert found.trouble is not None
    assert "cannot be written" in found.trouble


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 60), max_size=8), st.integers(0, 2**32))
def test_a_tally_of_parts_is_the_tally_of_the_whole(sizes: list[int], seed: int) -> None:
    rows = any_ticks(sum(sizes), seed)
    rows["source"][::3] = Source.POLICY
    parts, whole = Tally(1, same_clock=True), Tally(1, same_clock=True)
    whole.add(rows)
    for size in sizes:
        parts.add(rows[:size])
        rows = rows[size:]
    assert (parts.misses, parts.modes, parts.timing) == (whole.misses, whole.modes, whole.timing)
    assert (parts.ticks, parts.realtime_ticks, parts.lockstep_ticks) == (
        whole.ticks,
        whole.realtime_ticks,
        whole.lockstep_ticks,
    )
    assert parts.rejected.tolist() == whole.rejected.tolist()
    assert parts.saturated.tolist() == whole.saturated.tolist()


def test_a_long_run_is_told_by_a_fair_sample_and_its_true_maximum(monkeypatch) -> None:
    monkeypatch.setattr(tallies, "SAMPLES", 4000)
    whole = Tally(1, same_clock=True)
    for first in range(0, 100_000, 1000):
        rows = ticks(1000, first)
        rows["start_ns"] = rows["scheduled_ns"] + rows["tick"]
        whole.add(rows)
    lateness = whole.timing.lateness
    assert (lateness.n, lateness.maximum) == (100_000, 99_999)
    values = {one.q: one.value for one in lateness.quantiles}
    assert values[0.5] == pytest.approx(50_000, abs=4000)  # five standard deviations of a median of 4000
    assert values[0.9] == pytest.approx(90_000, abs=2400)


def test_a_source_that_changes_in_every_tick_does_not_fill_the_memory(monkeypatch) -> None:
    whole = Tally(1, same_clock=True)
    rows = ticks(tallies.SPANS + 1001)
    rows["source"][::2] = Source.HOLD
    whole.add(rows)
    assert len(whole.modes) == tallies.SPANS
    assert whole.modes[-1].first_tick == len(rows) - 1
    assert np.all(np.diff([span.first_tick for span in whole.modes]) == 1)
