"""How soon the kernel lets the loop run: preemption, scheduling class, throttling, clock and timers."""

from __future__ import annotations

import re

from edgerl.deploy.doctor.check import Outcome, Unread, duration, judge
from edgerl.deploy.doctor.subject import GUARDIAN_PRIORITY, Subject
from edgerl.deploy.doctor.tree import shown

ORDINARY_NS = 5_000_000
"""At ordinary priority beside a busy neighbour, 1 kHz: p99 of the wake-up 4.9 ms, 9.5 % of the ticks missed; with
SCHED_FIFO 0.13 ms and 0.17 % (docs/doctor.md, "Where the figures come from")."""
PREEMPTIBLE_NS = 500_000
"""A kernel built with PREEMPT (``preempt=full``): interrupts and what holds a spinlock still delay everybody. libfranka
refuses to run 1 kHz on one by itself (``RealtimeConfig::kEnforce``), so the rule has to fail there."""
UNPREEMPTIBLE_NS = 1_000_000
"""PREEMPT_VOLUNTARY, PREEMPT_LAZY, none, or not told which: system calls of others delay, too. ``cyclictest`` at
priority 80 had 0.7 ms at p99.9 on such a kernel."""
TICK_NS = 10_000_000
"""The jiffies clock advances once in a scheduler tick; 10 ms at HZ=100."""

GOOD_CLOCKS = ("tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page", "riscv_clocksource")
"""Read in some 20 ns without a system call (vDSO)."""
SLOW_CLOCKS = ("hpet", "acpi_pm")
"""Read over a bus, in a system call; the kernel falls back on them when it finds the TSC unstable."""
COARSE_CLOCKS = ("jiffies", "refined-jiffies", "pit")

_CLOCK = "sys/devices/system/clocksource/clocksource0"
_LIMITS = "/etc/security/limits.d/99-edgerl.conf"


def preemption(subject: Subject) -> str:
    """Return how the kernel may be preempted: ``rt``, ``full``, ``lazy``, ``voluntary``, ``none``, or ``dynamic``.

    ``dynamic`` is one of the others but ``rt``, chosen at boot, where only root may see which one.

    Raises:
        Unread: The kernel does not say.
    """
    tree, version = subject.tree, _version(subject)
    if tree.has("sys/kernel/realtime") and tree.integer("sys/kernel/realtime", 0, 1) == 1:
        return "rt"
    if re.search(r"\bPREEMPT[_ ]RT\b", version):  # with a space until 5.3
        return "rt"
    return _mode(subject, version.split())


def kernel(subject: Subject) -> Outcome:
    """Look whether the kernel itself can be preempted."""
    mode, version = preemption(subject), _version(subject)
    release = version.split()[2]
    if mode == "rt":
        return Outcome("pass", f"{release}, PREEMPT_RT")
    delay = PREEMPTIBLE_NS if mode == "full" else UNPREEMPTIBLE_NS
    found = f"{release}, preemption {mode}: not PREEMPT_RT; delays of about {duration(delay)}"
    status, better = judge(delay, subject.period_ns), judge(PREEMPTIBLE_NS, subject.period_ns)
    if better != status and "PREEMPT_DYNAMIC" in version:
        return Outcome(status, found, subject.kernel_parameter("preempt=full"))
    return Outcome(status, found, _rt_kernel(subject))


def scheduler(subject: Subject) -> Outcome:
    """Ask for real-time scheduling at the guardian's priority."""
    attempt, limits = subject.fifo, subject.tries.limits()
    if attempt.granted:
        return Outcome("pass", f"SCHED_FIFO {GUARDIAN_PRIORITY} granted")
    found = f"SCHED_FIFO {GUARDIAN_PRIORITY} refused ({attempt.why_not}); RLIMIT_RTPRIO is {limits.realtime_priority}"
    status = judge(ORDINARY_NS, subject.period_ns, at_least="warn")
    if subject.container:
        return Outcome(status, found, "start the container with --cap-add=SYS_NICE --ulimit rtprio=99")
    if limits.root or not 0 <= limits.realtime_priority < GUARDIAN_PRIORITY:
        # What is left then is a control group without real-time bandwidth (CONFIG_RT_GROUP_SCHED).
        return Outcome(status, found, "sudo sysctl -w kernel.sched_rt_runtime_us=-1", _sysctl("sched_rt_runtime_us=-1"))
    mend = f'echo "$USER - rtprio 99" | sudo tee -a {_LIMITS}; log out and in again'
    return Outcome(status, found, mend, "in a systemd unit: LimitRTPRIO=99")


def throttling(subject: Subject) -> Outcome:
    """Look how much of each second is kept from real-time tasks."""
    folder = "proc/sys/kernel"
    runtime_us = subject.tree.integer(f"{folder}/sched_rt_runtime_us", -1, 10**9)
    period_us = subject.tree.integer(f"{folder}/sched_rt_period_us", 1, 10**9)
    mend, keep = "sudo sysctl -w kernel.sched_rt_runtime_us=-1", _sysctl("sched_rt_runtime_us=-1")
    if runtime_us == -1:
        return Outcome("pass", "off (sched_rt_runtime_us is -1)")
    found = f"real-time tasks get {runtime_us} of every {period_us} µs of a CPU"
    if runtime_us == 0:
        return Outcome("fail", f"{found}: none at all", mend, keep)
    # Only a CPU full of real-time work is throttled, as when a policy computes without end; hence never more than warn.
    lost_ns = max(0, period_us - runtime_us) * 1000
    status = judge(lost_ns, subject.period_ns, at_most="warn")
    return Outcome(status, f"{found}; one that hogs it stops all of them for {duration(lost_ns)}", mend, keep)


def clock(subject: Subject) -> Outcome:
    """Look at what the monotonic clock is read from."""
    current = subject.tree.word(f"{_CLOCK}/current_clocksource")
    if current in GOOD_CLOCKS:
        return Outcome("pass", current)
    try:
        available = subject.tree.text(f"{_CLOCK}/available_clocksource").split()
    except Unread:
        available = []
    better = next((name for name in GOOD_CLOCKS if name in available), "")
    if better:
        mend = f"echo {better} | sudo tee /{_CLOCK}/current_clocksource"
        keep = subject.kernel_parameter(f"clocksource={better}")
    else:
        mend, keep = "sudo dmesg | grep -i clocksource   (says why the kernel gave up a better one)", ""
    if current in COARSE_CLOCKS:
        found = f"{current}, which advances every {duration(TICK_NS)} or so"
        return Outcome(judge(TICK_NS, subject.period_ns, at_least="warn"), found, mend, keep)
    kind = "slow to read" if current in SLOW_CLOCKS else "not one that is known to be fast and steady"
    return Outcome("warn", f"{current}, {kind}", mend, keep)


def timers(subject: Subject) -> Outcome:
    """Look how finely a sleep can end."""
    resolution_ns = subject.tries.clock_resolution_ns()
    slack_ns = subject.tree.integer("proc/self/timerslack_ns")
    if resolution_ns > 1:
        found = f"timers end on a grid of {duration(resolution_ns)}: high-resolution timers are off"
        mend = "remove highres=off and nohz=off from the kernel's command line (cat /proc/cmdline), then reboot"
        return Outcome(judge(resolution_ns, subject.period_ns, at_least="warn"), found, mend)
    found = f"high resolution; timer slack {duration(slack_ns)}"
    if subject.realtime:
        return Outcome("pass", f"{found}, which real-time tasks are exempt from")
    status = judge(slack_ns, subject.period_ns, at_most="warn")
    return Outcome(status, found, "get real-time scheduling: see the check 'scheduler'")


def _version(subject: Subject) -> str:
    version = subject.tree.text("proc/version")
    if not re.match(r"Linux version \S", version):
        raise Unread(f"/proc/version: says {shown(version)}, not a version of Linux")
    return version


def _mode(subject: Subject, words: list[str]) -> str:
    if "PREEMPT_DYNAMIC" not in words:
        return next((mode for word, mode in _BUILT.items() if word in words), "none")
    try:  # root only; says "none voluntary (full)"
        active = re.search(r"\((none|voluntary|full|lazy)\)", subject.tree.text("sys/kernel/debug/sched/preempt"))
    except Unread:
        active = re.search(r"(?:^|\s)preempt=(none|voluntary|full|lazy)(?:\s|$)", subject.tree.text("proc/cmdline"))
    return active[1] if active else "dynamic"


_BUILT = {"PREEMPT": "full", "PREEMPT_LAZY": "lazy", "PREEMPT_VOLUNTARY": "voluntary"}


def _rt_kernel(subject: Subject) -> str:
    if subject.jetson:
        return (
            "sudo apt install nvidia-l4t-rt-kernel nvidia-l4t-rt-kernel-headers nvidia-l4t-rt-kernel-oot-modules "
            "nvidia-l4t-display-rt-kernel && sudo reboot   (from NVIDIA's rt-kernel repository of your L4T release)"
        )
    try:
        release = subject.tree.text("etc/os-release")
    except Unread:
        release = ""
    found = re.search(r'^ID="?(\w+)"?$', release, re.MULTILINE)
    mend = {
        "debian": 'sudo apt install "linux-image-rt-$(dpkg --print-architecture)" && sudo reboot',
        "ubuntu": "sudo pro enable realtime-kernel && sudo reboot",
    }
    return mend.get(
        found[1] if found else "", "boot a kernel built with CONFIG_PREEMPT_RT=y (in Linux itself from 6.12)"
    )


def _sysctl(assignment: str) -> str:
    return f"echo kernel.{assignment} | sudo tee -a /etc/sysctl.d/99-edgerl.conf"
