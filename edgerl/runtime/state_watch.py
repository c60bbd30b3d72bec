"""Which channel of the robot's state was wrong, in words: for the message of a fault, or of an ARM that did not happen.

The guardian says that a state is outside its limits or its start set, or frozen; which value it was stands in the
tick's record. Nothing is judged here that the guardian has not judged, and nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgerl.runtime.channels import NO_UNIT, Channel
from edgerl.runtime.enums import Attitude, Event, Mode, StateFlag
from edgerl.runtime.recording import Records
from edgerl.runtime.structs import Config

MOST_NAMED = 4
"""Channels that one message names."""
MOST_KEPT = 64
"""Ticks at fault that are remembered; one fault leads to another only on its way down the ladder."""
_BITS = 1 << Event.STATE_LIMIT | 1 << Event.STATE_FROZEN | 1 << Event.STATE_FAULT
_IN_CHARGE = (Mode.ACTIVE, Mode.PREPARE)
_Floats = npt.NDArray[np.float32]


class StateWatch:
    """What is wrong with the states of one run.

    Args:
        config: The guardian's, complete.
        channels: Of the state.
    """

    def __init__(self, config: Config, channels: Sequence[Channel]) -> None:
        self._config = config
        self._channels = tuple(channels)
        fields = [config.states[index] for index in range(len(self._channels))]
        self._limits = _columns(((one.low, one.high) for one in fields), len(fields))
        self._starts = _columns(((one.start_low, one.start_high) for one in fields), len(fields))
        self._noisy = np.array([one.noisy != 0 for one in fields], np.bool_)
        self._unchanged = np.zeros(len(fields), np.int64)
        self._last: _Floats | None = None
        self._bits = 0
        self._faults: dict[int, str] = {}

    def take(self, rows: Records) -> None:
        """Look at the next ticks, oldest first."""
        rows = rows[rows["observed"] != 0]
        if not len(rows):
            return
        bits = rows["events"] & np.uint32(_BITS)
        before = np.concatenate([[np.uint32(self._bits)], bits[:-1]])
        self._bits = int(bits[-1])
        at = 0
        for index in np.flatnonzero(bits & ~before):
            self._follow(rows[at : index + 1])
            at = index + 1
            self._keep(rows[index])
        self._follow(rows[at:])

    def fault(self, tick: int) -> str:
        """Return what was wrong with the state in a tick in which a fault began; empty where nothing is known."""
        return self._faults.get(tick, "")

    def not_in_start_set(self) -> str:
        """Return which channels of the newest state are not in the start set; empty where all of them are."""
        if self._last is None:
            return ""
        outside = list(self._outside(self._last, self._starts, "its start set is"))
        tilt, most = self._tilt(self._last), self._config.start_tilt_cos
        if most > -1.0 and tilt is not None and not tilt >= most:
            outside.append(f"it leans by {_angle(tilt):.3g} rad, its start set is up to {_angle(most):.3g}")
        return _sentence(outside)

    def wrong(self) -> str:
        """Return what is wrong with the newest state; empty where nothing is."""
        return "" if self._last is None else self._describe(self._last, self._bits)

    def _keep(self, row: Records) -> None:
        if row["from_mode"] in _IN_CHARGE:
            self._faults.clear()
        elif row["from_mode"] != Mode.FALLBACK or len(self._faults) >= MOST_KEPT:
            return
        self._faults[int(row["tick"])] = self._describe(np.asarray(row["state"]), int(row["events"]))

    def _follow(self, rows: Records) -> None:
        """Count how many states each channel has been the same for, as the guardian does."""
        if not len(rows):
            return
        states = np.asarray(rows["state"])
        if self._config.frozen_ticks:
            before = np.full_like(states, np.nan)
            before[1:] = states[:-1]
            if self._last is not None:
                before[0] = self._last
            waiting = (rows["state_flags"] & np.uint32(StateFlag.WAITING)) != 0
            changed = (states != before) | waiting[:, None]
            since = np.argmax(changed[::-1], axis=0)
            self._unchanged = np.where(changed.any(axis=0), since, self._unchanged + len(states))
        self._last = states[-1].copy()

    def _describe(self, state: _Floats, bits: int) -> str:
        wrong: list[str] = []
        if bits & 1 << Event.STATE_FAULT:
            wrong += [
                f"{self._channels[place].name} is {state[place]}" for place in np.flatnonzero(~np.isfinite(state))
            ]
        if bits & 1 << Event.STATE_LIMIT:
            wrong += self._outside(state, self._limits, "valid is")
            tilt, most = self._tilt(state), self._config.tilt_cos
            if most > -1.0 and tilt is not None and not tilt >= most:
                wrong.append(f"it leans by {_angle(tilt):.3g} rad, valid is up to {_angle(most):.3g}")
        if bits & 1 << Event.STATE_FROZEN:
            stuck = np.flatnonzero(self._noisy & (self._unchanged >= self._config.frozen_ticks))
            wrong += [f"{self._value(place, state)} since {self._unchanged[place] + 1:,} states" for place in stuck]
        return _sentence(wrong)

    def _outside(self, state: _Floats, ends: _Floats, what: str) -> Iterator[str]:
        for place in np.flatnonzero(~((state >= ends[:, 0]) & (state <= ends[:, 1]))):
            yield f"{self._value(place, state)}, {what} {_range(*ends[place])}"

    def _value(self, place: np.intp, state: _Floats) -> str:
        channel = self._channels[place]
        unit = "" if channel.unit == NO_UNIT else f" {channel.unit}"
        return f"{channel.name} is {state[place]:.6g}{unit}"

    def _tilt(self, state: _Floats) -> float | None:
        """Return the cosine of the tilt; None where the robot does not say how it stands."""
        at = int(self._config.attitude_channel)
        cosine = _COSINES.get(Attitude(self._config.attitude))
        with np.errstate(invalid="ignore", divide="ignore"):
            return None if cosine is None else cosine(state[at : at + 4].astype(np.float64))


def _of_quaternion(vector: npt.NDArray[np.float64], norm: float) -> float:
    return float(1.0 - 2.0 * (vector[0] ** 2 + vector[1] ** 2) / norm)


_COSINES: dict[Attitude, Callable[[npt.NDArray[np.float64]], float]] = {
    Attitude.WXYZ: lambda at: _of_quaternion(at[1:4], float(at @ at)),
    Attitude.XYZW: lambda at: _of_quaternion(at[0:3], float(at @ at)),
    Attitude.GRAVITY: lambda at: float(-at[2] / np.linalg.norm(at[:3])),
}


def _columns(pairs: Iterator[tuple[float, float]], count: int) -> _Floats:
    return np.array(list(pairs), np.float32).reshape(count, 2)


def _range(low: np.float32, high: np.float32) -> str:
    if np.isinf(low):
        return f"up to {high:.6g}"
    return f"{low:.6g} or more" if np.isinf(high) else f"{low:.6g} to {high:.6g}"


def _angle(cosine: float) -> float:
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _sentence(parts: list[str]) -> str:
    more = f"; and {len(parts) - MOST_NAMED:,} more" if len(parts) > MOST_NAMED else ""
    text = "; ".join(parts[:MOST_NAMED]) + more
    return f"{text[0].upper() if text.startswith('it ') else text[0]}{text[1:]}." if text else ""
