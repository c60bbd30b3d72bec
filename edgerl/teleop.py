"""``edgerl teleop``: a person at the keyboard as the operator of a run.

Hold to run: values stand, and the dead-man switch is held, only while keys keep coming, as a held key makes them.
The terminal is given back as it was, however this ends, except by SIGKILL. Without a terminal a script of lines takes
the place of the keys. Whatever is wanted, limits and time-outs are the guardian's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import FrameType

from edgerl.errors import ControlError, RequestRefused
from edgerl.runtime.control.client import Control
from edgerl.runtime.control.messages import OperatorStatus, OperatorValueStatus, RunStatus

SAY_EVERY_S = 0.05
HOLD_S = 0.8
"""Longer than a terminal waits before it repeats a held key."""
STEP = 0.1
"""Of the way from zero to the limit, for each key."""
HELP = (
    "w/s a/d q/e or arrows: values; h: only hold; space: zero; r: arm or rearm; f: disarm; x or Esc: e-stop; "
    "Ctrl-C: end"
)
_MOVES = {
    "w": (0, 1), "s": (0, -1), "up": (0, 1), "down": (0, -1),
    "a": (1, 1), "d": (1, -1), "left": (1, 1), "right": (1, -1), "q": (2, 1), "e": (2, -1),
}  # fmt: skip
_ARROWS = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[D": "left", b"\x1b[C": "right"}


class Sticks:
    """What the keys mean: values that grow while keys come, and a switch that they hold."""

    def __init__(self, limits: Sequence[OperatorValueStatus]) -> None:
        self._limits = tuple(limits)
        self._values = [one.timeout_value for one in limits]
        self._pressed_s = -HOLD_S

    def press(self, key: str, now_s: float) -> None:
        """Take one key; one that means nothing holds nothing."""
        if key in _MOVES and _MOVES[key][0] < len(self._values):
            index, sign = _MOVES[key]
            one = self._limits[index]
            reach = one.high if sign > 0 else -one.low
            wanted = self._values[index] + sign * STEP * abs(reach)
            self._values[index] = min(max(wanted, one.low), one.high)
        elif key == "space":
            self._let_go()
        elif key != "h":
            return
        self._pressed_s = now_s

    def wish(self, now_s: float) -> tuple[tuple[float, ...], bool]:
        """Return the values, and whether the switch is held."""
        held = now_s - self._pressed_s < HOLD_S
        if not held:
            self._let_go()
        return tuple(self._values), held

    def _let_go(self) -> None:
        self._values = [one.timeout_value for one in self._limits]


def keys_in(typed: bytes) -> list[str]:
    """Return the keys in what a terminal sent; an Esc that begins no arrow is one itself."""
    keys = []
    while typed:
        arrow = _ARROWS.get(typed[:3])
        size = 3 if arrow else 1
        keys.append(arrow or {b"\x1b": "esc", b" ": "space"}.get(typed[:1]) or typed[:1].decode("latin-1").lower())
        typed = typed[size:]
    return keys


def operator_of(run: Control) -> OperatorStatus:
    """Return what a run takes from an operator.

    Raises:
        ControlError: Nothing.
    """
    operator = run.status().operator
    if operator is None:
        raise ControlError(
            f"The run '{run.name}' takes nothing from an operator: its policy observes no operator values and its "
            "envelope needs no dead-man switch. There is nothing to teleoperate; see edgerl arm and edgerl status."
        )
    return operator


def drive(run: Control, show: Callable[[str], None], *, terminal: int = 0) -> None:
    """Let the keys of a terminal drive a run until Ctrl-C.

    Raises:
        ControlError: The descriptor is no terminal, the run takes nothing from an operator, or it has ended.
        RequestRefused: Another owns the robot.
    """
    if not os.isatty(terminal):
        raise ControlError("There is no terminal to read keys from. Run edgerl teleop in one, or give it --script.")
    operator = operator_of(run)
    sticks, told = Sticks(operator.values), ""
    with _keys_at_once(terminal):
        while True:
            status = _say(run, sticks)
            values, held = sticks.wish(time.monotonic())
            show(describe(operator, values, status, held=held, told=told))
            if not select.select([terminal], [], [], SAY_EVERY_S)[0]:
                continue
            typed = os.read(terminal, 64)
            if not typed:
                return
            for key in keys_in(typed):
                sticks.press(key, time.monotonic())
                told = _act(run, key) or told


def play(run: Control, lines: Iterable[str]) -> None:
    """Do what a script says, one line after the other: ``hold SECONDS [NAME=VALUE ...]``, ``release SECONDS``, ``arm``,
    ``rearm``, ``disarm``, ``estop``. The switch is held and released as said, and values last as long as their line;
    while the policy is being armed those of the line before go on.

    Raises:
        ControlError: A line that is none of these, or the run takes nothing from an operator.
        RequestRefused: The run did not do it.
    """  # noqa: D205
    operator = operator_of(run)
    values, held = tuple(one.timeout_value for one in operator.values), False
    for line in lines:
        words = line.split("#")[0].split()
        if words[:1] in (["arm"], ["rearm"], ["disarm"], ["estop"]) and len(words) == 1:
            _ask(run, words[0], meanwhile=partial(run.operate, values, dead_man=held))
        elif words:
            seconds, values = _timed(words, line, operator)
            held = words[0] == "hold"
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                run.operate(values, dead_man=held)
                time.sleep(min(SAY_EVERY_S, max(0.0, until - time.monotonic())))


def describe(
    operator: OperatorStatus,
    values: Sequence[float],
    status: RunStatus,
    *,
    held: bool,
    told: str,
) -> str:
    """Return the line that a person sees."""
    said = "  ".join(
        f"{one.name} {value:+.2f} {one.unit}".rstrip() for one, value in zip(operator.values, values, strict=True)
    )  # fmt: skip
    switch = "held" if held else "released"
    return f"{status.loop.stage}: {status.loop.mode}  {said}  [{switch}]  {told or status.loop.message}".rstrip()


def _timed(words: list[str], line: str, operator: OperatorStatus) -> tuple[float, tuple[float, ...]]:
    values = {one.name: one.timeout_value for one in operator.values}
    try:
        if words[0] not in ("hold", "release"):
            raise ValueError
        seconds = float(words[1])
        for word in words[2:]:
            name, _, value = word.rpartition("=")
            values[name] = float(value)
        if not 0 <= seconds < 1e6 or len(values) != len(operator.values):
            raise ValueError
    except (ValueError, IndexError):
        names = ", ".join(one.name for one in operator.values) or "none"
        raise ControlError(
            f"The script's line {line.strip()!r} is none. Valid: hold SECONDS [NAME=VALUE ...], release SECONDS, arm, "
            f"rearm, disarm, estop. The run's values: {names}."
        ) from None
    return seconds, tuple(values.values())


def _say(run: Control, sticks: Sticks) -> RunStatus:
    values, held = sticks.wish(time.monotonic())
    return run.operate(values, dead_man=held)


def _act(run: Control, key: str) -> str:
    do = {"x": "estop", "esc": "estop", "f": "disarm"}.get(key, "")
    if key == "r":
        do = "rearm" if run.status().loop.stage == "stopped" else "arm"
    if not do:
        return ""
    try:
        _ask(run, do, wait=False)
    except RequestRefused as error:
        return str(error)
    return do


def _ask(run: Control, do: str, *, wait: bool = True, meanwhile: Callable[[], object] = lambda: None) -> None:
    if do == "estop":
        run.estop()
    elif do == "disarm":
        run.disarm()
    else:
        (run.arm if do == "arm" else run.rearm)(wait=wait, meanwhile=meanwhile)


@contextlib.contextmanager
def _keys_at_once(terminal: int) -> Iterator[None]:
    """Keys come one by one and unseen; Ctrl-C still ends, Ctrl-Z does not leave a terminal like this behind."""
    import termios  # noqa: PLC0415  not on every system

    before = termios.tcgetattr(terminal)
    ours = termios.tcgetattr(terminal)
    ours[3] &= ~(termios.ICANON | termios.ECHO)
    ours[6][termios.VSUSP] = b"\0"
    handlers = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, ours)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
