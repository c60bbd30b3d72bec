"""The robot's own account of its episodes as a table."""

from __future__ import annotations

from edgerl.report import words
from edgerl.report.markup import Html, join, table
from edgerl.report.sections import paragraph
from edgerl.runtime.plant_lines import EpisodeResult

MAX_EPISODES = 200


def episode_table(episodes: tuple[EpisodeResult, ...]) -> Html:
    """Return one row per episode."""
    head = ("episode", "seed", "return", "steps", "real time", "missed", "lapsed", "outside", "ended")
    rows = (
        (
            words.count(one.index),
            str(one.seed),
            "not a number" if one.episode_return is None else words.number(one.episode_return),
            *(words.count(n) for n in (one.steps, one.realtime_steps, one.missed, one.lapsed, one.outside)),
            _ending(one),
        )
        for one in episodes[:MAX_EPISODES]
    )
    shown = table("By the robot's own account", head, rows, class_="numbers")
    left = len(episodes) - MAX_EPISODES
    if left > 0:
        return join((shown, paragraph(f"{words.plural(left, 'later episode')} not shown.", class_="note")))
    return shown


def _ending(one: EpisodeResult) -> str:
    if one.left:
        return "controller left" if one.left == "left" else "controller fell silent"
    return "terminated" if one.terminated else "truncated" if one.truncated else words.NONE
