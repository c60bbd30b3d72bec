"""Whether the loop's memory stays in memory."""

from __future__ import annotations

import re

from edgerl.deploy.doctor.check import Outcome, Unread, judge
from edgerl.deploy.doctor.subject import Subject
from edgerl.deploy.doctor.tree import shown

LOCKED_BYTES = 4 * 1024 * 1024
"""What the guardian locks at most."""
PAGE_IN_NS = 10_000_000
"""Order of magnitude of a page fetched back from an SD card, eMMC or a busy disk."""
MAX_SWAPPINESS = 10
"""From here on down the kernel drops file pages long before it swaps processes out (vm.swappiness of the kernel's
documentation, ``admin-guide/sysctl/vm``); 60 is its default."""

_LIMITS = "/etc/security/limits.d/99-edgerl.conf"


def memory_lock(subject: Subject) -> Outcome:
    """Lock as much memory as the guardian does, in a process that ends at once."""
    attempt, limits = subject.tries.lock_memory(LOCKED_BYTES), subject.tries.limits()
    limit = "unlimited" if limits.locked_bytes < 0 else f"{limits.locked_bytes // 1024} KiB"
    size = f"{LOCKED_BYTES // 1024} KiB"
    if attempt.granted:
        return Outcome("pass", f"{size} locked; RLIMIT_MEMLOCK is {limit}")
    found = f"{size} refused ({attempt.why_not}); RLIMIT_MEMLOCK is {limit}"
    status = judge(PAGE_IN_NS, subject.period_ns, at_least="warn")
    if subject.container:
        return Outcome(status, found, "start the container with --ulimit memlock=67108864")
    mend = f'echo "$USER - memlock 65536" | sudo tee -a {_LIMITS}; log out and in again'
    return Outcome(status, found, mend, "in a systemd unit: LimitMEMLOCK=64M")


def swap(subject: Subject) -> Outcome:
    """Look whether the kernel may swap processes out."""
    lines = subject.tree.text("proc/swaps").splitlines()
    if not lines or not lines[0].startswith("Filename"):
        raise Unread(f"/proc/swaps: says {shown(lines[0] if lines else '')}, not a list of swap areas")
    areas = [line.split()[0] for line in lines[1:] if line.strip()]
    if not areas:
        return Outcome("pass", "none")
    swappiness = subject.tree.integer("proc/sys/vm/swappiness", 0, 200)
    found = f"{', '.join(areas[:4])}; vm.swappiness is {swappiness}"
    if swappiness <= MAX_SWAPPINESS:
        return Outcome("pass", found)
    # The guardian's memory is locked; the policy process, too large for that, is what waits.
    status = judge(PAGE_IN_NS, subject.period_ns, at_most="warn")
    if subject.jetson and all(re.search(r"/zram\d+$", area) for area in areas):
        return Outcome(status, found, "sudo swapoff -a", "sudo systemctl disable nvzramconfig")
    keep = "echo vm.swappiness=1 | sudo tee -a /etc/sysctl.d/99-edgerl.conf"
    return Outcome(status, found, "sudo sysctl -w vm.swappiness=1", keep)
