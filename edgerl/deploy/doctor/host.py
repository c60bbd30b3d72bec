"""Who else decides over the CPUs: a control group's quota, a hypervisor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from edgerl.deploy.doctor.check import Outcome, Unread, duration, judge
from edgerl.deploy.doctor.subject import Subject
from edgerl.deploy.doctor.tree import shown

STEAL_NS = 5_000_000
"""What a hypervisor that overcommits takes at once: up to 5 ms at p99.9 of ``cyclictest`` in a guest of two CPUs."""
QUIET_NS = 1_000_000
"""The same of one that does not."""
MAX_STEAL = 0.01
"""Share of the time stolen since the start from which on it overcommits."""

_HYPERVISORS = ("QEMU", "VMware", "Xen", "innotek", "VirtualBox", "Parallels", "Virtual Machine", "Google Compute")
_DMI = "sys/class/dmi/id"


def cpu_quota(subject: Subject) -> Outcome:
    """Look for a quota of CPU time, of this control group or one above it, version 1 or 2."""
    quotas = list(_quotas(subject))
    if not quotas:
        raise Unread("/sys/fs/cgroup: no CPU quota can be read for this process's control group")
    count = len(subject.online)
    # Used up by all CPUs at once, a quota is gone after its count-th part, and all wait for the next period.
    waits = [(period_us - quota_us / count, quota_us, period_us) for quota_us, period_us in quotas if quota_us >= 0]
    wait_us, quota_us, period_us = max(waits, default=(0.0, 0, 0))
    if wait_us <= 0:
        return Outcome("pass", "none that the CPUs could use up" if waits else "none")
    wait_ns = round(wait_us * 1000)
    found = f"{quota_us} of every {period_us} µs, on {count} CPUs: up to {duration(wait_ns)} without CPU"
    # The quota counts for ordinary tasks only (kernel documentation, scheduler/sched-bwc): the driver's, for one.
    status = judge(wait_ns, subject.period_ns, at_most="warn" if subject.realtime else "fail")
    mend = (
        "start the container without --cpus and --cpu-quota; use --cpuset-cpus to confine it"
        if subject.container
        else "remove CPUQuota= from the unit (systemctl cat UNIT), then: sudo systemctl daemon-reload"
    )
    return Outcome(status, found + ("; real-time tasks are exempt" if subject.realtime else ""), mend)


def virtualization(subject: Subject) -> Outcome:
    """Look for a hypervisor, and for the time that it took."""
    steal = _steal(subject)
    kind = hypervisor(subject)
    share = f"{steal:.2%} of the time stolen since the start"
    if not kind and steal == 0:
        return Outcome("pass", "no hypervisor seen")
    found = f"{kind or 'no hypervisor seen'}; {share}"
    mend = "run the robot on real hardware; for tests pin the guest's CPUs and do not overcommit the host"
    if steal >= MAX_STEAL:
        return Outcome(judge(STEAL_NS, subject.period_ns, at_least="warn"), found, mend)
    return Outcome(judge(QUIET_NS, subject.period_ns, at_most="warn"), found, mend)


def _quotas(subject: Subject) -> Iterator[tuple[int, int]]:
    """Yield (quota, period) of this process's groups in [µs]; a quota of -1 is none."""
    tree = subject.tree
    for line in tree.text("proc/self/cgroup").splitlines():
        match = re.fullmatch(r"\d+:([^:]*):(/.*)", line)
        if not match:
            raise Unread(f"/proc/self/cgroup: says {shown(line)}, not a control group")
        controllers, path = match[1].split(","), PurePosixPath(match[2])
        if controllers == [""]:
            mounts, name = ("sys/fs/cgroup", "sys/fs/cgroup/unified"), "cpu.max"
        elif "cpu" in controllers:
            mounts, name = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"), "cpu.cfs_quota_us"
        else:
            continue
        for group in dict.fromkeys(f"{mount}{level}" for mount in mounts for level in _levels(path)):
            if tree.has(f"{group}/{name}"):
                yield _quota(subject, group, name)


def _levels(path: PurePosixPath) -> list[str]:
    """Return a group and those above it, below the mount; only the mount where it lies outside of what is visible."""
    if ".." in path.parts:
        return [""]
    return [str(level) if level != PurePosixPath("/") else "" for level in (path, *path.parents)]


def _quota(subject: Subject, group: str, name: str) -> tuple[int, int]:
    if name != "cpu.max":
        quota_us = subject.tree.integer(f"{group}/{name}", -1, 10**12)
        return quota_us, subject.tree.integer(f"{group}/cpu.cfs_period_us", 1, 10**7)
    text = subject.tree.text(f"{group}/{name}")
    match = re.fullmatch(r"(max|\d{1,12}) (\d{1,7})", text)
    if not match:
        raise Unread(f"/{group}/{name}: says {shown(text)}, not a quota and a period")
    return -1 if match[1] == "max" else int(match[1]), int(match[2])


def _steal(subject: Subject) -> float:
    first, *_ = subject.tree.text("proc/stat", first=512).splitlines() or [""]
    match = re.fullmatch(r"cpu +(\d{1,19}(?: \d{1,19}){7,9})", first)
    if not match:
        raise Unread(f"/proc/stat: says {shown(first)}, not the times of all CPUs")
    # user nice system idle iowait irq softirq steal; guest times are in user's already (proc(5)).
    times = [int(part) for part in match[1].split()[:8]]
    return times[7] / max(sum(times), 1)


def hypervisor(subject: Subject) -> str:
    """Return what betrays a hypervisor; empty where nothing does."""
    tree = subject.tree
    for path in (f"{_DMI}/product_name", f"{_DMI}/sys_vendor"):
        text = _text(subject, path)
        if any(name in text for name in _HYPERVISORS):
            return text[:60]
    kind = _text(subject, "sys/hypervisor/type")
    if kind:
        return kind[:60]
    if tree.has("proc/device-tree/hypervisor") or "linux,dummy-virt" in _text(subject, "proc/device-tree/compatible"):
        return "virtual machine (device tree)"
    try:
        flags = tree.text("proc/cpuinfo", first=8192)
    except Unread:
        return ""
    return "virtual machine (CPU flag hypervisor)" if re.search(r"\bhypervisor\b", flags) else ""


def _text(subject: Subject, path: str) -> str:
    try:
        return subject.tree.text(path)
    except Unread:
        return ""
