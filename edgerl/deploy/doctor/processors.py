"""How fast the CPUs are there when the loop wakes up, and who else comes to them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgerl.deploy.doctor.check import WARN_SHARE, Outcome, Unread, duration, judge
from edgerl.deploy.doctor.subject import Subject
from edgerl.deploy.doctor.tree import cpu_list, shown

RAMP_NS = 10_000_000
"""A governor looks about every 10 ms whether a CPU needs to be faster (schedutil's rate_limit_us, ondemand's
sampling_rate), and a loop that is idle most of each period looks as if it did not."""
UNSHIELDED_NS = 100_000
"""PREEMPT_RT alone had spikes above 100 µs on a Jetson AGX Orin under load of GPU, disk and network, and below 20 µs
with isolated CPUs and interrupts kept away (docs/doctor.md, "Where the figures come from")."""

_CPU = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Domain:
    """CPUs that share one clock frequency; frequencies in [kHz]."""

    governor: str
    driver: str
    low: int
    high: int
    possible: int

    @property
    def steady(self) -> bool:
        """Whether its frequency stays: the governor for that, or no room to move (what jetson_clocks does)."""
        return self.governor == "performance" or self.low == self.high


def governor(subject: Subject) -> Outcome:
    """Look whether the CPUs change their clock frequency."""
    domains = [_domain(subject, path) for path in subject.tree.matches(f"{_CPU}/cpufreq/policy[0-9]*")]
    if not domains:
        raise Unread(f"/{_CPU}/cpufreq/policy*: not there; kernel, hypervisor or firmware decide the frequency")
    moving = [one for one in domains if not one.steady]
    if not moving:
        slowest = min(domains, key=lambda one: one.high / max(one.possible, 1))
        note = "" if slowest.high >= slowest.possible else f", held below the possible {_ghz(slowest.possible)}"
        return Outcome("pass", f"{slowest.governor} ({slowest.driver}), {_ghz(slowest.high)}{note}")
    one = moving[0]
    found = (
        f"{one.governor} ({one.driver}) moves {len(moving)} of {len(domains)} groups of CPUs "
        f"between {_ghz(one.low)} and {_ghz(one.high)}"
    )
    status = judge(RAMP_NS, subject.period_ns, at_most="warn")  # slower, but it goes on
    if subject.jetson:
        keep = "a systemd unit that runs jetson_clocks after nvpmodel.service"
        return Outcome(status, found, "sudo nvpmodel -q   (choose the mode with -m), then: sudo jetson_clocks", keep)
    mend = f"echo performance | sudo tee /{_CPU}/cpu*/cpufreq/scaling_governor"
    line = f"w /{_CPU}/cpu*/cpufreq/scaling_governor - - - - performance"
    return Outcome(status, found, mend, f"echo '{line}' | sudo tee /etc/tmpfiles.d/edgerl-governor.conf")


def idle_states(subject: Subject) -> Outcome:
    """Look how long a CPU takes to wake up from the deepest state that it may sleep in."""
    paths = subject.tree.matches(f"{_CPU}/cpu[0-9]*/cpuidle/state[0-9]*/latency")
    if not paths:
        raise Unread(f"/{_CPU}/cpu*/cpuidle: not there; kernel, hypervisor or firmware decide how CPUs sleep")
    enabled: dict[str, tuple[int, str]] = {}
    for path in paths:
        state = path.removesuffix("/latency")
        if not subject.tree.integer(f"{state}/disable"):
            latency = subject.tree.integer(path, 0, 10**9) * 1000
            enabled[state] = latency, subject.tree.text(f"{state}/name")
    latency_ns, name = max(enabled.values(), default=(0, "none"))
    device = subject.tries.open_for_writing(subject.tree.root / "dev/cpu_dma_latency")
    limit = "may" if device.granted else f"may not ({device.why_not})"
    found = f"deepest: {shown(name)}, {latency_ns // 1000} µs to wake up; this user {limit} use /dev/cpu_dma_latency"
    status = judge(latency_ns, subject.period_ns)
    if status == "pass":
        return Outcome("pass", found)
    deep = {state[0] for state in enabled.items() if state[1][0] * WARN_SHARE >= subject.period_ns}
    numbers = sorted({int(path.rpartition("/state")[2]) for path in deep})
    files = " ".join(f"/{_CPU}/cpu*/cpuidle/state{number}/disable" for number in numbers)
    line = f"w /{_CPU}/cpu*/cpuidle/state%s/disable - - - - 1\\n"
    keep = f"printf '{line}' {' '.join(map(str, numbers))} | sudo tee /etc/tmpfiles.d/edgerl-idle.conf"
    return Outcome(status, found, f"echo 1 | sudo tee {files}", keep)


def processors(subject: Subject) -> Outcome:
    """Count the CPUs that the loop may use."""
    allowed = subject.allowed()
    usable = tuple(cpu for cpu in subject.online if cpu in allowed)
    found = f"{len(usable)} usable ({cpu_list(usable)})"
    try:
        off = tuple(cpu for cpu in subject.tree.cpus(f"{_CPU}/present") if cpu not in subject.online)
    except Unread:
        off = ()
    if off:
        found += f"; {cpu_list(off)} switched off"
    if len(usable) > 1:
        shared = "guardian and policy share one, one is left for the rest"
        return Outcome("pass", found if len(usable) > 3 else f"{found}: {shared}")
    if subject.jetson and off:
        return Outcome("warn", found, "sudo nvpmodel -q   (choose a mode with more CPUs with -m)")
    if len(subject.online) > len(usable):
        mend = "start it where more CPUs are allowed (taskset, cpuset of the container, CPUAffinity= of the unit)"
        return Outcome("warn", found, mend)
    return Outcome("warn", found, "use a machine with at least two CPUs")


def isolation(subject: Subject) -> Outcome:
    """Look whether CPUs are kept free for the loop."""
    if len(subject.online) < 2:
        raise Unread("there is one CPU: none can be kept free")
    if subject.isolated:
        found = f"CPUs {cpu_list(subject.isolated)} isolated"
        ticking = "" if _nohz_full(subject) else "; the scheduler's own tick still comes to them (nohz_full is off)"
        return Outcome("pass", found + ticking)
    rest, spared = map(cpu_list, subject.spared_cpus())
    words = f"isolcpus=managed_irq,domain,{spared} nohz_full={spared} rcu_nocbs={spared} irqaffinity={rest}"
    found = f"none isolated; delays of about {duration(UNSHIELDED_NS)}"
    return Outcome(judge(UNSHIELDED_NS, subject.period_ns), found, subject.kernel_parameter(words))


def interrupts(subject: Subject) -> Outcome:
    """Look which interrupts come to the CPUs that are kept for the loop."""
    if len(subject.online) < 2:
        raise Unread("there is one CPU: interrupts cannot go elsewhere")
    where = _interrupts(subject)
    if not where:
        raise Unread("/proc/irq/*/smp_affinity_list: none can be read")
    balancing = any(_comm(subject, path) == "irqbalance" for path in subject.tree.matches("proc/[0-9]*/comm"))
    rest, _ = subject.spared_cpus()
    if subject.isolated:
        rest = tuple(cpu for cpu in subject.online if cpu not in subject.isolated)
        coming = [number for number, cpus in where.items() if set(cpus) & set(subject.isolated)]
        found = f"{len(coming)} of {len(where)} come to the isolated CPUs {cpu_list(subject.isolated)}"
    else:
        coming = list(where)
        found = f"none of {len(where)} kept away from the loop: no CPU is isolated"
    found += "; irqbalance moves them" if balancing else ""
    if not coming and not balancing:
        return Outcome("pass", found)
    stop = "sudo systemctl disable --now irqbalance; " if balancing else ""
    # Writing one that belongs to a CPU fails with EIO; that one cannot be moved and is no mistake.
    mend = f"{stop}for one in /proc/irq/*/smp_affinity_list; do echo {cpu_list(rest)} | sudo tee $one; done"
    keep = subject.kernel_parameter(f"irqaffinity={cpu_list(rest)}")
    return Outcome(judge(UNSHIELDED_NS, subject.period_ns), found, mend, keep)


def _domain(subject: Subject, path: str) -> Domain:
    low, high, possible = (
        subject.tree.integer(f"{path}/{name}", 1, 10**9)
        for name in ("scaling_min_freq", "scaling_max_freq", "cpuinfo_max_freq")
    )
    return Domain(
        subject.tree.word(f"{path}/scaling_governor"), subject.tree.word(f"{path}/scaling_driver"), low, high, possible
    )


def _ghz(khz: int) -> str:
    return f"{khz / 1e6:.3g} GHz"


def _nohz_full(subject: Subject) -> bool:
    try:
        return bool(subject.tree.cpus(f"{_CPU}/nohz_full"))
    except Unread:
        return False


def _interrupts(subject: Subject) -> dict[int, tuple[int, ...]]:
    """Return the CPUs that each interrupt goes to; without those that the kernel does not tell."""
    where: dict[int, tuple[int, ...]] = {}
    for path in subject.tree.matches("proc/irq/[0-9]*"):
        number = re.fullmatch(r"proc/irq/(\d{1,9})", path)
        for name in ("effective_affinity_list", "smp_affinity_list"):
            if number and subject.tree.has(f"{path}/{name}"):
                cpus = _cpus_or_none(subject, f"{path}/{name}")
                if cpus:
                    where[int(number[1])] = cpus
                    break
    return where


def _cpus_or_none(subject: Subject, path: str) -> tuple[int, ...]:
    try:
        subject.tree.text(path)
    except Unread:  # EIO for an interrupt of one CPU, EACCES where only root may look
        return ()
    return subject.tree.cpus(path)


def _comm(subject: Subject, path: str) -> str:
    try:
        return subject.tree.text(path)
    except Unread:  # the process has ended meanwhile
        return ""
