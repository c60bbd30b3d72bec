"""The mode table once more, in Python, as the rules that its cells follow.

Part of :mod:`tests.core_model`. Written from docs/safety.md, not from the C.
"""

from __future__ import annotations

from edgerl.runtime.enums import Event, LadderClass, Mode, Source

E, M, S = Event, Mode, Source
STATE_DOUBT = {E.STATE_FROZEN, E.STATE_LIMIT, E.STATE_FAULT}
POLICY_FAULTS = {E.INFERENCE_TIMEOUT, E.POLICY_FAULT}
FAULTS = STATE_DOUBT | {E.BUCKET_FAULT, E.JITTER_FAULT, E.LAPSED, E.DEAD_MAN, E.SUPERVISOR_FAULT}
DEGRADES = {E.ACTION_LATE, E.STATE_LOST, E.REJECT, E.OVERRUN}
BESIDE = {E.OPERATOR_LOST, E.OVERRUN}
"""Beside these the policy is asked as if nothing had been met."""


def cell(mode: Mode, event: Event) -> tuple[Source, Mode]:
    """Return what the mode table names: the rules that its cells follow."""
    if event == E.RESET:
        return S.SAFE, M.SAFE
    if event == E.LADDER_END or mode == M.STOPPED:
        return S.LAPSE, M.STOPPED
    if event in (E.ESTOP, E.QUIT):
        return S.SAFE, M.STOPPED
    if mode == M.FALLBACK:
        return S.LADDER, M.FALLBACK
    if event == E.ARM:
        return S.POLICY, M.ACTIVE
    if mode == M.SAFE:
        moves = {E.PREPARE: (S.RAMP, M.PREPARE), E.SUPERVISOR_FAULT: (S.SAFE, M.STOPPED)}
        return moves.get(event, (S.SAFE, M.SAFE))
    if event in (E.DISARM, E.DONE):
        return S.SAFE, M.SAFE
    if event in FAULTS or (mode == M.ACTIVE and event in POLICY_FAULTS):
        return S.LADDER, M.FALLBACK
    if event == E.STATE_LOST:
        return S.HOLD, mode
    if mode == M.PREPARE:
        return S.RAMP, M.PREPARE
    return {E.ACTION_LATE: S.HOLD, E.REJECT: S.ON_REJECT}.get(event, S.POLICY), M.ACTIVE


def governing(mode: Mode, events: set[Event]) -> Event:
    """Return the highest of the events that lead away, RESET aside; where none does, the highest of all."""
    leading = {event for event in events if cell(mode, event)[1] != mode}
    highest, fault = max(events), max(leading - {E.RESET}, default=None)
    return highest if fault is None or highest in leading else fault


def ladder_of(event: Event, events: set[Event]) -> LadderClass:
    """Return the class of a fault: the state's wherever the state is in doubt."""
    if events & STATE_DOUBT or (event == E.BUCKET_FAULT and E.STATE_LOST in events):
        return LadderClass.STATE
    return LadderClass.POLICY if event in POLICY_FAULTS | {E.BUCKET_FAULT} else LadderClass.MACHINE
