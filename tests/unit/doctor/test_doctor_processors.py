"""CPUs, interrupts and heat."""

from __future__ import annotations

import pytest

from edgerl.deploy.doctor.tries import Attempt
from tests import machines
from tests.machines import CPU, MS, of


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
