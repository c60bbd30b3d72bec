"""The tables and words of the page, section by section; the drawings are in ``figures.py``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edgerl.report import words
from edgerl.report.markup import Html, element, join, table
from edgerl.report.measure import Incident, Timing, has_event, incidents, lockstep_timings, timings
from edgerl.report.run_report import RunReport
from edgerl.report.verdict import Verdict
from edgerl.runtime.enums import Event
from edgerl.runtime.quantiles import Summary
from edgerl.runtime.result import ChannelCounts, Scheduling

if TYPE_CHECKING:
    from edgerl.parity import ParityReport

MAX_INCIDENTS = 500
"""Rows of the list of events; a page with more is slow on a phone, and the recording has them all."""
_MARKS = {"good": "✓", "note": "!", "bad": "✗"}


def section(anchor: str, title: str, *content: str) -> Html:
    """Return one section of the page."""
    return element("section", element("h2", title), *content, id=anchor)


def paragraph(*content: str, class_: str = "") -> Html:
    """Return a paragraph."""
    return element("p", *content, class_=class_) if class_ else element("p", *content)


def verdict(found: Verdict) -> Html:
    """Return the verdict line and its checks."""
    mark = element("span", _MARKS[found.level], class_="mark", aria_hidden="true")
    cards = [
        element(
            "li",
            element("span", check.name, class_="name"),
            element("span", f"{_MARKS[check.level]} {check.short}", class_="short"),
            element("span", check.detail, class_="detail"),
            class_=check.level,
        )
        for check in found.checks
    ]
    return join(
        (element("p", mark, found.headline, class_=f"verdict {found.level}"), element("ul", *cards, class_="checks"))
    )


def facts(report: RunReport) -> Html:
    """Return what ran, on what, and where."""
    policy, header = report.policy, report.recording.header
    trainer = " ".join(part for part in (policy.trainer, policy.trainer_version, policy.algorithm) if part)
    period = report.period_ns
    what = (
        ("policy", policy.name),
        ("trained by", trainer),
        ("engine", policy.engine),
        ("packed with", ", ".join(f"{name} {version}" for name, version in policy.packed_with) or words.NONE),
        *((name, _digest(sha256)) for name, sha256 in policy.checkpoint),
        (policy.bundle, _digest(report.result.bundle)),
    )
    loop = (
        ("robot", header.robot),
        ("began", _date(header.started_unix_ns)),
        ("control period", f"{words.duration(period)} ({words.number(1e9 / period)} Hz)" if period else words.NONE),
        ("budget", words.duration(report.envelope.budget_ns)),
        ("real time", words.plural(report.result.realtime_ticks, "tick")),
        ("lockstep", words.plural(report.result.lockstep_ticks, "tick")),
        ("recording", _recorded(report)),
        ("session", header.session),
    )
    cores = words.plural(header.machine.cpus, "core")
    where = (
        ("processor", f"{header.machine.processor or 'not named'} ({header.machine.architecture}, {cores})"),
        ("kernel", header.machine.kernel),
        *_scheduling(report.result.scheduling),
        ("Python", header.machine.python),
    )
    groups = (("Policy", what), ("Loop", loop), ("Machine", where))
    boxes = [element("div", element("h3", title), _pairs(rows)) for title, rows in groups]
    return section("facts", "What ran", element("div", *boxes, class_="facts"))


def _scheduling(got: Scheduling) -> Iterable[tuple[str, str]]:
    """Yield what the machine gave the guardian, and its reason where it refused."""
    priority = f"SCHED_FIFO {got.priority}" if got.priority else "ordinary"
    yield "scheduling got", f"{priority}{_refused(got.priority_errno)}"
    yield "memory lock", f"{'yes' if got.memory_lock else 'no'}{_refused(got.lock_errno)}"
    if got.affinity_errno:
        yield "CPU affinity", f"no{_refused(got.affinity_errno)}"


def _refused(error: int) -> str:
    return f" ({os.strerror(error)})" if error else ""


def timing(report: RunReport) -> Html:
    """Return the table of times, real time and lockstep apart."""
    rows, lockstep = timings(report), lockstep_timings(report)
    parts: list[Html] = []
    if rows[0].summary.n:
        parts.append(_timing_table("Real time, in µs", rows))
        parts.append(paragraph(_timing_note(report), class_="note"))
    else:
        parts.append(paragraph("No tick ran in real time, so there is no lateness and no latency to report."))
    if lockstep:
        said = (
            "In lockstep the robot waits for its command: there is no deadline to be late for, and calls follow each "
            "other with warm caches. These times say how fast the two sides go together, not what a robot would see."
        )
        parts += [_timing_table("Lockstep, in µs", lockstep), paragraph(said, class_="note")]
    return section("timing", "Timing", *parts)


def _timing_note(report: RunReport) -> str:
    header = report.recording.header
    said = "A quantile is shown where at least three samples lie beyond it; otherwise — with the number it needs."
    if not header.same_clock:
        said += " The robot's stamps come from a clock of its own, so latency cannot be measured from this side."
    late = int(has_event(report.recording.records, Event.ACTION_LATE).sum())
    if late:
        said += (
            f" {words.plural(late, 'late answer')} {'is' if late == 1 else 'are'} in none of the samples of inference "
            f"and answer: each took longer than the budget of {words.duration(report.envelope.budget_ns)}."
        )
    return said


def _timing_table(caption: str, rows: tuple[Timing, ...]) -> Html:
    head = ("", "n", *(words.quantile(q.q) for q in rows[0].summary.quantiles), "max")
    body = (
        (
            join((element("strong", row.name), " ", element("small", row.meaning))),
            words.count(row.summary.n),
            *_quantile_cells(row.summary),
            words.microseconds(row.summary.maximum),
        )
        for row in rows
    )
    return table(caption, head, body, class_="numbers")


def _quantile_cells(summary: Summary) -> Iterable[str]:
    for q in summary.quantiles:
        if q.value is None:
            yield join((words.NONE, " ", element("small", f"n ≥ {words.count(q.needed)}")))
        else:
            yield words.microseconds(q.value)


def counters(report: RunReport) -> Html:
    """Return the guardian's counters: the loop's, and the envelope's per channel."""
    counts = report.result.counts
    dropped = sum(counts.dropped.values())
    causes = ", ".join(f"{cause} {words.count(number)}" for cause, number in counts.dropped.items() if number)
    loop = (
        ("ticks", counts.ticks, "made by the guardian"),
        ("missed periods", counts.missed_periods, "grid points skipped because a tick was late; never replayed"),
        ("late actions", counts.actions_late, "no answer within the budget"),
        ("stale answers", counts.actions_stale, "to an earlier observation; thrown away"),
        ("stale states", counts.states_lost, "ticks that found no new state"),
        ("skipped states", counts.states_skipped, "never seen, or overtaken by a newer one"),
        ("dropped datagrams", dropped, causes or "none was malformed, foreign or old"),
        ("socket errors", counts.send_errors + counts.receive_errors, "on sending or receiving"),
    )
    rows = ((name, words.count(value), meaning) for name, value, meaning in loop)
    parts = [table("Loop", ("", "count", "meaning"), rows, class_="counts"), _interventions(report)]
    return section("counters", "Counters", element("div", *parts, class_="side"))


def _interventions(report: RunReport) -> Html:
    rows = [
        (counts.name, words.count(counts.rejected), words.count(counts.saturated), _causes(counts))
        for counts in report.result.counts.channels
        if counts.rejected or counts.saturated
    ]
    if not rows:
        return paragraph("The envelope changed nothing: every command was within its limits.")
    untouched = len(report.result.counts.channels) - len(rows)
    shown = table("Envelope, by channel", ("channel", "rejected", "saturated", "cause"), rows, class_="counts two")
    rest = paragraph(f"{words.plural(untouched, 'channel')} untouched.", class_="note") if untouched else ""
    return element("div", shown, rest)


def _causes(counts: ChannelCounts) -> str:
    met = (counts.not_finite, counts.low, counts.high, counts.rate, counts.acceleration)
    said = [f"{cause} {words.count(n)}" for cause, n in zip(words.CAUSE_WORDS, met, strict=True) if n]
    return ", ".join(said) or words.NONE


def parity(found: ParityReport) -> Html:
    """Return the export's differences from the trainer, channel by channel."""
    if found.status == "not_run":
        said = f"Not run: nothing here says that the export acts as trained ({found.against})."
        return section("parity", "Parity", paragraph(said))
    said = f"{found.status.capitalize()} on {words.plural(found.rows, 'row')} of {found.against}."
    if found.near_tie_count:
        said += f" {words.plural(found.near_tie_count, 'choice')} differed where rounding alone decides."
    if found.state:
        said += " Memory is compared one tick at a time, from the trainer's own state."
    rows = (
        (
            one.name,
            "not a number" if one.found is None else words.number(one.max_error),
            words.number(one.tolerance),
            words.count(one.wrong),
            _share(one.max_error, one.tolerance),
        )
        for one in (*found.channels, *found.state)
    )
    head = ("channel", "largest error", "tolerance", "rows beyond", "share of the tolerance")
    shown = [table("Export against the trainer's own action", head, rows, class_="numbers")] if found.channels else []
    return section("parity", "Parity", paragraph(said), *shown)


def _share(error: float, tolerance: float) -> Html:
    ratio = error / tolerance if tolerance > 0 else math.inf if error else 0.0
    bad = not ratio <= 1
    width = 100.0 if bad else 100 * ratio
    bar = element("span", style=f"width:{width:.1f}%")
    shown = words.percent(ratio, 1) if math.isfinite(ratio) else "beyond any"
    return element("span", element("span", bar, class_=f"bar {'bad' if bad else 'good'}"), shown, class_="share")


def events(report: RunReport) -> Html:
    """Return what happened, in order."""
    names = tuple(sent.limits.name for sent in report.commands)
    rows: list[tuple[str, ...]] = []
    left = 0
    for incident in incidents(report.recording.records, len(names)):
        if len(rows) < MAX_INCIDENTS:
            rows.append(_incident_row(incident, names))
        else:
            left += 1
    if not rows:
        return section("events", "Events", paragraph("None: no tick met anything but its command."))
    parts = [
        table("Successive ticks with the same events are one row", ("tick", "time", "what", "mode", "command"), rows)
    ]
    if left:
        parts.append(
            paragraph(f"{words.plural(left, 'later row')} not shown; the recording has all of them.", class_="note")
        )
    return section("events", "Events", *parts)


def _incident_row(incident: Incident, names: tuple[str, ...]) -> tuple[str, ...]:
    said = [_event(event, incident, names) for event in incident.events]
    if incident.missed_periods:
        said.append(
            element("span", f"{words.plural(incident.missed_periods, 'period')} skipped before it", class_="degrade")
        )
    ticks = words.count(incident.first_tick)
    if incident.ticks > 1:
        ticks += f" \N{EN DASH} {words.count(incident.last_tick)}"
    mode = words.mode(incident.mode)
    if incident.from_mode != incident.mode:
        mode = f"{words.mode(incident.from_mode)} → {mode}"
    parts = [part for one in said for part in (", ", one)][1:]
    return ticks, f"{incident.time_s:,.3f} s", join(parts), mode, words.source(incident.source)


def _event(event: int, incident: Incident, names: tuple[str, ...]) -> Html:
    found = next(one for one in words.EVENT_WORDS if one == event)
    said = words.EVENT_WORDS[found]
    if found == found.REJECT and incident.rejected:
        causes = [cause for bit, cause in enumerate(words.CAUSE_WORDS) if incident.causes >> bit & 1]
        said += (
            f" ({', '.join(names[index] for index in incident.rejected)}: {', '.join(causes) or 'cause not recorded'})"
        )
    level = (
        "fault"
        if found in words.FAULTS or found == found.LADDER_END
        else "degrade"
        if found in words.DEGRADES
        else "plain"
    )
    return element("span", said, class_=level)


def _pairs(rows: Iterable[tuple[str, str]]) -> Html:
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in rows))


def _digest(sha256: str) -> Html:
    parts = [sha256[at : at + 16] for at in range(0, len(sha256), 16)]
    return element("code", *(part for one in parts for part in (one, Html("<wbr>"))), title="SHA-256")


def _date(unix_ns: int) -> str:
    try:
        began = datetime.fromtimestamp(unix_ns // 10**9, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return f"{unix_ns} ns after 1970"
    return began.strftime("%Y-%m-%d %H:%M:%S UTC")


def _recorded(report: RunReport) -> str:
    recording = report.recording
    said = words.plural(recording.records.size, "tick")
    if recording.lost:
        said += f", {words.count(recording.lost)} not saved in time"
    if not recording.complete:
        said += "; cut off before its end"
    return " ".join([f"{said}.", *report.result.recording_trouble]) if report.result.recording_trouble else said
