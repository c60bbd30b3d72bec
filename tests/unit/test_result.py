from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.backends import Engine
from edgerl.errors import EdgerlError
from edgerl.runtime import result
from edgerl.runtime.enums import Clock, Event, Mode, Source
from edgerl.runtime.interrupts import catch_interrupts
from edgerl.runtime.job import Job, pack_job, unpack_job
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.recording import SCHEMA, Header, Recording, arrays_of, record_dtype, this_machine
from edgerl.runtime.result import Misses, ModeSpan
from edgerl.runtime.structs import Status
from edgerl.runtime.tally import tally_of
from edgerl.spec import Action, Input, PolicySpec, Provenance, Robot, opaque_term

LAYOUT = Layout((Channel("s", "1"),), (Channel("hip", "1"), Channel("knee", "1")))


def recording(rows: list[dict[str, object]], *, same_clock: bool = True) -> Recording:
    records = np.zeros(len(rows), record_dtype(arrays_of(LAYOUT)))
    records["tick"] = np.arange(len(rows))
    for index, row in enumerate(rows):
        for name, value in row.items():
            records[name][index] = value
    header = Header(SCHEMA, "", "", "gym:X", "", 0, 0, this_machine(), {}, same_clock, arrays_of(LAYOUT))
    return Recording(header, records, complete=True)


def row(mode: Mode, source: Source, *events: Event, from_mode: Mode | None = None, **more: object) -> dict[str, object]:
    bits = sum(1 << event for event in events)
    return {
        "mode": mode,
        "from_mode": mode if from_mode is None else from_mode,
        "source": source,
        "events": bits,
        **more,
    }


def test_misses_are_counted_only_where_the_policy_was_in_charge() -> None:
    rows = [
        row(Mode.SAFE, Source.SAFE, Event.STATE_LOST, missed_periods=5),
        row(Mode.ACTIVE, Source.POLICY, Event.ARM, from_mode=Mode.SAFE),
        row(Mode.ACTIVE, Source.HOLD, Event.ACTION_LATE, missed_periods=2),
        row(Mode.ACTIVE, Source.HOLD, Event.STATE_LOST),
        row(Mode.ACTIVE, Source.POLICY, Event.NOMINAL, saturated=[2, 0, 0, 0]),
        row(Mode.FALLBACK, Source.HOLD, Event.REJECT, Event.BUCKET_FAULT, from_mode=Mode.ACTIVE, rejected=[1, 0, 0, 0]),
        row(Mode.FALLBACK, Source.SAFE, Event.STATE_LOST, rejected=[1, 0, 0, 0]),
    ]
    assert tally_of(recording(rows)).misses == Misses(
        ticks=4, actions_late=1, states_lost=1, rejected=1, saturated=1, missed_periods=2
    )


def test_a_run_is_told_as_spans_of_mode_and_source() -> None:
    rows = [
        row(Mode.SAFE, Source.SAFE),
        row(Mode.ACTIVE, Source.POLICY),
        row(Mode.ACTIVE, Source.POLICY),
        row(Mode.ACTIVE, Source.HOLD),
        row(Mode.FALLBACK, Source.HOLD),
    ]
    assert tally_of(recording(rows)).modes == (
        ModeSpan("SAFE", "safe", 0, 1),
        ModeSpan("ACTIVE", "policy", 1, 2),
        ModeSpan("ACTIVE", "hold", 3, 1),
        ModeSpan("FALLBACK", "hold", 4, 1),
    )
    assert tally_of(recording([])).modes == ()


def test_times_of_real_time_and_lockstep_stay_apart() -> None:
    grid = {"clock": Clock.GRID, "scheduled_ns": 100, "start_ns": 107, "stamp_ns": 90, "post_ns": 110, "action_ns": 150}
    rows = [
        {**grid, "write_ns": 160, "infer_ns": 30, "observed": 1},
        {**grid, "write_ns": 170, "infer_ns": 30, "observed": 0, "action_sequence": 1},
        {**grid, "write_ns": 0, "action_ns": 0, "observed": 1},
        {"clock": Clock.LOCKSTEP, "action_ns": 1, "infer_ns": 5},
        {**grid, "post_ns": 0, "write_ns": 0, "infer_ns": 20, "action_sequence": 1},
    ]
    timing = tally_of(recording(rows)).timing
    assert (timing.lateness.n, timing.lateness.maximum) == (4, 7)
    assert timing.latency is not None
    assert (timing.latency.n, timing.latency.maximum) == (1, 70)
    assert (timing.answer.n, timing.answer.maximum) == (2, 40)
    assert (timing.inference.n, timing.inference.maximum) == (3, 30)
    assert (timing.lockstep_inference.n, timing.lockstep_inference.maximum) == (1, 5)
    assert tally_of(recording(rows, same_clock=False)).timing.latency is None


def test_counts_name_the_channel_and_leave_out_what_did_not_occur() -> None:
    status = Status(ticks=9, actions_late=2, commands_sent=7)
    status.dropped[0] = 4
    rows = [row(Mode.ACTIVE, Source.HOLD, rejected=[3, 0, 0, 0]), row(Mode.ACTIVE, Source.HOLD, rejected=[2, 0, 0, 0])]
    violations = np.array([[1, 0, 0, 0, 0], [0, 0, 2, 0, 0]], np.uint32)
    tally = tally_of(recording(rows))
    counts = result.counts_of(
        status, violations, ["hip", "knee"], rejected=tally.rejected.tolist(), saturated=tally.saturated.tolist()
    )
    assert (counts.ticks, counts.actions_late, counts.commands_sent, counts.dropped) == (9, 2, 7, {"length": 4})
    hip, knee = counts.channels
    assert (hip.name, hip.rejected, hip.not_finite, hip.high) == ("hip", 1, 1, 0)
    assert (knee.name, knee.rejected, knee.saturated, knee.high) == ("knee", 2, 0, 2)


SPEC = PolicySpec(
    schema=1,
    inputs=(Input("observation", (1,), "float32", 0, (opaque_term("observation", 1),)),),
    action=Action("continuous", None, None, "opaque", (-1.0,), (1.0,), True, False, None, None),
    robot=Robot((), None, None, None, "none", None, 1),
    period_ns=1,
    state=(),
    provenance=Provenance("t", None, None, {}, {}, None, ()),
    sources={},
)
ENGINE = Engine("onnxruntime", "linux-x86_64", "float32", "ab", SPEC, {"policy.onnx": b"model", "more": b""})


def test_a_job_reaches_the_policy_process_bit_for_bit() -> None:
    job = unpack_job(pack_job(Job(ENGINE, b"golden")))
    assert job.golden == b"golden"
    assert job.engine == ENGINE or vars(job.engine) == vars(ENGINE)


@given(st.integers(0, 10**6), st.binary(max_size=4))
def test_a_damaged_job_is_one_error(place: int, insert: bytes) -> None:
    data = pack_job(Job(ENGINE, b"golden"))
    cut = data[: place % len(data)] + insert
    if cut == data:
        return
    with pytest.raises(EdgerlError):
        unpack_job(cut)


def test_interrupts_are_counted_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with catch_interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.count == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
