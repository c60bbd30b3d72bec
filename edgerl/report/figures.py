"""The drawings of the page with their captions, or one sentence where there is nothing to draw."""

from __future__ import annotations

import numpy as np

from edgerl.report import plots_commands, plots_timing, words
from edgerl.report.episodes import episode_table
from edgerl.report.markup import Html, element, join
from edgerl.report.measure import column, real_time, timings
from edgerl.report.run_report import RunReport
from edgerl.report.sections import paragraph, section
from edgerl.runtime.enums import Mode
from edgerl.runtime.recording import Records

MAX_CHANNELS = 32
"""Channels that are drawn; those that the envelope changed come first."""
_CURVES = ("lateness", "latency", "inference")
_MODE_KEYS = (("safe", Mode.SAFE), ("prepare", Mode.PREPARE), ("fallback", Mode.FALLBACK), ("stopped", Mode.STOPPED))


def timing(report: RunReport) -> Html:
    """Return distributions and timeline of the real-time part."""
    ticks = report.recording.records
    real = real_time(ticks)
    if not real.any():
        return section("distribution", "When it happened", paragraph("No tick ran in real time: nothing to draw."))
    budget_ns = report.envelope.budget_ns
    period_ns = report.period_ns
    marks = (
        _key("late", "\N{MULTIPLICATION SIGN} late action", glyph=True),
        _key("skipped", "▼ skipped period", glyph=True),
        *_mode_keys(report),
    )
    seen = f"smallest and largest of each bin over {words.plural(int(real.sum()), 'real-time tick')}"
    late = _figure(
        plots_timing.timeline(ticks, period_ns, budget_ns),
        join((element("strong", "Lateness over the run"), f": {seen}. ", *marks)),
    )
    return section(
        "distribution", "When it happened", late, element("div", *_distributions(report, period_ns), class_="grid")
    )


def _distributions(report: RunReport, period_ns: int) -> list[Html]:
    found = {timing.name: timing for timing in timings(report) if timing.summary.n}
    budget = ("budget", report.envelope.budget_ns)
    limits = {"lateness": (("period", period_ns),), "latency": (budget, ("period", period_ns)), "inference": (budget,)}
    figures = [
        _figure(
            plots_timing.histogram(f"histogram-{name}", found[name], limits[name]),
            join((element("strong", name.capitalize()), f": {found[name].meaning}.")),
        )
        for name in _CURVES
        if name in found
    ]
    curves = tuple(found[name] for name in _CURVES if name in found)
    keys = [_key(f"curve{index}", timing.name) for index, timing in enumerate(curves)]
    said = "the share of ticks that took longer than a time; under 3/n the line is luck"
    figures.append(_figure(plots_timing.tail_curves(curves), join((element("strong", "Tails"), f": {said}. ", *keys))))
    return figures


def commands(report: RunReport) -> Html:
    """Return every command channel over the run, those with interventions first, and those that were alike once."""
    ticks = report.recording.records
    if not ticks.size:
        return section("commands", "Commands", paragraph("The recording holds no tick: nothing to draw."))
    counts = report.result.counts.channels
    order = sorted(range(len(counts)), key=lambda index: -(counts[index].rejected + counts[index].saturated))
    keys = join(
        (
            _key("command", "written"),
            _key("action", "as the policy said it, where single ticks are drawn"),
            _key("limit", "╌ limit", glyph=True),
            _key("late", "saturated (top edge)"),
            _key("skipped", "rejected (bottom edge)"),
            *_mode_keys(report),
        )
    )
    part = plots_commands.detail(ticks)
    views = [("the whole run", "all", ticks)]
    if part is not None:
        first, last = words.count(int(part["tick"][0])), words.count(int(part["tick"][-1]))
        views.append((f"ticks {first} to {last}", "detail", part))
    alike = _alike(report, order)
    cards = [_channel(report, group, views) for group in alike[:MAX_CHANNELS]]
    intro = f"First the whole run ({plots_commands.legend(ticks)}), then {views[1][0]}. " if part is not None else ""
    left = sum(len(group) for group in alike[MAX_CHANNELS:])
    rest = paragraph(f"{words.plural(left, 'channel')} without a drawing here.", class_="note") if left else ""
    return section("commands", "Commands", paragraph(intro, keys, class_="note"), *cards, rest)


def _alike(report: RunReport, order: list[int]) -> list[list[int]]:
    """Return the channels in this order; those that were told the same all the time, as gains are, together."""
    sent = report.recording.records["command"]
    groups: dict[tuple[object, ...], list[int]] = {}
    for index in order:
        limits = report.commands[index].limits
        told = (sent[:, index].tobytes(), limits.low, limits.high, report.commands[index].unit)
        carries = () if report.commands[index].said is None else (index,)
        groups.setdefault((*told, *carries), []).append(index)
    return list(groups.values())


def _channel(report: RunReport, alike: list[int], views: list[tuple[str, str, Records]]) -> Html:
    index = alike[0]
    sent = report.commands[index]
    limits, unit = sent.limits, sent.unit or ""
    span = f"{words.number(limits.low)} … {words.number(limits.high)} {unit}".strip()
    rates = [
        f"{name} ≤ {words.number(value)} {unit}{per}"
        for name, value, per in (("rate", limits.max_rate, "/s"), ("acceleration", limits.max_acceleration, "/s²"))
        if np.isfinite(value)
    ]
    others = f" and {words.plural(len(alike) - 1, 'channel')} like it:" if len(alike) > 1 else ""
    said = f"{others} {', '.join((span, *rates))}; {limits.on_violation}s beyond"
    caption = join((element("strong", limits.name), said))
    drawn = [plots_commands.channel(ticks, index, sent, f"channel-{index}-{name}") for _, name, ticks in views]
    return element("figure", element("figcaption", caption), element("div", *drawn, class_="grid"), class_="channel")


def returns(report: RunReport) -> Html:
    """Return the robot's own account of its episodes."""
    if not report.result.episodes:
        return section("episodes", "Episodes", paragraph("The robot gives no account of episodes or returns."))
    parts = [episode_table(report.result.episodes)]
    whole = sum(e.left is None and e.episode_return is not None for e in report.result.episodes)
    if whole > 1:
        own = report.trainer_return
        said = " beside the trainer's own mean ± standard deviation" if own else ""
        drawn = plots_commands.returns(report.result.episodes, own.mean if own else None, own.std if own else 0.0)
        parts.append(
            element(
                "div", _figure(drawn, join((element("strong", "Return"), f" of each episode{said}."))), class_="grid"
            )
        )
    return section("episodes", "Episodes", *parts)


def _figure(drawn: Html, caption: Html) -> Html:
    return element("figure", element("figcaption", caption), drawn)


def _key(class_: str, said: str, *, glyph: bool = False) -> Html:
    return element("span", said, class_=f"key {'glyph ' if glyph else ''}{class_}")


def _mode_keys(report: RunReport) -> list[Html]:
    """Return a key for each shaded mode that the run was in."""
    met = set(np.unique(column(report.recording.records, "mode")).tolist())
    return [_key(name, f"mode {mode.name}") for name, mode in _MODE_KEYS if mode in met]
