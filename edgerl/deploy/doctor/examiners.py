"""All checks in the order of a report: from what decides most about a loop to what merely has to be there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgerl.deploy.doctor.check import Outcome
from edgerl.deploy.doctor.heat import heat
from edgerl.deploy.doctor.host import cpu_quota, virtualization
from edgerl.deploy.doctor.kernel import clock, kernel, scheduler, throttling, timers
from edgerl.deploy.doctor.memory import memory_lock, swap
from edgerl.deploy.doctor.processors import governor, idle_states, interrupts, isolation, processors
from edgerl.deploy.doctor.software import backends, confinement, core, loopback, storage, target
from edgerl.deploy.doctor.subject import Subject


@dataclass(frozen=True)
class Examiner:
    """One check and what it may decide."""

    name: str
    why: str
    """What it does to a control loop, in one sentence."""
    look: Callable[[Subject], Outcome]
    essential: bool = False
    """A machine that does not tell this is not fit: the loop depends on it."""
    of_bundle: bool = False
    """Asks about a bundle; without one there is nothing to look at."""
    of_host: bool = False
    """A container shares it with its host and cannot change it."""


EXAMINERS = (
    Examiner(
        "kernel",
        "Only a kernel with PREEMPT_RT lets the loop interrupt nearly all of the kernel's own work.",
        kernel,
        essential=True,
        of_host=True,
    ),
    Examiner(
        "scheduler",
        "At ordinary priority every other process takes turns with the loop; SCHED_FIFO comes before all of them.",
        scheduler,
        essential=True,
    ),
    Examiner(
        "throttling",
        "When real-time tasks fill a CPU, the kernel stops all of them there for the rest of the second, the guardian, "
        "too.",
        throttling,
        of_host=True,
    ),
    Examiner(
        "memory lock",
        "Memory that is not locked may be dropped, and the tick that needs it waits for the disk.",
        memory_lock,
        essential=True,
    ),
    Examiner("swap", "A policy process that was swapped out answers only when its pages are back.", swap, of_host=True),
    Examiner(
        "governor",
        "A CPU that is clocked down between ticks computes each tick at a low clock, several times slower.",
        governor,
        of_host=True,
    ),
    Examiner(
        "idle states",
        "A CPU that sleeps deeply between ticks wakes up late for each of them.",
        idle_states,
        of_host=True,
    ),
    Examiner("processors", "With one CPU, the loop, its robot's driver and all else wait for each other.", processors),
    Examiner(
        "isolation", "Other processes and the kernel's own work on the loop's CPU delay it.", isolation, of_host=True
    ),
    Examiner(
        "interrupts",
        "An interrupt on the loop's CPU comes before any process, real-time or not.",
        interrupts,
        of_host=True,
    ),
    Examiner(
        "clock",
        "Every tick reads the clock several times; a slow or coarse one moves all deadlines.",
        clock,
        of_host=True,
    ),
    Examiner("timers", "A sleep that can only end on a coarse grid ends late.", timers),
    Examiner(
        "cpu quota", "A control group that has used up its quota does not run until the next period of it.", cpu_quota
    ),
    Examiner(
        "virtualization", "A hypervisor stops the whole machine for others, and no setting in it helps.", virtualization
    ),
    Examiner("heat", "A CPU that gets too hot is clocked down, in the middle of a run.", heat),
    Examiner("storage", "A full disk ends the recording, which is the only witness of a fault.", storage),
    Examiner("core", "The guardian is what keeps the robot safe; without it nothing runs.", core, essential=True),
    Examiner(
        "confinement",
        "What a policy process may not do it cannot do by mistake: reach the guardian, files or the network.",
        confinement,
        of_host=True,
    ),
    Examiner("backends", "The policy's engine runs in its backend.", backends, essential=True, of_bundle=True),
    Examiner(
        "target",
        "An engine for another CPU or rate does not run here as verified.",
        target,
        essential=True,
        of_bundle=True,
    ),
    Examiner("loopback", "A robot's side on the same machine talks to the guardian through it.", loopback),
)
