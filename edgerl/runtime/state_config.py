"""What the envelope says of the robot's state, and what it has watched, in the guardian's own terms.

Nothing is judged here: :mod:`edgerl.envelope` did, and the guardian does once more.
"""

from __future__ import annotations

import math

from edgerl.envelope import Envelope
from edgerl.envelope.state import StateSet
from edgerl.envelope.watchdog import Watchdog
from edgerl.runtime.layout import Layout
from edgerl.runtime.structs import Config, StateChannel

_ANY_TILT = -1.0
"""Cosine below which no robot is."""


def apply_state(config: Config, envelope: Envelope, layout: Layout) -> None:
    """Write what the envelope says of the state into a guardian's configuration.

    Args:
        config: As :func:`~edgerl.runtime.observation_config.apply_terms` left it; changed.
        envelope: Already checked against the spec.
        layout: Of the same spec and envelope.
    """
    config.state_count = len(layout.state)
    for index in range(len(layout.state)):
        config.states[index] = StateChannel(-math.inf, math.inf, -math.inf, math.inf, 0, 0)
    if envelope.state is not None:
        _limit(config, envelope.state, {channel.name: index for index, channel in enumerate(layout.state)})
    if envelope.watchdog is not None:
        _watch(config, envelope.watchdog)


def _limit(config: Config, state: StateSet, places: dict[str, int]) -> None:
    for one in state.channels:
        config.states[places[one.name]] = StateChannel(
            one.low, one.high, one.start_low, one.start_high, int(one.noisy), 0
        )
    config.tilt_cos = _cosine(state.max_tilt)
    config.start_tilt_cos = _cosine(state.max_start_tilt)


def _cosine(tilt: float | None) -> float:
    return _ANY_TILT if tilt is None else math.cos(tilt)


def _watch(config: Config, watchdog: Watchdog) -> None:
    config.frozen_ticks = watchdog.frozen_ticks or 0
    if watchdog.jitter is not None:
        config.jitter_budget_ns = watchdog.jitter.budget_ns
        config.jitter_limit, config.jitter_window = watchdog.jitter.misses, watchdog.jitter.of_ticks
    if watchdog.heartbeat_timeout_ns is not None:
        config.heartbeat_timeout_ns = watchdog.heartbeat_timeout_ns
