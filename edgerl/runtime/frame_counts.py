"""What became of a policy's images: the account that its processes keep in their action mailboxes, and its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgerl.runtime.enums import FrameVerdict
from edgerl.runtime.segments import Segment
from edgerl.runtime.structs import ActionMailbox

_WORDS = len(FrameVerdict) + 1


@dataclass(frozen=True)
class FrameCounts:
    """Observations, by what became of their images. All but ``taken`` were not answered."""

    taken: int
    missing: int
    """No image had ever come."""
    stale: int
    """The newest one was older than the envelope allows, or stamped in the future."""
    torn: int
    """The camera's process overtook every reading of it."""
    other_state: int
    """Lockstep: the image of the observed state did not come in time."""
    not_finite: int
    oldest_ns: int
    """Largest age of an image that was acted on; not in lockstep."""

    @property
    def unanswered(self) -> int:
        """Observations that were not answered for want of an image."""
        return self.missing + self.stale + self.torn + self.other_state + self.not_finite


def read_frame_counts(mailboxes: Sequence[Segment]) -> FrameCounts:
    """Return the account of all policy processes of a run together."""
    offset = ActionMailbox.frames.offset
    words = np.array([np.frombuffer(mailbox.memory, np.uint64, _WORDS, offset) for mailbox in mailboxes])
    verdicts = {verdict.name.lower(): int(words[:, verdict].sum()) for verdict in FrameVerdict}
    return FrameCounts(**verdicts, oldest_ns=int(words[:, -1].max()))


def describe_frames(counts: FrameCounts, trouble: str) -> str:
    """Return which observations were not answered for want of an image, as a sentence; empty where all were.

    Args:
        counts: Of the run.
        trouble: Which images nobody gives now, and why; empty where all are given.
    """
    causes = {
        "no image had come yet": counts.missing,
        "the image was too old": counts.stale,
        "the image was overwritten while it was read": counts.torn,
        "the image of the observed state did not come": counts.other_state,
        "the image was not finite": counts.not_finite,
    }
    listed = ", ".join(f"{count:,} as {cause}" for cause, count in causes.items() if count)
    if not listed:
        return ""
    return f"Observations without an answer for want of an image: {listed}.{f' Now: {trouble}.' if trouble else ''}"
