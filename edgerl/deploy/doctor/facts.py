"""What machine this is, for the head of a report; nothing here is judged."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from edgerl.deploy.doctor.check import Unread
from edgerl.deploy.doctor.host import hypervisor
from edgerl.deploy.doctor.kernel import preemption
from edgerl.deploy.doctor.subject import JETSON, Subject

_LONGEST = 120


@dataclass(frozen=True)
class Facts:
    """What is known of the machine; an empty text where it does not say."""

    board: str
    processor: str
    architecture: str
    cpus: int
    """Switched on; 0 where not known."""
    system: str
    """Distribution; for NVIDIA's Linux for Tegra its release, too."""
    kernel: str
    preemption: str
    """rt, full, lazy, voluntary, none, or dynamic (one of these but rt; only root may see which)."""
    container: str
    hypervisor: str


def facts_of(subject: Subject) -> Facts:
    """Return what the machine says of itself."""
    return Facts(
        board=_or_empty(lambda: _board(subject)),
        processor=_or_empty(lambda: _processor(subject)),
        architecture=_or_empty(subject.tries.architecture),
        cpus=_cpus(subject),
        system=_or_empty(lambda: _system(subject)),
        kernel=_or_empty(lambda: subject.tree.text("proc/version").split()[2]),
        preemption=_or_empty(lambda: preemption(subject)),
        container=subject.container,
        hypervisor=hypervisor(subject),
    )


def _board(subject: Subject) -> str:
    for path in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        if subject.tree.has(path):
            return subject.tree.text(path)
    return ""


def _cpus(subject: Subject) -> int:
    try:
        return len(subject.online)
    except Unread:
        return 0


def _processor(subject: Subject) -> str:
    named = re.search(
        r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", subject.tree.text("proc/cpuinfo", first=8192), re.M
    )
    return named[1] if named else ""


def _system(subject: Subject) -> str:
    named = re.search(r'^PRETTY_NAME="?([^"\n]*)', subject.tree.text("etc/os-release"), re.MULTILINE)
    system = named[1] if named else ""
    release = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", _or_empty(lambda: subject.tree.text(JETSON)))
    return f"{system}, L4T {release[1]}.{release[2]}" if release else system


def _or_empty(read: Callable[[], str]) -> str:
    """Return a text that fits a line, without what a terminal would act on."""
    try:
        text = read()
    except (Unread, IndexError):
        return ""
    return "".join(one for one in text if one.isprintable())[:_LONGEST]
