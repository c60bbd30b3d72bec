"""Would the envelope let this policy act? The golden set's own actions, through the guardian's own code.

Rows are a rollout only where the golden set says so: recorded from the trainer, one after the other, with no
``episode_start`` between them. Those follow a control period apart and are judged for rate and acceleration, too.
Every other row stands alone: only range and finiteness are judged, since nobody knows what came before it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgerl.envelope import Envelope
from edgerl.errors import EnvelopeRejectsPolicy
from edgerl.golden import GoldenSet
from edgerl.runtime.command_map import CommandMap
from edgerl.runtime.core import replay_envelope
from edgerl.runtime.enums import Verdict
from edgerl.runtime.envelope_config import ON_REJECT, core_channels
from edgerl.spec import Action


def replay_golden(envelope: Envelope, golden: GoldenSet, action: Action, period_ns: int) -> str:
    """Return the evidence that the envelope neither rejects nor saturates any of the golden actions.

    Args:
        envelope: Limits, and what a reject writes.
        golden: Its ``expected_float32`` are the policy's actions.
        action: Of the same spec; it turns them into commands.
        period_ns: Time between the rows of a rollout in [ns].

    Raises:
        EnvelopeRejectsPolicy: One is outside; the message names row, channel, value and limit.
        EnvelopeError: The actions have another number of channels than the envelope.
        PlatformError: The guardian's code is not here; it needs Linux.
    """
    commands = np.array(golden.expected_float32, dtype=np.float32, order="C")
    CommandMap(action).apply(commands)
    alone = ~_follows(golden)
    times_ns = np.arange(1, golden.rows + 1, dtype=np.uint64) * np.uint64(period_ns)
    replay = replay_envelope(
        core_channels(envelope), commands, times_ns, alone, on_reject=ON_REJECT[envelope.on_reject]
    )
    bad = np.argwhere(replay.verdicts)
    if len(bad):
        row, channel = (int(index) for index in bad[0])
        value, verdict = float(commands[row, channel]), Verdict(int(replay.verdicts[row, channel]))
        # Nothing was refused before this row, so the row before it was written as it is.
        previous = float(commands[row - 1, channel])
        raise EnvelopeRejectsPolicy(
            row=row,
            channel=envelope.channels[channel].name,
            what=_describe(envelope, channel, value, previous, verdict),
            rows=(len(np.unique(bad[:, 0])), golden.rows),
        )
    judged = golden.rows - int(alone.sum())
    rates = f"{judged:,} of them within rate and acceleration" if judged else "no rollout to judge rates by"
    return f"{golden.rows:,} golden actions within range, {rates}; none rejected, none saturated"


def _follows(golden: GoldenSet) -> npt.NDArray[np.bool_]:
    """Return which rows come one period after the row before them, shape (rows,)."""
    recorded = golden.trainer_rows
    follows = np.zeros(golden.rows, np.bool_)
    follows[1:] = recorded[1:] & recorded[:-1] & ~golden.episode_start[1:]
    return follows


def _describe(envelope: Envelope, channel: int, value: float, previous: float, causes: Verdict) -> str:
    """Return what is wrong with one value, with the limit that it breaks."""
    limits = envelope.channels[channel]
    if Verdict.NOT_FINITE in causes:
        return f"{value}, which is not finite"
    if Verdict.LOW in causes:
        return f"{value:.9g}, below low = {limits.low:.9g}"
    if Verdict.HIGH in causes:
        return f"{value:.9g}, above high = {limits.high:.9g}"
    if Verdict.RATE in causes:
        return (
            f"{value:.9g} after {previous:.9g} in one period, faster than max_rate = {limits.max_rate:.9g} per second"
        )
    return (
        f"{value:.9g} after {previous:.9g}, beyond max_acceleration = {limits.max_acceleration:.9g} per second squared"
    )
