"""Preemption, scheduling, throttling, clock, timers and memory."""

from __future__ import annotations

import pytest

from edgerl.deploy.doctor.memory import LOCKED_BYTES
from edgerl.deploy.doctor.subject import GUARDIAN_PRIORITY
from edgerl.deploy.doctor.tries import Attempt, Limits
from tests import machines
from tests.machines import CLOCK, EPERM, MS, NO_RIGHTS, of


@pytest.mark.parametrize(
    ("version", "files", "mode"),
    [
        ("#1 SMP PREEMPT RT Fri", {}, "rt"),
        ("#1 SMP PREEMPT_RT @0", {}, "rt"),
        ("#1 SMP PREEMPT Fri", {}, "full"),
        ("#1 SMP PREEMPT_LAZY Fri", {}, "lazy"),
        ("#1 SMP Fri", {}, "none"),
        ("#1 SMP PREEMPT_DYNAMIC Fri", {}, "dynamic"),
        ("#1 SMP PREEMPT_DYNAMIC Fri", {"sys/kernel/debug/sched/preempt": "none voluntary (full)\n"}, "full"),
        ("#1 SMP PREEMPT_DYNAMIC Fri", {"sys/kernel/debug/sched/preempt": "(none) voluntary full\n"}, "none"),
        ("#1 SMP PREEMPT_DYNAMIC Fri", {"proc/cmdline": "ro preempt=voluntary quiet\n"}, "voluntary"),
        ("#1 SMP PREEMPT_DYNAMIC Fri", {"proc/cmdline": "ro xpreempt=full\n"}, "dynamic"),
        ("#1 SMP PREEMPT_DYNAMIC Fri", {"sys/kernel/realtime": "1"}, "rt"),
        ("#1 SMP PREEMPT Fri", {"sys/kernel/realtime": "0"}, "full"),
    ],
)
def test_the_kernels_preemption_is_told_from_all_its_forms(machine, version, files, mode):
    changes = {"proc/version": f"Linux version 6.1 (a@b) (gcc) {version}\n", **files}
    found = machine(machines.laptop(), changes)
    assert found.machine.preemption == mode
    assert of(found, "kernel").status == ("pass" if mode == "rt" else "fail")


def test_full_preemption_is_offered_where_it_is_enough_and_else_another_kernel(machine):
    laptop = machines.laptop()
    assert of(machine(laptop, period_ns=MS), "kernel").mend.startswith('sudo apt install "linux-image-rt-')
    kernel = of(machine(laptop, period_ns=2 * MS), "kernel")
    assert kernel.status == "fail"
    assert "preempt=full" in kernel.mend
    assert of(machine(laptop, {"proc/cmdline": "preempt=full"}, period_ns=2 * MS), "kernel").status == "warn"


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({"etc/os-release": 'ID="ubuntu"\n'}, "pro enable realtime-kernel"),
        ({"etc/os-release": "ID=arch\n"}, "CONFIG_PREEMPT_RT=y"),
        ({"etc/os-release": "\xff\xfe"}, "CONFIG_PREEMPT_RT=y"),
        ({"etc/nv_tegra_release": "# R36 (release), REVISION: 4.0"}, "nvidia-l4t-rt-kernel"),
    ],
)
def test_the_kernel_to_install_is_the_distributions(machine, changes, mend):
    assert mend in of(machine(machines.laptop(), changes), "kernel").mend


def test_an_rt_kernel_of_unknown_release_is_known_by_no_other_file(machine):
    assert of(machine(machines.jetson(), {"sys/kernel/realtime": "yes"}), "kernel").found.startswith(
        "/sys/kernel/realtime: says 'yes'"
    )
    assert of(machine(machines.jetson(), without="proc/version"), "kernel").status == "not_run"
    without_os = machine(machines.laptop(), without="etc/os-release")
    assert "CONFIG_PREEMPT_RT" in of(without_os, "kernel").mend


def test_what_is_tried_is_what_the_guardian_will_ask_for(machine, tries):
    machine(machines.jetson())
    assert ("fifo", GUARDIAN_PRIORITY) in tries.asked
    assert ("lock", LOCKED_BYTES) in tries.asked
    assert [what for what, _ in tries.asked].count("fifo") == 1


@pytest.mark.parametrize(
    ("limits", "mend", "keep"),
    [
        (NO_RIGHTS, "rtprio 99", "LimitRTPRIO=99"),
        (Limits(-1, 0, root=False), "kernel.sched_rt_runtime_us=-1", "sysctl.d"),
        (Limits(99, 0, root=False), "kernel.sched_rt_runtime_us=-1", "sysctl.d"),
        (Limits(0, 0, root=True), "kernel.sched_rt_runtime_us=-1", "sysctl.d"),
    ],
)
def test_refused_scheduling_is_mended_where_it_was_refused(machine, tries, limits, mend, keep):
    tries.fifo_answer, tries.limits_answer = EPERM, limits
    scheduler = of(machine(machines.jetson()), "scheduler")
    assert scheduler.status == "fail"
    assert "refused (EPERM)" in scheduler.found
    assert mend in scheduler.mend
    assert keep in scheduler.keep


def test_scheduling_that_cannot_be_asked_for_is_not_run_and_not_fit(machine, tries):
    tries.fifo_answer = None
    found = machine(machines.laptop())
    assert of(found, "scheduler").status == "not_run"
    assert "scheduler" in found.unfit_for
    assert of(found, "timers").status == "warn"  # the slack is taken to count


@pytest.mark.parametrize(
    ("runtime", "period_ns", "status"),
    [("-1", MS, "pass"), ("0", MS, "fail"), ("950000", MS, "warn"), ("1000000", MS, "pass"), ("950000", 2**40, "pass")],
)
def test_throttling_never_fails_unless_it_leaves_nothing(machine, runtime, period_ns, status):
    changes = {"proc/sys/kernel/sched_rt_runtime_us": f"{runtime}\n"}
    assert of(machine(machines.laptop(), changes, period_ns=period_ns), "throttling").status == status


@pytest.mark.parametrize("text", ["", "fast", "1.5", "-2", "9" * 30, "\u0661"])
def test_throttling_that_is_no_number_is_not_run(machine, text):
    throttling = of(machine(machines.laptop(), {"proc/sys/kernel/sched_rt_runtime_us": text}), "throttling")
    assert throttling.status == "not_run"
    assert throttling.found.startswith("/proc/sys/kernel/sched_rt_runtime_us: says ")


@pytest.mark.parametrize(
    ("name", "available", "status", "mend"),
    [
        ("tsc", "tsc hpet", "pass", ""),
        ("hpet", "tsc hpet", "warn", "echo tsc | sudo tee"),
        ("hpet", "hpet", "warn", "dmesg"),
        ("acpi_pm", None, "warn", "dmesg"),
        ("jiffies", "jiffies", "fail", "dmesg"),
        ("sundial", "sundial", "warn", "dmesg"),
        ("two words", "tsc", "not_run", ""),
    ],
)
def test_clocks_are_good_slow_or_coarse(machine, name, available, status, mend):
    changes = {f"{CLOCK}/current_clocksource": name}
    changes.update({f"{CLOCK}/available_clocksource": available} if available else {})
    without = f"{CLOCK}/available_clocksource"
    clock = of(machine(machines.laptop(), changes, without=without), "clock")
    assert (clock.status, mend in clock.mend) == (status, True)
    assert not clock.keep or "clocksource=tsc" in clock.keep


def test_a_coarse_clock_is_never_better_than_a_warning(machine):
    changes = {f"{CLOCK}/current_clocksource": "jiffies"}
    assert of(machine(machines.laptop(), changes, period_ns=10**9), "clock").status == "warn"


@pytest.mark.parametrize(
    ("resolution_ns", "fifo", "status"),
    [(1, Attempt(granted=True), "pass"), (4 * MS, Attempt(granted=True), "fail"), (1, EPERM, "warn")],
)
def test_timers_are_fine_where_sleeps_end_on_time(machine, tries, resolution_ns, fifo, status):
    tries.resolution_ns, tries.fifo_answer = resolution_ns, fifo
    assert of(machine(machines.laptop()), "timers").status == status


def test_timers_without_their_slack_are_not_run(machine):
    assert of(machine(machines.laptop(), without="proc/self/timerslack_ns"), "timers").status == "not_run"


def test_refused_memory_says_the_limit_and_the_line_that_raises_it(machine, tries):
    tries.lock_answer, tries.limits_answer = Attempt(granted=False, why_not="ENOMEM"), NO_RIGHTS
    lock = of(machine(machines.laptop()), "memory lock")
    assert lock.found == "4096 KiB refused (ENOMEM); RLIMIT_MEMLOCK is 64 KiB"
    assert (lock.status, "memlock 65536" in lock.mend, lock.keep) == (
        "fail",
        True,
        "in a systemd unit: LimitMEMLOCK=64M",
    )
    assert of(machine(machines.laptop(), period_ns=10**9), "memory lock").status == "warn"


def test_an_unlimited_lock_is_said_to_be(machine, tries):
    tries.limits_answer = Limits(99, -1, root=False)
    assert of(machine(machines.laptop()), "memory lock").found.endswith("unlimited")


@pytest.mark.parametrize(
    ("swaps", "swappiness", "status"),
    [
        ("Filename Type\n", "60", "pass"),
        ("Filename Type\n/swapfile file\n", "60", "warn"),
        ("Filename Type\n/swapfile file\n", "10", "pass"),
        ("Filename Type\n/swapfile file\n", "300", "not_run"),
        ("", "60", "not_run"),
        ("nonsense\n", "60", "not_run"),
    ],
)
def test_swap_matters_where_processes_are_swapped_out(machine, swaps, swappiness, status):
    changes = {"proc/swaps": swaps, "proc/sys/vm/swappiness": swappiness}
    assert of(machine(machines.laptop(), changes), "swap").status == status


def test_the_compressed_swap_of_a_jetson_has_its_own_service(machine):
    swap = of(machine(machines.jetson(), {"proc/swaps": "Filename\n/dev/zram0 partition\n"}), "swap")
    assert (swap.status, swap.keep) == ("warn", "sudo systemctl disable nvzramconfig")
