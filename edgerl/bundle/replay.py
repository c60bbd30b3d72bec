"""Would the envelope let this policy act? The golden set's own actions, through the guardian's own code.

Rows are a rollout only where the golden set says so: recorded from the trainer, one after the other, with no
``episode_start`` between them. Those are judged for rate and acceleration, too, in every base tick of the loop as its
inner law makes them. Every other row stands alone: only range and finiteness are judged, since nobody knows what came
before it.

Where the guardian closes the joints' loop, its torques depend on a state that the golden set does not hold: the
positions that the policy asks for are judged, and the evidence says so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgerl.bundle.replay_state import replay_states
from edgerl.envelope import Envelope
from edgerl.envelope.joints import closes_loop
from edgerl.errors import EnvelopeRejectsPolicy
from edgerl.golden import GoldenSet
from edgerl.runtime.command_map import CommandMap
from edgerl.runtime.core import replay_envelope
from edgerl.runtime.enums import Verdict
from edgerl.runtime.envelope_config import ON_REJECT, target_channels
from edgerl.spec import PolicySpec


def replay_golden(envelope: Envelope, golden: GoldenSet, spec: PolicySpec, period_ns: int) -> str:
    """Return the evidence that the envelope neither stops nor changes the policy anywhere in its golden set.

    Args:
        envelope: Limits, and what a reject writes.
        golden: Its ``expected_float32`` are the policy's actions.
        spec: Of the policy; its action turns them into commands.
        period_ns: Base tick of the loop in [ns]; a row stays in effect for the spec's policy divider.

    Raises:
        EnvelopeRejectsPolicy: One is outside; the message names row, channel, value and limit.
        EnvelopeRejectsState: A recorded observation is of a state outside the limits.
        EnvelopeError: The actions have another number of channels than the envelope.
        PlatformError: The guardian's code is not here; it needs Linux.
    """
    actions = np.array(golden.expected_float32, dtype=np.float32, order="C")
    CommandMap(spec.action).apply(actions)
    alone = ~_follows(golden)
    ticks = spec.robot.policy_divider
    commands = _base_ticks(actions, alone, ticks if envelope.inner_law == "interpolate" else 1, ticks)
    starts = np.repeat(alone, ticks) & (np.arange(len(commands)) % ticks == 0)
    times_ns = np.arange(1, len(commands) + 1, dtype=np.uint64) * np.uint64(period_ns)
    replay = replay_envelope(
        target_channels(envelope), commands, times_ns, starts, on_reject=ON_REJECT[envelope.on_reject]
    )
    bad = np.argwhere(replay.verdicts)
    if len(bad):
        tick, channel = (int(index) for index in bad[0])
        value, verdict = float(commands[tick, channel]), Verdict(int(replay.verdicts[tick, channel]))
        # Nothing was refused before this tick, so the command before it was written as it is.
        previous = float(commands[tick - 1, channel])
        raise EnvelopeRejectsPolicy(
            row=tick // ticks,
            channel=envelope.channels[channel].name,
            what=_describe(envelope, channel, value, previous, verdict),
            rows=(len(np.unique(bad[:, 0] // ticks)), golden.rows),
        )
    states = replay_states(envelope, golden, spec)
    states = f"; {states}" if states else ""
    if closes_loop(spec):
        return (
            f"{golden.rows:,} golden actions ask for positions within range, none rejected, none saturated; "
            f"torques were not judged, since they depend on the robot's state{states}"
        )
    judged = golden.rows - int(alone.sum())
    rates = f"{judged:,} of them within rate and acceleration" if judged else "no rollout to judge rates by"
    return f"{golden.rows:,} golden actions within range, {rates}; none rejected, none saturated{states}"


def _base_ticks(
    actions: npt.NDArray[np.float32], alone: npt.NDArray[np.bool_], way: int, ticks: int
) -> npt.NDArray[np.float32]:
    """Return the command of every base tick, shape (rows * ticks, channels).

    Args:
        actions: In the unit of the command, shape (rows, channels).
        alone: Rows that nothing leads to, shape (rows,).
        way: Base ticks from an action to the next one; 1: at once.
        ticks: Base ticks that an action stays in effect.
    """
    before = np.roll(actions, 1, axis=0)
    before[alone] = actions[alone]
    weights = np.minimum(np.arange(1, ticks + 1, dtype=np.float32) / np.float32(way), np.float32(1))[None, :, None]
    made = before[:, None] + weights * (actions - before)[:, None]
    made = np.where(weights == 1, actions[:, None], made)
    return np.ascontiguousarray(made.reshape(-1, actions.shape[1]))


def _follows(golden: GoldenSet) -> npt.NDArray[np.bool_]:
    """Return which rows come one period after the row before them, shape (rows,)."""
    recorded = golden.trainer_rows
    follows = np.zeros(golden.rows, np.bool_)
    follows[1:] = recorded[1:] & recorded[:-1] & ~golden.episode_start[1:]
    return follows


def _describe(envelope: Envelope, channel: int, value: float, previous: float, causes: Verdict) -> str:
    """Return what is wrong with one value, with the limit that it breaks."""
    limits = envelope.channels[channel]
    low, high = limits.target_low, limits.target_high
    if Verdict.NOT_FINITE in causes:
        return f"{value}, which is not finite"
    if Verdict.LOW in causes:
        return f"{value:.9g}, below " + (f"low = {limits.low:.9g}" if low is None else f"target_low = {low:.9g}")
    if Verdict.HIGH in causes:
        return f"{value:.9g}, above " + (f"high = {limits.high:.9g}" if high is None else f"target_high = {high:.9g}")
    if Verdict.RATE in causes:
        return (
            f"{value:.9g} after {previous:.9g} in one period, faster than max_rate = {limits.max_rate:.9g} per second"
        )
    return (
        f"{value:.9g} after {previous:.9g}, beyond max_acceleration = {limits.max_acceleration:.9g} per second squared"
    )
