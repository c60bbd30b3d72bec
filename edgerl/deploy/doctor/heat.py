"""Whether heat slows the CPUs, or is about to."""

from __future__ import annotations

import re

from edgerl.deploy.doctor.check import Outcome, Unread
from edgerl.deploy.doctor.subject import Subject
from edgerl.deploy.doctor.tree import shown

MARGIN_MILLIDEGREES = 10_000
"""Closer than this to where slowing down begins, a warmer room or a longer run gets there."""

_ZONES = "sys/class/thermal/thermal_zone[0-9]*"
_RASPBERRY = "sys/devices/platform/soc/soc:firmware/get_throttled"
# Bits of the Raspberry Pi's firmware (vcgencmd get_throttled): 0-3 now, 16-19 since it was switched on.
_NOW, _SINCE_START = 0xF, 0xF0000


def heat(subject: Subject) -> Outcome:
    """Compare temperatures with where slowing down begins, and count how often it did."""
    zones = [zone for path in subject.tree.matches(_ZONES) if (zone := _zone(subject, path))]
    counted = _throttled(subject)
    bits = _firmware(subject)
    if not zones and counted is None and bits is None:
        raise Unread("/sys/class/thermal: no zone that tells a temperature")
    hot = max(zones, default=None, key=lambda zone: zone[0] - (zone[1] or 10**9))
    found = [f"{shown(hot[2])} has {hot[0] / 1000:.0f} °C" + _limit(hot[1])] if hot else []
    found += [f"slowed down {counted} times since the start"] if counted else []
    found += [f"firmware says 0x{bits:x} (voltage or heat)"] if bits else []
    over = hot[0] - hot[1] if hot and hot[1] else -(10**9)
    text = "; ".join(found) or "never slowed down since the start"
    mend = (
        "sudo jetson_clocks --fan; clear the air's way" if subject.jetson else "clear the air's way, or cool it better"
    )
    if over >= 0 or (bits or 0) & _NOW:
        return Outcome("fail", f"slowed down now: {text}", mend)
    if over >= -MARGIN_MILLIDEGREES or counted or (bits or 0) & _SINCE_START:
        return Outcome("warn", text, mend)
    return Outcome("pass", text)


def _zone(subject: Subject, path: str) -> tuple[int, int | None, str] | None:
    """Return temperature, lowest trip point and name of a zone; None where it is switched off."""
    try:
        subject.tree.text(f"{path}/temp")
    except Unread:  # EAGAIN: what it measures, such as a GPU, has no power
        return None
    temperature = subject.tree.integer(f"{path}/temp", -273_150, 1_000_000)
    trips = [trip for one in subject.tree.matches(f"{path}/trip_point_*_type") if (trip := _trip(subject, one))]
    return temperature, min(trips, default=None), subject.tree.text(f"{path}/type")


def _trip(subject: Subject, path: str) -> int | None:
    if subject.tree.word(path) not in {"passive", "hot", "critical"}:  # "active" ones only start a fan
        return None
    trip = subject.tree.integer(path.removesuffix("_type") + "_temp", -(2**31), 2**31)
    return trip if trip > 0 else None  # drivers mark unused ones with 0 or less


def _limit(trip: int | None) -> str:
    return f", limit {trip / 1000:.0f}" if trip else ", no limit told"


def _throttled(subject: Subject) -> int | None:
    paths = subject.tree.matches("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    return sum(subject.tree.integer(path) for path in paths) if paths else None


def _firmware(subject: Subject) -> int | None:
    if not subject.tree.has(_RASPBERRY):
        return None
    text = subject.tree.text(_RASPBERRY)
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text):
        raise Unread(f"/{_RASPBERRY}: says {shown(text)}, not a hexadecimal number")
    return int(text, 16)
