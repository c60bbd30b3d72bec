"""The doctor: what it says of four machines, the rule, every check's answers, and the real tries on this machine."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgerl import canonical
from edgerl.bundle.load import Bundle, save_bundle
from edgerl.bundle.manifest import EngineEntry
from edgerl.deploy.doctor import Examination, check_names, examine
from edgerl.deploy.doctor.check import Check, Unread, duration, judge
from edgerl.deploy.doctor.memory import LOCKED_BYTES
from edgerl.deploy.doctor.subject import GUARDIAN_PRIORITY
from edgerl.deploy.doctor.tree import MAX_BYTES, Tree, cpu_list, parse_cpus
from edgerl.deploy.doctor.tries import Attempt, Limits, RealTries
from edgerl.errors import TargetError
from edgerl.target import load_target
from tests import machines
from tests.machines import CLOCK, CPU, FakeTries, core_folder, plant
from tests.unit.test_bundle import small_bundle

MS = 1_000_000
EPERM = Attempt(granted=False, why_not="EPERM")
NO_RIGHTS = Limits(0, 64 * 1024, root=False)
DOC = Path(__file__).parents[2] / "docs" / "doctor.md"


@pytest.fixture
def tries(tmp_path: Path) -> FakeTries:
    return FakeTries(core_folder(tmp_path / "core"))


@pytest.fixture
def machine(tmp_path: Path, tries: FakeTries):
    """Return a function that plants a machine with changes and examines it."""

    def examined(
        files: dict[str, str | None],
        changes: dict[str, str | None] | None = None,
        without: str | None = None,
        **options: Any,
    ) -> Examination:
        kept = {path: text for path, text in files.items() if without is None or not re.match(without, path)}
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        options.setdefault("period_ns", MS)
        return examine(root=plant(root, {**kept, **(changes or {})}), tries=tries, **options)

    return examined


def of(examination: Examination, name: str) -> Check:
    return next(check for check in examination.checks if check.name == name)


def statuses(examination: Examination) -> dict[str, str]:
    return {check.name: check.status for check in examination.checks}


def bundle_for(arch: str = "aarch64", **changes: Any) -> Bundle:
    return small_bundle(target=load_target(f"linux-{arch}"), **changes)


# Whole machines


def test_a_board_that_was_set_up_is_fit_for_1_khz(machine):
    found = machine(machines.jetson(), bundle=bundle_for())
    assert statuses(found) == dict.fromkeys(check_names(), "pass")
    assert (found.fit, found.unfit_for, found.period_ns, found.rate_from) == (True, (), MS, "caller")
    assert {(check.mend, check.keep) for check in found.checks} == {("", "")}
    facts = found.machine
    assert facts.board == "NVIDIA Jetson AGX Orin Developer Kit"
    assert facts.system == "Ubuntu 22.04.5 LTS, L4T 36.4.0"
    assert (facts.kernel, facts.preemption, facts.cpus) == ("5.15.148-rt-tegra", "rt", 8)
    assert (facts.container, facts.hypervisor, facts.architecture) == ("", "", "aarch64")


def test_an_ordinary_laptop_is_not_fit_for_1_khz(machine, tries):
    tries.fifo_answer = tries.lock_answer = EPERM
    tries.limits_answer = NO_RIGHTS
    tries.free = 0
    found = machine(machines.laptop())
    failing = ("kernel", "scheduler", "memory lock", "idle states", "storage")
    warning = ("throttling", "swap", "governor", "isolation", "interrupts", "clock", "timers", "heat")
    assert {check.name for check in found.checks if check.status == "fail"} == set(failing)
    assert {check.name for check in found.checks if check.status == "warn"} == set(warning)
    assert statuses(found)["backends"] == statuses(found)["target"] == "not_run"
    assert (found.fit, found.unfit_for) == (False, failing)
    for check in found.checks:
        assert bool(check.mend) == (check.status in {"warn", "fail"}), check
        assert check.found
        assert check.why.endswith(".")


def test_the_same_laptop_is_fit_for_10_hz_with_warnings(machine, tries):
    tries.fifo_answer = tries.lock_answer = EPERM
    tries.limits_answer = NO_RIGHTS
    found = machine(machines.laptop(), period_ns=100 * MS)
    assert found.fit
    assert statuses(found)["scheduler"] == statuses(found)["memory lock"] == "warn"
    assert statuses(found)["kernel"] == statuses(found)["isolation"] == statuses(found)["idle states"] == "pass"


def test_a_container_with_a_quota_is_told_what_it_cannot_see_and_what_its_host_must_do(machine, tries):
    tries.fifo_answer = tries.lock_answer = EPERM
    tries.limits_answer = Limits(0, 8 * 1024 * 1024, root=True)
    found = machine(machines.container())
    assert found.machine.container == "docker"
    assert of(found, "cpu quota").status == "fail"
    assert "50000 of every 100000 µs, on 4 CPUs: up to 87.5 ms" in of(found, "cpu quota").found
    assert "--cap-add=SYS_NICE" in of(found, "scheduler").mend
    assert "--ulimit memlock" in of(found, "memory lock").mend
    assert "--cpus" in of(found, "cpu quota").mend
    assert of(found, "throttling").mend.startswith("on the container's host: sudo sysctl")
    assert of(found, "throttling").keep.startswith("on the container's host: echo")
    assert of(found, "virtualization").status == "fail"  # a tenth of the time was stolen
    assert of(found, "processors").status == "warn"
    unknown = {check.name for check in found.checks if check.status == "not_run"}
    assert unknown == {"governor", "idle states", "interrupts", "heat", "loopback", "backends", "target"}


def test_a_broken_tree_passes_nothing_that_was_read_from_it_and_names_the_files(machine):
    found = machine(machines.broken())
    asked = {"scheduler", "memory lock", "storage", "core"}  # no file is read for these
    read = [check for check in found.checks if check.name not in asked | {"backends", "target"}]
    assert {check.status for check in read} == {"not_run"}
    for check in read:
        assert re.match(r"/(proc|sys)/\S+: ", check.found), check
        assert "\x1b" not in check.found
    assert not found.fit
    assert found.unfit_for == ("kernel",)
    assert found.machine.preemption == ""


def test_an_empty_machine_passes_nothing_that_was_read_from_it(machine, tries):
    tries.fifo_answer = tries.lock_answer = tries.free = None
    tries.machine = ""
    found = machine({})
    assert set(statuses(found).values()) == {"not_run"}
    assert found.unfit_for == ("kernel", "scheduler", "memory lock", "core")
    assert all(check.found for check in found.checks)
    assert (found.machine.cpus, found.machine.kernel) == (0, "")


ANY_FILES = {**machines.laptop(), **machines.jetson(), **machines.container()}
CONTENT = st.binary(max_size=64) | st.from_regex(rb"[0-9 ,:/.\-a-z()]{0,40}", fullmatch=True)
SPOILED = st.dictionaries(st.sampled_from([path for path, text in ANY_FILES.items() if text is not None]), CONTENT)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SPOILED)
def test_no_content_of_any_file_makes_it_raise(tmp_path_factory, spoiled):
    root = tmp_path_factory.getbasetemp() / "spoiled"
    if not root.exists():
        plant(root, ANY_FILES)
    for path, content in spoiled.items():
        (root / path).write_bytes(content)
    found = examine(root=root, tries=FakeTries(core_folder(root / "core")), period_ns=MS)
    plant(root, {path: ANY_FILES[path] for path in spoiled})
    assert [check.name for check in found.checks] == list(check_names())
    assert all(check.found.isprintable() for check in found.checks)
    assert canonical.loads(Examination, canonical.dumps(found), "examination") == found


def test_an_examination_reads_back_from_its_json(machine):
    found = machine(machines.laptop())
    assert canonical.loads(Examination, canonical.dumps(found), "examination") == found


def test_nothing_on_the_machine_is_changed(machine, tmp_path):
    machine(machines.laptop())
    before = {path: path.read_bytes() for path in sorted((tmp_path / "root").rglob("*")) if path.is_file()}
    examine(root=tmp_path / "root", tries=RealTries())
    assert before == {path: path.read_bytes() for path in sorted((tmp_path / "root").rglob("*")) if path.is_file()}


def test_the_page_lists_every_check_in_order():
    rows = re.findall(r"^\| ([a-z ]+?) \|", DOC.read_text().partition("## The checks")[2].partition("##")[0], re.M)
    assert rows[1:] == list(check_names())


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    save_bundle(small_bundle(), tmp_path / "walker.edgerl")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert code
    exec(compile(code[1], str(DOC), "exec"), {})
    assert re.search(r"^(pass|warn|fail) target ", capsys.readouterr().out, re.M)


# The rule


@pytest.mark.parametrize(
    ("delay_ns", "period_ns", "status"),
    [
        (500_000, MS, "fail"),
        (499_999, MS, "warn"),
        (50_000, MS, "warn"),
        (49_999, MS, "pass"),
        (0, MS, "pass"),
        (5 * MS, MS, "fail"),
        (5 * MS, 100 * MS, "warn"),
    ],
)
def test_half_a_period_fails_and_a_twentieth_warns(delay_ns, period_ns, status):
    assert judge(delay_ns, period_ns) == status


def test_an_answer_can_be_bound_at_both_ends():
    assert judge(0, MS, at_least="warn") == "warn"
    assert judge(MS, MS, at_most="warn") == "warn"
    assert judge(MS, MS, at_least="warn") == "fail"


@given(st.integers(0, 10**10), st.integers(1, 10**10), st.integers(1, 10**10))
def test_a_longer_period_is_never_judged_harder(delay_ns, period_ns, longer_by):
    order = ["pass", "warn", "fail"]
    assert order.index(judge(delay_ns, period_ns + longer_by)) <= order.index(judge(delay_ns, period_ns))


@pytest.mark.parametrize(("ns", "text"), [(5 * MS, "5 ms"), (1, "1 ns"), (100_000, "100 µs"), (2 * 10**9, "2 s")])
def test_times_are_told_in_their_unit(ns, text):
    assert duration(ns) == text


def test_the_rate_is_the_callers_else_the_bundles_else_1_khz(machine):
    bundle = bundle_for()
    assert machine(machines.jetson(), bundle=bundle, period_ns=None).rate_from == "bundle"
    assert machine(machines.jetson(), bundle=bundle, period_ns=None).period_ns == 20 * MS
    assert machine(machines.jetson(), bundle=bundle, period_ns=4 * MS).period_ns == 4 * MS
    default = machine(machines.jetson(), period_ns=None)
    assert (default.period_ns, default.rate_from) == (MS, "default")


@pytest.mark.parametrize("period_ns", [0, -1])
def test_a_period_that_is_none_is_refused(period_ns):
    with pytest.raises(TargetError, match=f"period is {period_ns} ns. Expected more than 0"):
        examine(period_ns=period_ns)


# Kernel


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


# Memory


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


# CPUs


def test_a_governor_that_moves_the_clock_warns_with_the_command(machine):
    governor = of(machine(machines.laptop()), "governor")
    assert governor.found == "powersave (intel_pstate) moves 2 of 2 groups of CPUs between 0.4 GHz and 4.7 GHz"
    assert governor.mend == f"echo performance | sudo tee /{CPU}/cpu*/cpufreq/scaling_governor"
    assert "tmpfiles.d" in governor.keep
    jetson = of(machine(machines.jetson(), {f"{CPU}/cpufreq/policy1/scaling_min_freq": "729600"}), "governor")
    assert (jetson.status, "jetson_clocks" in jetson.mend) == ("warn", True)


def test_performance_passes_and_a_cap_below_the_possible_is_told(machine):
    changes = {f"{CPU}/cpufreq/policy0/{name}": "1500000" for name in ("scaling_min_freq", "scaling_max_freq")}
    assert of(machine(machines.jetson(), changes), "governor").found.endswith("held below the possible 2.2 GHz")
    laptop = {path: text for path, text in machines.laptop().items() if "policy" not in path or "policy0" in path}
    fast = {f"{CPU}/cpufreq/policy0/scaling_governor": "performance"}
    assert of(machine(laptop, fast), "governor").status == "pass"


def test_a_missing_frequency_is_not_run(machine):
    governor = of(machine(machines.laptop(), without=f"{CPU}/cpufreq/policy1/cpuinfo_max_freq"), "governor")
    assert (governor.status, "policy1/cpuinfo_max_freq: no such file" in governor.found) == ("not_run", True)


def test_idle_states_are_judged_by_the_deepest_that_is_enabled(machine, tries):
    tries.open_answer = Attempt(granted=False, why_not="EACCES")
    idle = of(machine(machines.laptop()), "idle states")
    assert idle.status == "fail"
    assert idle.found.startswith("deepest: 'C3_ACPI', 1048 µs to wake up; this user may not (EACCES)")
    assert "state2/disable" in idle.mend
    assert "state3/disable" in idle.mend
    assert "state1" not in idle.mend
    assert "2 3 | sudo tee /etc/tmpfiles.d" in idle.keep
    slower = of(machine(machines.laptop(), period_ns=20 * MS), "idle states")
    assert (slower.status, "state2" in slower.mend) == ("warn", False)
    disabled = {path: "1" for path in machines.laptop() if path.endswith("/disable")}
    assert of(machine(machines.laptop(), disabled), "idle states").status == "pass"
    assert of(machine(machines.laptop(), {f"{CPU}/cpu1/cpuidle/state3/latency": "deep"}), "idle states").found == (
        f"/{CPU}/cpu1/cpuidle/state3/latency: says 'deep', not a number from 0 to 1000000000"
    )


@pytest.mark.parametrize(
    ("online", "allowed", "status", "words"),
    [
        ("0-7", "0-7", "pass", "8 usable (0-7)"),
        ("0-1", "0-1", "pass", "share one"),
        ("0", "0", "warn", "1 usable (0)"),
        ("0-3", "2", "warn", "1 usable (2)"),
        ("0-3", "", "not_run", "Cpus_allowed_list"),
        ("", "0", "not_run", "is empty"),
        ("3-0", "0", "not_run", "says '3-0', not a list of CPUs"),
    ],
)
def test_processors_are_those_that_are_on_and_allowed(machine, online, allowed, status, words):
    changes = {f"{CPU}/online": online, "proc/self/status": f"Cpus_allowed_list:\t{allowed}\n"}
    found = of(machine(machines.laptop(), changes), "processors")
    assert (found.status, words in found.found) == (status, True), found


def test_processors_that_the_power_mode_switched_off_are_told(machine):
    changes = {f"{CPU}/online": "0-3", "proc/self/status": "Cpus_allowed_list:\t0-7\n"}
    assert of(machine(machines.jetson(), changes), "processors").found == "4 usable (0-3); 4-7 switched off"
    one = {f"{CPU}/online": "0", "proc/self/status": "Cpus_allowed_list:\t0-7\n"}
    assert "nvpmodel" in of(machine(machines.jetson(), one), "processors").mend
    assert of(machine(machines.laptop(), without=f"{CPU}/present"), "processors").status == "pass"


@pytest.mark.parametrize(
    ("online", "words"),
    [
        ("0-7", "isolcpus=managed_irq,domain,6-7 nohz_full=6-7 rcu_nocbs=6-7 irqaffinity=0-5"),
        ("0-2", "isolcpus=managed_irq,domain,2 nohz_full=2 rcu_nocbs=2 irqaffinity=0-1"),
    ],
)
def test_isolation_names_the_last_cpus(machine, online, words):
    isolation = of(machine(machines.laptop(), {f"{CPU}/online": online}), "isolation")
    assert (isolation.status, words in isolation.mend) == ("warn", True)


def test_isolation_without_nohz_full_passes_and_says_so(machine):
    isolation = of(machine(machines.jetson(), without=f"{CPU}/nohz_full"), "isolation")
    assert (isolation.status, isolation.found.endswith("(nohz_full is off)")) == ("pass", True)


def test_one_cpu_cannot_be_isolated(machine):
    found = machine(machines.laptop(), {f"{CPU}/online": "0"})
    assert of(found, "isolation").status == of(found, "interrupts").status == "not_run"


def test_interrupts_on_isolated_cpus_are_counted_where_they_really_go(machine):
    allowed = {"proc/irq/99/smp_affinity_list": "0-7", "proc/irq/5/smp_affinity_list": None}  # 5 cannot be read
    interrupts = of(machine(machines.jetson(), allowed), "interrupts")
    assert interrupts.found == "1 of 3 come to the isolated CPUs 6-7"
    assert (interrupts.status, "echo 0-5" in interrupts.mend) == ("warn", True)
    really = {**allowed, "proc/irq/99/effective_affinity_list": "3"}
    assert of(machine(machines.jetson(), really), "interrupts").status == "pass"
    undecided = {**allowed, "proc/irq/99/effective_affinity_list": ""}
    assert of(machine(machines.jetson(), undecided), "interrupts").status == "warn"


def test_irqbalance_is_seen_and_stopped(machine):
    interrupts = of(machine(machines.jetson(), {"proc/77/comm": "irqbalance\n"}), "interrupts")
    assert (interrupts.status, "disable --now irqbalance" in interrupts.mend) == ("warn", True)


def test_a_process_that_ends_while_it_is_looked_at_does_not_matter(machine):
    assert of(machine(machines.jetson(), {"proc/78/comm": None}), "interrupts").status == "pass"


def test_interrupts_that_nobody_may_see_are_not_run(machine):
    assert of(machine(machines.jetson(), without="proc/irq"), "interrupts").status == "not_run"


# Heat


@pytest.mark.parametrize(
    ("temperature", "status"), [("88999", "pass"), ("89000", "warn"), ("98999", "warn"), ("99000", "fail")]
)
def test_heat_is_judged_by_the_nearest_trip_point(machine, temperature, status):
    changes = {"sys/class/thermal/thermal_zone0/temp": temperature}
    assert of(machine(machines.jetson(), changes), "heat").status == status


def test_a_zone_without_power_or_trip_points_is_no_limit(machine):
    zone = "sys/class/thermal/thermal_zone1"
    changes = {f"{zone}/type": "gpu-thermal", f"{zone}/temp": None}
    assert of(machine(machines.jetson(), changes), "heat").status == "pass"
    changes = {f"{zone}/type": "board", f"{zone}/temp": "120000", f"{zone}/trip_point_0_type": "critical"}
    changes[f"{zone}/trip_point_0_temp"] = "0"
    assert of(machine(machines.jetson(), changes), "heat").status == "pass"
    only = {**changes, f"{zone}/temp": "45000"}
    found = of(machine(machines.jetson(), only, without="sys/class/thermal"), "heat").found
    assert found == "'board' has 45 °C, no limit told"


@pytest.mark.parametrize(
    ("bits", "status"),
    [("0", "pass"), ("0x0", "pass"), ("50000", "warn"), ("50005", "fail"), ("0x4", "fail"), ("hot", "not_run")],
)
def test_the_firmware_of_a_raspberry_pi_is_believed(machine, bits, status):
    changes = {"sys/devices/platform/soc/soc:firmware/get_throttled": f"{bits}\n"}
    heat = of(machine(machines.jetson(), changes, without="sys/class/thermal"), "heat")
    assert heat.status == status


def test_a_cpu_that_was_slowed_down_before_warns(machine):
    cool = {"sys/class/thermal/thermal_zone0/temp": "40000"}
    heat = of(machine(machines.laptop(), cool), "heat")
    assert (heat.status, "slowed down 20 times" in heat.found) == ("warn", True)
    never = {path: "0" for path in machines.laptop() if path.endswith("throttle_count")}
    assert of(machine(machines.laptop(), never, without="sys/class/thermal"), "heat").status == "pass"


# Host


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"sys/fs/cgroup/a/b/cpu.max": "max 100000"}, "pass"),
        ({"sys/fs/cgroup/a/b/cpu.max": "800000 100000"}, "pass"),
        ({"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "200000 100000"}, "fail"),
        ({"sys/fs/cgroup/a/b/cpu.max": "lots"}, "not_run"),
        ({}, "not_run"),
        ({"proc/self/cgroup": "3:cpu,cpuacct:/x\n", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1",
          "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000"}, "pass"),
        ({"proc/self/cgroup": "4:memory:/y\n3:cpu,cpuacct:/x\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
          "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000"}, "fail"),
        ({"proc/self/cgroup": "0::/../../etc\n", "etc/cpu.max": "1 100000", "sys/fs/cgroup/cpu.max": "max 1"}, "pass"),
        ({"proc/self/cgroup": "what\n"}, "not_run"),
    ],
)  # fmt: skip
def test_quotas_of_all_groups_above_count(machine, tries, files, status):
    tries.fifo_answer = EPERM
    changes = {"proc/self/cgroup": "0::/a/b\n", **files}
    quota = of(machine(machines.laptop(), changes, without="sys/fs/cgroup"), "cpu quota")
    assert quota.status == status, quota


def test_a_quota_only_warns_where_the_loop_is_exempt_from_it(machine):
    changes = {"sys/fs/cgroup/user.slice/cpu.max": "100000 100000"}
    quota = of(machine(machines.laptop(), changes), "cpu quota")
    assert (quota.status, "exempt" in quota.found, "CPUQuota=" in quota.mend) == ("warn", True, True)


@pytest.mark.parametrize(
    ("files", "hypervisor"),
    [
        ({"sys/class/dmi/id/sys_vendor": "QEMU"}, "QEMU"),
        ({"sys/class/dmi/id/product_name": "VMware7,1"}, "VMware7,1"),
        ({"sys/hypervisor/type": "xen"}, "xen"),
        ({"proc/device-tree/hypervisor": None}, "virtual machine (device tree)"),
        ({"proc/device-tree/compatible": "linux,dummy-virt\0"}, "virtual machine (device tree)"),
        ({"proc/cpuinfo": "flags\t: fpu hypervisor\n"}, "virtual machine (CPU flag hypervisor)"),
        ({}, ""),
    ],
)
def test_a_hypervisor_is_known_by_its_traces(machine, files, hypervisor):
    found = machine(machines.laptop(), files)
    assert found.machine.hypervisor == hypervisor
    assert of(found, "virtualization").status == ("warn" if hypervisor else "pass")


@pytest.mark.parametrize(
    ("stat", "period_ns", "status"),
    [
        ("cpu  90 0 0 0 0 0 0 1 0 0", MS, "fail"),
        ("cpu  90 0 0 0 0 0 0 1 0 0", 1000 * MS, "warn"),
        ("cpu  9000 0 0 0 0 0 0 1 0 0", MS, "warn"),
        ("cpu  0 0 0 0 0 0 0 0", MS, "pass"),
        ("cpu  1 2 3", MS, "not_run"),
        ("", MS, "not_run"),
    ],
)
def test_stolen_time_counts_whoever_stole_it(machine, stat, period_ns, status):
    found = machine(machines.laptop(), {"proc/stat": stat}, period_ns=period_ns)
    assert of(found, "virtualization").status == status


def test_a_machine_without_cpuinfo_still_has_its_time_looked_at(machine):
    assert of(machine(machines.laptop(), without="proc/cpuinfo"), "virtualization").status == "pass"


@pytest.mark.parametrize(
    ("files", "name"), [({"run/.containerenv": ""}, "podman"), ({"run/systemd/container": "lxc"}, "lxc")]
)
def test_containers_are_known_by_their_marks(machine, files, name):
    assert machine(machines.laptop(), files).machine.container == name


# Software


def test_room_for_recordings_depends_on_rate_and_channels(machine, tries):
    for free, period_ns, status in ((10**9, MS, "warn"), (10**9, 20 * MS, "pass"), (10**6, MS, "fail")):
        tries.free = free
        assert of(machine(machines.laptop(), period_ns=period_ns), "storage").status == status
    tries.free = 10**9
    small, usual = (of(machine(machines.jetson(), bundle=one), "storage") for one in (bundle_for(), None))
    assert (small.status, usual.status) == ("pass", "warn")


def test_a_folder_that_is_not_there_has_no_known_room(machine, tries):
    tries.free = None
    assert of(machine(machines.laptop()), "storage").status == "not_run"


def test_the_core_has_to_be_there_for_this_cpu_and_load(machine, tries, tmp_path):
    def core() -> Check:
        return of(machine(machines.jetson()), "core")

    assert core().status == "pass"
    tries.load_answer = Attempt(granted=False, why_not="version GLIBC_2.38 not found")
    assert (core().status, "GLIBC_2.38" in core().found) == ("fail", True)
    tries.core = core_folder(tmp_path / "other", "x86_64")
    assert core().found == "libedgerl_core.so is for x86_64, this machine is aarch64"
    core_folder(tries.core, "mips")
    assert "for ELF machine 8" in core().found
    core_folder(tries.core)
    (tries.core / "edgerl-guardian").write_text("#!/bin/sh")
    assert (core().status, "edgerl-guardian: no ELF file" in core().found) == ("fail", True)
    (tries.core / "edgerl-guardian").unlink()
    assert (core().status, "No such file" in core().found) == ("fail", True)
    tries.has_core = False
    assert core().found == "libedgerl_core.so is not there."
    tries.machine = ""
    assert core().status == "not_run"


def test_the_backend_that_runs_has_to_be_there(machine, tries):
    entry = small_bundle().manifest.engines[0]
    two = (entry, replace(entry, backend="tensorrt"))
    target = load_target("linux-aarch64")
    target = replace(target, backends={**target.backends, "tensorrt": ("float32",)})
    bundle = small_bundle(engines=two, target=target)
    assert isinstance(entry, EngineEntry)
    assert of(machine(machines.jetson(), bundle=bundle), "backends").found == "onnxruntime, tensorrt"
    tries.backends = {"tensorrt": Attempt(granted=False, why_not="No module named 'tensorrt'.")}
    found = of(machine(machines.jetson(), bundle=bundle), "backends")
    assert (found.status, found.found) == ("warn", "tensorrt: No module named 'tensorrt'")
    tries.backends["onnxruntime"] = Attempt(granted=False, why_not="libstdc++ is too old")
    examination = machine(machines.jetson(), bundle=bundle)
    assert of(examination, "backends").status == "fail"
    assert examination.unfit_for == ("backends",)


def test_a_bundle_for_another_cpu_or_rate_is_not_fit(machine, tries):
    found = machine(machines.jetson(), bundle=bundle_for("x86_64"))
    assert of(found, "target").found == "linux-x86_64 is for x86_64, this machine is aarch64"
    assert found.unfit_for == ("target",)
    slow = of(machine(machines.jetson(), bundle=bundle_for(), period_ns=2000 * MS), "target")
    assert (slow.status, slow.found) == ("fail", "linux-aarch64 is good for periods of 1 ms to 1 s, asked for 2 s")
    tries.machine = ""
    unknown = machine(machines.jetson(), bundle=bundle_for())
    assert (of(unknown, "target").status, "target" in unknown.unfit_for) == ("not_run", True)


@pytest.mark.parametrize(
    ("flags", "mtu", "status"),
    [("0x9", "65536", "pass"), ("0x9", "1500", "pass"), ("0x9", "1499", "warn"), ("0x8", "65536", "fail"),
     ("up", "65536", "not_run"), ("0x9", "large", "not_run")],
)  # fmt: skip
def test_the_loopback_takes_a_datagram_whole(machine, flags, mtu, status):
    changes = {"sys/class/net/lo/flags": flags, "sys/class/net/lo/mtu": mtu}
    assert of(machine(machines.laptop(), changes), "loopback").status == status


# Commands that mend


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("boot/extlinux/extlinux.conf", "LABEL a\n# APPEND\n\tAPPEND ro\n", "LABEL a\n# APPEND\n\tAPPEND ro WORDS\n"),
        ("boot/firmware/cmdline.txt", "console=tty1 rootwait\n", "console=tty1 rootwait WORDS\n"),
        ("etc/default/grub", 'A=1\nGRUB_CMDLINE_LINUX="b"\n', 'A=1\nGRUB_CMDLINE_LINUX="WORDS b"\n'),
    ],
)  # fmt: skip
def test_the_command_for_the_boot_loader_edits_its_file(machine, tmp_path, file, before, after):
    changes = {file: before, "usr/sbin/update-grub": ""}
    isolation = of(machine(machines.laptop(), changes, without="etc/default"), "isolation")
    words = re.search(r"isolcpus=\S+ nohz_full=\S+ rcu_nocbs=\S+ irqaffinity=[\d-]+", isolation.mend)
    assert words
    assert isolation.mend.endswith("&& sudo reboot")
    command = isolation.mend.replace(f"/{file}", str(tmp_path / "root" / file)).replace(" && sudo reboot", "")
    shell = 'sudo() { "$@"; }; update-grub() { :; }; ' + command
    subprocess.run(["bash", "-c", shell], check=True)
    assert (tmp_path / "root" / file).read_text() == after.replace("WORDS", words[0])


def test_without_a_known_boot_loader_it_says_what_to_add(machine):
    isolation = of(machine(machines.laptop(), without="etc/default"), "isolation")
    assert isolation.mend.startswith("add to the kernel's command line")
    fedora = of(machine(machines.laptop(), without="usr/sbin"), "isolation")
    assert "grub2-mkconfig" in fedora.mend


def test_every_command_is_a_line_that_a_shell_can_read(machine, tries):
    tries.fifo_answer = tries.lock_answer = EPERM
    tries.limits_answer, tries.free = NO_RIGHTS, 0
    commands = [text for check in machine(machines.laptop()).checks for text in (check.mend, check.keep)]
    shell = [text.partition("   (")[0] for text in commands if text.startswith(("echo ", "sudo ", "printf "))]
    assert len(shell) >= 10
    for command in shell:
        subprocess.run(["bash", "-n", "-c", command.replace("; log out and in again", "")], check=True)


# Reading


def test_reading_is_bounded_and_does_not_wait(tmp_path):
    tree = Tree(tmp_path)
    (tmp_path / "large").write_bytes(b"1" * (MAX_BYTES + 1))
    (tmp_path / "bytes").write_bytes(b"\xff")
    (tmp_path / "nul").write_bytes(b"a\0")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unread, match="/large: longer than 64 KiB"):
        tree.text("large")
    with pytest.raises(Unread, match="/bytes: not text"):
        tree.text("bytes")
    with pytest.raises(Unread, match="/gone: no such file"):
        tree.text("gone")
    assert tree.text("large", first=3) == "111"
    assert (tree.text("pipe"), tree.text("nul")) == ("", "a")
    assert not tree.has("x" * 5000)


def test_numbers_in_paths_are_sorted_as_numbers(tmp_path):
    plant(tmp_path, {f"cpu{n}": "" for n in (10, 9, 1)})
    assert Tree(tmp_path).matches("cpu[0-9]*") == ("cpu1", "cpu9", "cpu10")


@given(st.sets(st.integers(0, 300)))
def test_lists_of_cpus_read_back(cpus):
    ordered = tuple(sorted(cpus))
    assert parse_cpus(cpu_list(ordered), "x") == ordered


@pytest.mark.parametrize("text", ["a", "1-", "-1", "2-1", "0-99999", "9000", "1;2", "1,,2", "0x1"])
def test_what_is_no_list_of_cpus_is_refused(text):
    with pytest.raises(Unread, match="not a list of CPUs"):
        parse_cpus(text, "x")


# This machine

REAL = (
    "import json, sys; from pathlib import Path; from edgerl.deploy.doctor.tries import RealTries as T; "
    "t = T(); a = [t.fifo(80), t.lock_memory(4 << 20), t.open_for_writing(Path(sys.argv[1]))]; "
    "print(json.dumps([[one.granted, one.why_not] for one in a] + [t.limits().root]))"
)


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
IMPORTS = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@lru_cache(maxsize=1)
def python_for_all() -> str:
    """Return a Python with this one's packages that a user without rights can start; root's own may lie in its home."""
    code = "import numpy, subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    for candidate in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        try:
            subprocess.run([*NOBODY, candidate, "-B", "-c", code], capture_output=True, check=True, env=IMPORTS)
        except (OSError, subprocess.SubprocessError):
            continue
        return candidate
    pytest.skip("no Python here that an ordinary user can start")


def as_user(path: Path, *, locked_bytes: int | None = None) -> list[Any]:
    """Run the real tries as a user without rights, in a process of its own."""
    limit = (
        ""
        if locked_bytes is None
        else f"import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, ({locked_bytes},) * 2); "
    )
    command = [*NOBODY, python_for_all(), "-B", "-c", limit + REAL, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=IMPORTS)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_an_ordinary_user_is_refused_what_it_may_not_have(tmp_path):
    if resource.getrlimit(resource.RLIMIT_RTPRIO)[0] >= 80:
        pytest.skip("every user may have real-time scheduling here")
    device = tmp_path / "device"
    device.touch(mode=0o444)
    fifo, lock, opened, root = as_user(device, locked_bytes=64 * 1024)
    assert fifo == [False, "EPERM"]
    assert lock[0] is False
    assert lock[1] in {"ENOMEM", "EPERM"}
    assert opened == [False, "EACCES"]
    assert root is False


def test_an_ordinary_user_may_lock_what_its_limit_allows():
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if 0 <= soft < LOCKED_BYTES:
        pytest.skip(f"RLIMIT_MEMLOCK is {soft} bytes here")
    assert as_user(Path("/dev/null"))[1:] == [[True, ""], [True, ""], False]


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_root_is_granted_what_the_kernel_then_says_it_has():
    tries = RealTries()
    granted = tries.fifo(80)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(80))
        here = True
    except PermissionError:
        here = False
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    assert granted.granted == here
    assert tries.limits().root


def test_trying_leaves_nothing_behind(tmp_path):
    def state() -> tuple[int, str | None]:
        locked = re.search(r"^VmLck:\s*(\d+)", Path("/proc/self/status").read_text(), re.M)
        return os.sched_getscheduler(0), locked and locked[1]

    before, tries = state(), RealTries()
    tries.fifo(80)
    tries.lock_memory(LOCKED_BYTES)
    device = tmp_path / "device"
    device.write_text("1")
    assert tries.open_for_writing(device).granted
    assert (state(), device.read_text()) == (before, "1")


def test_an_impossible_priority_and_too_much_memory_are_refused_with_the_kernels_name():
    assert RealTries().fifo(1000) == Attempt(granted=False, why_not="EINVAL")
    assert as_user(Path("/dev/null"), locked_bytes=0)[1] == [False, "EPERM"]  # mlock(2): no right to lock anything


def test_what_cannot_be_tried_is_unread(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unread, match=r"did not answer \(FileNotFoundError\)"):
        RealTries().fifo(80)
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(Unread, match=r"did not answer \(ValueError\)"):
        RealTries().lock_memory(1)


def test_the_real_answers_of_this_machine_are_plausible(tmp_path, monkeypatch):
    tries = RealTries()
    assert tries.clock_resolution_ns() >= 1
    assert tries.free_bytes(tmp_path) > 0
    with pytest.raises(Unread, match="No such file"):
        tries.free_bytes(tmp_path / "gone")
    assert tries.architecture() == os.uname().machine
    assert tries.load_core().granted
    assert tries.backend("onnxruntime").granted
    assert "Unknown backend 'abacus'" in tries.backend("abacus").why_not
    monkeypatch.setattr("platform.machine", lambda: "")
    with pytest.raises(Unread, match="architecture"):
        tries.architecture()


def test_a_core_of_another_version_does_not_load(monkeypatch):
    def missing() -> None:
        raise AttributeError("undefined symbol: erl_tick")

    monkeypatch.setattr("edgerl.runtime.core.library", missing)
    assert RealTries().load_core() == Attempt(granted=False, why_not="undefined symbol: erl_tick")


def test_this_machine_is_examined_as_it_is():
    found = examine(period_ns=1000 * MS)
    assert len(found.checks) == len(check_names())
    assert of(found, "core").status == "pass"
    assert of(found, "kernel").status != "not_run"
    assert of(found, "storage").status != "not_run"
    assert found.machine.cpus == len(parse_cpus(Path(f"/{CPU}/online").read_text().strip(), "online"))
    granted = RealTries().fifo(GUARDIAN_PRIORITY).granted
    assert of(found, "scheduler").status == ("pass" if granted else "warn")
