"""The control loop once more, in Python: what a tick must do, by what robot, policies and supervisor did.

Written from docs/safety.md and docs/architecture.md, not from the C, and as plainly as it can be. From what went into
a tick the model says which events it met, which of them governs, which mode and source follow, and what may be sent.
It takes from the tick's record what only the tick knows: its times, and which answer of a policy it took, after
checking that it could. It never says what the loop should have done instead of being at fault: it asserts.
"""

from __future__ import annotations

import numpy as np

from edgerl.runtime import structs
from edgerl.runtime.enums import Dtype, Event, LadderClass, Source
from tests.core_model_senses import Bucket, Given, Senses
from tests.core_model_table import BESIDE, DEGRADES, STATE_DOUBT, E, M, S, cell, governing, ladder_of

EVENTS = tuple(Event)


class Model(Senses):
    """The judge of a loop's ticks."""

    # What was asked, and answered.

    def _unshowable(self) -> bool:
        """Say whether a value of the state does not fit the type of its place in the observation."""
        for index, dtype in self.whole:
            low, high = (0, 255) if dtype == Dtype.UINT8 else (-(2**31), 2**31 - 128)
            if not low <= np.rint(self.values[index]) <= high:
                return True
        return False

    def _resolve(self, given: Given, header: structs.TickHeader, switched: bool, *, trial: bool = False) -> None:
        """The answer to the newest observation is due: it was taken, or it was not there."""
        self.outstanding = False
        taken = header.action_ns != 0
        self.late = not taken
        if switched:
            assert taken
            return
        slot, epoch = self.acting & 0xFF, self.acting >> 8
        if taken:
            assert (header.epoch, header.action_sequence, header.acting_slot) == (epoch, self.asked, slot)
            if not trial:
                self.commands.inner.take(self.action, header.tick)
        elif given.heard[slot] is not None and epoch:
            c = self.config
            assert given.heard[slot] != (epoch, self.asked, c.action_count, c.raw_count)
        if not trial:
            self._overhear(header)

    def _overhear(self, header: structs.TickHeader) -> None:
        """Note what the candidate answered to the newest observation."""
        if header.shadow_epoch and header.shadow_sequence == self.asked:
            assert header.shadow_epoch == self.candidate >> 8
            self.commands.standby.take(self.shadow, header.tick)

    def _post(self, header: structs.TickHeader) -> bool:
        assert (header.post_ns != 0) != self._unshowable()
        if header.post_ns == 0:
            return False
        self.asked, self.asked_ticks, self.posted, self.outstanding = header.tick, 0, True, True
        self.restart = False
        return True

    def _act(self, given: Given, header: structs.TickHeader, events: set[Event], answers: set[Event]) -> set[Event]:
        """ACTIVE: what the asking must have met."""
        c, switched = self.config, E.SWITCH in answers
        askable, at_once = not events - BESIDE, c.action_delay == 0
        met: set[Event] = set()
        self.late = self.late and not at_once
        self.outstanding = self.outstanding and not (askable and self.restart)
        resolved = self.outstanding and self.asked_ticks >= c.action_delay
        if resolved:
            self._resolve(given, header, switched)
        if askable and (not self.posted or self.asked_ticks >= c.policy_divider or self.restart):
            if not self._post(header):
                met.add(E.STATE_FAULT)
            elif at_once:
                resolved = True
                self._resolve(given, header, switched)
        assert resolved or header.action_ns == 0
        assert resolved or not switched
        if self.late:
            met.add(E.ACTION_LATE)
        return met

    def _ready(self, given: Given, word: int) -> bool:
        return word >> 8 != 0 and given.ready[word & 0xFF] == word >> 8

    def _ask(self, given: Given, header: structs.TickHeader, events: set[Event], reported: set[Event]) -> set[Event]:
        """Return the events that the asking must add."""
        self.asked_ticks += 1 + header.missed_periods
        self.usable = self.observed and not events & (STATE_DOUBT | {E.STATE_LOST})
        if E.DISARM in events:
            self.arm_left = 0
        if self.mode == M.ACTIVE:
            met = self._drive(given, header, events, reported)
        elif self.mode in (M.SAFE, M.PREPARE):
            met = self._stand(given, header, events)
        else:
            met = self._attend(header, events)
        left = self.switch_left - 1
        self.switch_left = left if left > 0 and self.mode not in (M.FALLBACK, M.STOPPED) else 0
        return met

    def _drive(self, given: Given, header: structs.TickHeader, events: set[Event], reported: set[Event]) -> set[Event]:
        """ACTIVE: the policy's command, or another's that took over."""
        answers = reported & {E.SWITCH, E.INFERENCE_TIMEOUT}
        if E.INFERENCE_TIMEOUT in answers:
            assert self.config.inference_timeout_ns
        asked_before = self.asked
        met = self._act(given, header, events, answers)
        if E.SWITCH in answers:
            assert self.switch_left and self._ready(given, self.candidate)
            assert header.epoch == self.candidate >> 8
            assert header.action_sequence == (header.tick if self.config.action_delay == 0 else asked_before)
            assert not self.commands.begin(self, header)
            self._change_hands()
        elif not met and not events - BESIDE and self.commands.act(self, header):
            met.add(E.REJECT)
        return met | answers

    def _change_hands(self) -> None:
        self.acting, self.candidate, self.switch_left = self.candidate, 0, 0
        self.commands.standby.has = False

    def _stand(self, given: Given, header: structs.TickHeader, events: set[Event]) -> set[Event]:
        """SAFE and PREPARE: another policy takes over at once, or a wanted ARM gets nearer."""
        if self.switch_left and self._ready(given, self.candidate):
            self._change_hands()
            self._stop_asking()
            return {E.SWITCH}
        met = self._arm(given, header, events) if self.arm_left else set()
        if not self.trying:
            self._stop_asking()
        self.trying = False
        return met

    def _arm(self, given: Given, header: structs.TickHeader, events: set[Event]) -> set[Event]:
        """The way over the start pose, and the trial before ACTIVE."""
        c = self.config
        if self.mode == M.PREPARE and not self.commands.ramp_over:
            return set()
        prepares = self.mode == M.SAFE and c.prepare_ns != 0
        blocked = events & (STATE_DOUBT | {E.ESTOP, E.DONE, E.POLICY_FAULT})
        may = self.observed and self.in_force and self.held and self._ready(given, self.acting) and not blocked
        if not may or not (prepares or self._in_start_set()):
            self.arm_left -= self.values is not None
            return set()
        if events - BESIDE:
            return set()
        if prepares:
            return {E.PREPARE}
        met = self._try(given, header)
        self.arm_left = 0 if E.ARM in met else self.arm_left - 1
        return met

    def _in_start_set(self) -> bool:
        inside = all(low <= value <= high for (low, high), value in zip(self.starts, self.values.tolist(), strict=True))
        return inside and not self._tilted(self.config.start_tilt_cos)

    def _try(self, given: Given, header: structs.TickHeader) -> set[Event]:
        if (not self.posted or self.restart) and not self._post(header):
            return {E.STATE_FAULT}
        self.trying = True
        if not (self.outstanding and self.asked_ticks >= self.config.action_delay):
            return set()
        self._resolve(given, header, False, trial=True)
        if self.late:
            self.trying = self.late = False
            return {E.ACTION_LATE}
        refused = self.commands.begin(self, header)
        self.trying = not refused
        if refused:
            return {E.REJECT}
        if self.asked_ticks >= self.config.policy_divider and not self._post(header):
            self.trying = False
            return {E.STATE_FAULT}
        return {E.ARM}

    def _attend(self, header: structs.TickHeader, events: set[Event]) -> set[Event]:
        """FALLBACK and STOPPED: the candidate is asked where its ladder leads to it."""
        c, d = self.config, self.config.action_delay
        assert header.action_ns == 0
        leads = self.candidate and any(rung.source == S.STANDBY for rung in self._rungs())
        if self.mode != M.FALLBACK or not leads:
            self._stop_asking()
            return set()
        if self.outstanding and 0 < d <= self.asked_ticks:
            self.outstanding = False
            self._overhear(header)
        due = not self.posted or self.asked_ticks >= c.policy_divider or self.restart
        return {E.STATE_FAULT} if self.usable and due and not self._post(header) else set()

    def _stop_asking(self) -> None:
        self.posted = self.outstanding = self.late = self.commands.standby.has = False

    def _stand_by(self, given: Given, header: structs.TickHeader) -> bool:
        """The ladder is at the candidate: say whether its command is there, and may be sent."""
        if not self._ready(given, self.candidate):
            return False
        if self.config.action_delay == 0 and self.usable:
            if self.asked != header.tick and header.post_ns:
                self._post(header)
            if self.asked == header.tick:
                self._overhear(header)
        return self.commands.stand_by(self, header)

    # What followed.

    def tick(
        self, given: Given, header: structs.TickHeader, record: object, sent: list[object], status: structs.Status
    ) -> None:
        """Hold one tick against all of this."""
        self._listen(given)
        self.operators = record.operator.tolist()
        self._time(given, header)
        self.commands.advance(self.elapsed_ns)
        events = self._state_events()
        self.in_force = self.written and self.silent_ns <= self.config.valid_for_ns
        if not self.in_force:
            self.commands.seed(self)
        self.action, self.shadow = record.action, record.shadow
        assert header.from_mode == self.mode
        bits = header.events
        reported = {event for event in EVENTS if bits >> event & 1}
        events |= self._supervisor_events(given) | self._operator_events(given, header) | self._own_events(header)
        events |= self._ask(given, header, events, reported)
        if self.mode == M.ACTIVE and self.bucket.push(bool(events & DEGRADES)):
            events.add(E.BUCKET_FAULT)
        assert reported == (events or {E.NOMINAL}), (self.mode, reported ^ (events or {E.NOMINAL}))
        event = governing(self.mode, reported)
        assert header.event == event
        self._follow(given, event, reported, header, sent)
        assert status.fault == self.fault

    def _follow(
        self, given: Given, event: Event, events: set[Event], header: structs.TickHeader, sent: list[object]
    ) -> None:
        named, after = cell(self.mode, event)
        assert header.mode == after
        if after == M.FALLBACK:
            ladder = ladder_of(event, events)
            turns = ladder == LadderClass.STATE != self.ladder
            if self.mode != M.FALLBACK or turns:
                self.ladder, self.ladder_ns = ladder, 0
        if (after == M.PREPARE != self.mode) or (self.mode == M.STOPPED != after):
            self.commands.seed(self)
            self.commands.ramp_start(self)
        source = self._resolve_source(named)
        if source == S.STANDBY and not self._stand_by(given, header):
            source = S.SAFE
        assert header.source == source, (self.mode, event, Source(header.source), source)
        assert len(sent) == (header.write_ns != 0) <= (source != S.LAPSE)
        assert header.post_ns == 0 or self.asked == header.tick
        self.commands.want(self, source, after)
        for command in sent:
            self._check_command(command, header, source)
        if not sent:
            self.last_source = S.LAPSE if source == S.LAPSE else self.last_source
        self._enter(after, event)

    def _resolve_source(self, named: Source) -> Source:
        if self.values is None:
            return S.LAPSE
        source = named
        if named == S.LADDER:
            left, source = self.ladder_ns, S.LAPSE
            for rung in self._rungs():
                if left < rung.duration_ns:
                    source = Source(rung.source)
                    break
                left -= rung.duration_ns
        elif named == S.ON_REJECT:
            source = Source(self.config.on_reject)
        return S.SAFE if source == S.HOLD and not self.written else source

    def _check_command(self, command: object, header: structs.TickHeader, source: Source) -> None:
        c = self.config
        self.command_sequence += 1
        assert command.header.sequence == self.command_sequence
        assert (command.mode, command.source) == (header.mode, source)
        assert (command.state_sequence, command.state_stamp_ns) == (self.sequence, self.stamp)
        assert c.period_ns <= command.valid_for_ns == c.valid_for_ns
        self.commands.check(self, source, command.values.tolist())
        self.last_source, self.written, self.silent_ns = source, True, self.stale_ns

    def _enter(self, after: M, event: Event) -> None:
        if after == self.mode:
            return
        if after not in (M.FALLBACK, M.STOPPED):
            self.fault = E.NOMINAL
        elif event != E.LADDER_END:
            self.fault = event
        self.arm_left = self.arm_left if after == M.PREPARE else 0
        self.jitter = Bucket(self.config.jitter_limit, self.config.jitter_window)
        if self.mode != M.ACTIVE and after == M.ACTIVE:
            self.bucket = Bucket(self.config.bucket_limit, self.config.bucket_window)
        if after not in (M.ACTIVE, M.FALLBACK):
            self._stop_asking()
        self.mode = after
