"""Budgets from a recording's file to a piece of an envelope file: TOML with what each number was made from beside it.

Every key stands in the table that an envelope has it in (docs/envelope.md), so that a person can move it there. It
replaces no file: what is there may be somebody's envelope.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Collection
from pathlib import Path

from edgerl.errors import OutputError
from edgerl.files import check_place, write_file
from edgerl.runtime.budgets import Budgets, Learned, learn_budgets
from edgerl.runtime.quantiles import time_text
from edgerl.runtime.recording.read import read_recording

WIDTH = 110
"""Of a comment."""


def learn_file(recording: Path | str, output: Path | str | None = None, *, noisy: Collection[str] = ()) -> Budgets:
    """Return what :func:`edgerl.runtime.budgets.learn_budgets` learns from a recording, and write it where one says.

    Args:
        recording: As a run wrote it.
        output: New TOML file; None: nothing is written.
        noisy: Names of the state channels whose sensors are never still.

    Raises:
        NoBaseline: Nothing can be learned from it; nothing is written then.
        DamagedRecording: It cannot be read.
        OutputError: The file is there already, or cannot be written.
    """
    if output is not None:
        check_free(output)
    budgets = learn_budgets(read_recording(Path(recording), ("state",) if noisy else ()), noisy=noisy)
    if output is not None:
        write_budgets(output, budgets)
    return budgets


def check_free(path: Path | str) -> None:
    """Refuse a place where something is, before a robot is driven for it.

    Raises:
        OutputError: A file is there already, or none can be made.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise OutputError(
            f"{path}: is there already. Learned budgets replace no file, since it may be an envelope; name a new one."
        )
    check_place(path)


def write_budgets(path: Path | str, budgets: Budgets) -> None:
    """Write what :func:`toml_of` returns into a new file, whole or not at all.

    Raises:
        OutputError: As :func:`check_free`, or it could not be written.
    """
    check_free(path)
    write_file(path, toml_of(budgets).encode())


def toml_of(budgets: Budgets) -> str:
    """Return the tables of an envelope file that the budgets belong into."""
    loop, watchdog = ["[loop]"], ["[watchdog]"]
    for one in budgets.learned:
        table, _, key = one.key.partition(".")
        (loop if table == "loop" else watchdog).extend([*_reason(one), f"{key} = {_value(budgets, key)}", ""])
    if budgets.frozen_ticks is None:
        watchdog += ["# frozen_ticks is not learned: no state channel is known to be noisy.", ""]
    return "\n".join([*_preamble(budgets), "", *loop, *watchdog]).rstrip() + "\n"


def rows_of(budgets: Budgets) -> list[list[str]]:
    """Return each key with its value as it stands in the file, and what it follows from."""
    return [
        [one.key, f"{_value(budgets, one.key.partition('.')[2])}  ({one.what}: {_measured(one)})"]
        for one in budgets.learned
    ]


def _preamble(budgets: Budgets) -> list[str]:
    machine = budgets.machine
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(budgets.started_unix_ns // 10**9))
    cpu = machine.processor or "unknown processor"
    lines = [
        "Budgets that edgerl learned from a run in which nothing went wrong. Move the keys into the tables of the same",
        "names in your envelope file, look at each number, and pack again.",
        f"run of {date} UTC on {budgets.robot}, bundle {budgets.bundle[:12]}",
        f"machine: {cpu}, {machine.cpus} CPUs, {machine.architecture}, Linux {machine.kernel}",
        f"{budgets.ticks:,} ticks of {time_text(budgets.period_ns)} with the policy in charge in real time, "
        f"{budgets.seconds:,.1f} s",
    ]
    return [f"# {_plain(line)}" for line in lines]


def _reason(one: Learned) -> list[str]:
    text = f"{one.what[0].upper()}{one.what[1:]}: {_measured(one)}. The threshold: {one.rule}."
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH)]


def _measured(one: Learned) -> str:
    """How many, the quantiles that they carry, the longest, and what is missing."""
    summary = one.summary
    if not summary.quantiles:
        return f"{summary.maximum}, n = {summary.n:,}"
    parts = [f"p{q.q * 100:g} {time_text(q.value)}" for q in summary.quantiles if q.value is not None]
    if summary.maximum is not None:
        parts.append(f"longest {time_text(summary.maximum)}")
    late = f"; {one.late:,} came too late to be measured" if one.late else ""
    return f"{', '.join([*parts, f'n = {summary.n:,}'])}{late}"


def _value(budgets: Budgets, key: str) -> str:
    if key == "degrade":
        return f"{{ misses = {budgets.degrade.misses}, of_ticks = {budgets.degrade.of_ticks} }}"
    if key == "jitter":
        jitter = budgets.jitter
        return f"{{ budget_s = {_seconds(jitter.budget_ns)}, misses = {jitter.misses}, of_ticks = {jitter.of_ticks} }}"
    if key == "frozen_ticks":
        return str(budgets.frozen_ticks)
    times = {
        "budget_s": budgets.budget_ns,
        "inference_timeout_s": budgets.inference_timeout_ns,
        "state_timeout_s": budgets.state_timeout_ns,
    }
    return _seconds(times[key] or 0)


def _seconds(time_ns: int) -> str:
    """To the nanosecond, so that what is read back is what was learned."""
    whole, rest = divmod(time_ns, 10**9)
    return f"{whole}.{f'{rest:09d}'.rstrip('0') or '0'}"


def _plain(text: str) -> str:
    """A name from the machine or the command line is text in a comment, and ends no line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
