"""Runs of the control loop made from random numbers, in the form of real recordings: what reports are tested on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgerl.envelope import ChannelLimits, Degrade, Envelope, Ladder
from edgerl.parity import ChannelParity, ParityReport
from edgerl.report.run_report import PolicyFacts, RunReport, SentChannel, TrainerReturn
from edgerl.runtime.enums import Clock, Event, Mode, Source
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.plant_lines import EpisodeResult
from edgerl.runtime.recording import Header, Machine, Recording, arrays_of, record_dtype
from edgerl.runtime.result import ChannelCounts, Counts, RunResult, Scheduling
from edgerl.runtime.tally import tally_of

JOINTS = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
PERIOD_NS = 50_000_000
STATES = 17


def limits(name: str) -> ChannelLimits:
    return ChannelLimits(name, -1.0, 1.0, math.inf, math.inf, "saturate")


def envelope(names=JOINTS) -> Envelope:
    ladder = Ladder(PERIOD_NS, 10 * PERIOD_NS, None)
    return Envelope(
        1, "action_box", tuple(map(limits, names)), (0.0,) * len(names), "hold", Degrade(5, 20), ladder,
        budget_ns=25_000_000, valid_for_ns=100_000_000, state_timeout_ns=250_000_000, allow_lockstep=True,
    )  # fmt: skip


def header(names=JOINTS, **changes) -> Header:
    layout = Layout(
        tuple(Channel(f"observation[{i}]", "1") for i in range(STATES)), tuple(Channel(name, "1") for name in names)
    )
    whole = Header(
        schema=1, bundle="b2" * 32, spec="5e" * 32, robot="gym:HalfCheetah-v5", session="00c0ffee00c0ffee",
        started_unix_ns=1_790_000_000 * 10**9, started_monotonic_ns=0,
        machine=Machine("AMD EPYC 9555", "6.18.0", "x86_64", 2, "3.11.7"), guardian={"period_ns": PERIOD_NS},
        same_clock=True, arrays=arrays_of(layout),
    )  # fmt: skip
    return replace(whole, **changes)


def records(ticks=1000, real=300, names=JOINTS, seed=1):
    """An episode: armed at tick 3, ``real`` ticks on the grid, the rest in lockstep; nothing goes wrong."""
    random = np.random.default_rng(seed)
    rows = np.zeros(ticks, record_dtype(header(names).arrays))
    index = np.arange(ticks)
    grid = index < real
    late = (random.lognormal(3.2, 0.5, ticks) * 1000).astype(np.int64)
    infer = (np.where(grid, random.lognormal(4.9, 0.25, ticks), random.lognormal(2.8, 0.3, ticks)) * 1000).astype(int)
    begin = 10**12 + np.where(grid, index * PERIOD_NS, real * PERIOD_NS + (index - real) * 400_000)
    start = begin + late
    post = start + 4_000
    taken = post + infer + (random.lognormal(4.2, 0.3, ticks) * 1000).astype(int)
    armed = index >= 3
    columns = {
        "tick": index, "tick_ns": begin, "scheduled_ns": begin, "start_ns": start, "state_sequence": index + 1,
        "stamp_ns": begin - 150_000, "post_ns": post, "action_ns": taken, "write_ns": taken + 6_000,
        "infer_ns": infer, "epoch": 1, "action_sequence": index, "events": 1,
        "clock": np.where(grid, Clock.GRID, Clock.LOCKSTEP),
        "mode": np.where(armed, Mode.ACTIVE, Mode.SAFE), "from_mode": np.where(index > 3, Mode.ACTIVE, Mode.SAFE),
        "source": np.where(armed, Source.POLICY, Source.SAFE), "observed": 1,
    }  # fmt: skip
    for name, values in columns.items():
        rows[name] = values
    if ticks > 3:
        meet(rows, 3, Event.ARM)
    phase = np.arange(len(names)) * 0.9
    rows["action"] = 1.15 * np.sin(index[:, None] * 0.55 + phase) + random.normal(0, 0.12, (ticks, len(names)))
    clipped = np.clip(rows["action"], -1, 1)
    rows["saturated"][:, 0] = ((rows["action"] != clipped) << np.arange(len(names))).sum(axis=1)
    rows["command"] = np.where(armed[:, None], clipped, 0.0)
    return rows


def meet(rows, tick: int, event: Event, count: int = 1) -> None:
    """Let ``count`` ticks from ``tick`` on meet an event."""
    rows["events"][tick : tick + count] |= 1 << event
    rows["event"][tick : tick + count] = event


def be_late(rows, tick: int, count: int = 1) -> None:
    """Let the policy not answer within the budget."""
    meet(rows, tick, Event.ACTION_LATE, count)
    late = slice(tick, tick + count)
    rows["action_ns"][late] = rows["infer_ns"][late] = 0
    rows["write_ns"][late] = rows["start_ns"][late] + 25_000_000
    rows["source"][late] = Source.HOLD


def fall_back(rows, tick: int, event: Event = Event.BUCKET_FAULT, hold: int = 40) -> None:
    """Let a fault take the robot out of the policy's hands, then let the ladder end."""
    meet(rows, tick, event)
    rows["mode"][tick:] = Mode.FALLBACK
    rows["from_mode"][tick + 1 :] = Mode.FALLBACK
    rows["source"][tick:] = Source.SAFE
    rows["command"][tick:] = 0
    rows["mode"][tick + hold :] = Mode.STOPPED
    rows["from_mode"][tick + hold + 1 :] = Mode.STOPPED
    rows["source"][tick + hold :] = Source.LAPSE
    rows["write_ns"][tick + hold :] = 0
    meet(rows, tick + hold, Event.LADDER_END)


def counts(rows, names=JOINTS) -> Counts:
    """What the guardian would have counted in these ticks."""

    def met(event: Event) -> int:
        return int(np.count_nonzero(rows["events"] & (1 << event)))

    def per_channel(words) -> list[int]:
        return [int(np.count_nonzero(words[:, i // 64] >> np.uint64(i % 64) & np.uint64(1))) for i in range(len(names))]

    both = zip(names, per_channel(rows["rejected"]), per_channel(rows["saturated"]), strict=True)
    return Counts(
        ticks=rows.size, missed_periods=int(rows["missed_periods"].sum()), actions_taken=rows.size,
        actions_late=met(Event.ACTION_LATE), actions_stale=0, states_taken=rows.size, states_lost=met(Event.STATE_LOST),
        states_skipped=0, commands_sent=rows.size, send_errors=0, receive_errors=0, dropped={},
        channels=tuple(ChannelCounts(name, r, s, r, s // 2, s - s // 2, 0, 0) for name, r, s in both),
    )  # fmt: skip


def result(recording: Recording, names=JOINTS, **changes) -> RunResult:
    rows, tally = recording.records, tally_of(recording)
    fault = next((event.name.lower() for event in Event if event >= Event.BUCKET_FAULT and met(rows, event)), None)
    whole = RunResult(
        ended="fault" if fault else "done", message="A fault ended the run." if fault else "The robot was done.",
        fault=fault, ticks=rows.size, realtime_ticks=tally.realtime_ticks, lockstep_ticks=tally.lockstep_ticks,
        misses=tally.misses, modes=tally.modes, timing=tally.timing, counts=counts(rows, names),
        scheduling=Scheduling(80, 0, 0, True, 0), episodes=(episode(),), plant=None, recording="run.mcap",
        lost_records=0, dumps=(), recording_trouble=(), bundle="b2" * 32,
    )  # fmt: skip
    return replace(whole, **changes)


def met(rows, event: Event) -> bool:
    return bool(np.any(rows["events"] & (1 << event)))


def episode(index=0, value: float | None = 3981.2, **changes) -> EpisodeResult:
    whole = EpisodeResult(
        event="episode", index=index, seed=7 + index, episode_return=value, steps=1000, terminated=False,
        truncated=True, left=None, realtime_steps=300, missed=0, lapsed=0, outside=0, missed_periods=0, applied=(),
        latency_ns=tuple(range(250_000, 550_000, 1_000)), lateness_ns=(20_000,) * 300,
    )  # fmt: skip
    return replace(whole, **changes)


def parity(names=JOINTS, **changes) -> ParityReport:
    channels = tuple(ChannelParity(name, 2e-5, 3.1e-7 * (i + 1), 17, 0.25, 0.25, 0) for i, name in enumerate(names))
    return replace(ParityReport("passed", "truth.npz", 256, channels, 0, (), (), "not_run"), **changes)


def commands(names=JOINTS, unit=None) -> tuple[SentChannel, ...]:
    return tuple(SentChannel(limits, unit, index) for index, limits in enumerate(envelope(names).channels))


def report(rows=None, *, names=JOINTS, complete=True, heading=None, said=None, **changes) -> RunReport:
    """A report; ``heading`` changes the recording's header, ``said`` the result."""
    rows = records(names=names) if rows is None else rows
    recording = Recording(header(names, **(heading or {})), rows, complete)
    policy = PolicyFacts(
        "halfcheetah", "stable-baselines3", "2.9.2", "PPO", (("model.zip", "c4" * 32),), "halfcheetah.edgerl",
        "onnxruntime", (("edgerl", "0.1.0"), ("onnxruntime", "1.23.2")),
    )  # fmt: skip
    whole = RunReport(
        title="halfcheetah on HalfCheetah-v5", result=result(recording, names, **(said or {})), recording=recording,
        policy=policy, envelope=envelope(names), commands=commands(names), parity=parity(names),
        trainer_return=TrainerReturn(3994.73, 14.43, 10, 3874.9),
    )  # fmt: skip
    return replace(whole, **changes)
