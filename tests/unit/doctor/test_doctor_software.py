"""Quotas, hypervisors, containers, and what has to be installed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgerl.bundle.load import Bundle
from edgerl.bundle.manifest import EngineEntry
from edgerl.deploy.doctor.check import Check
from edgerl.deploy.doctor.tries import Attempt
from edgerl.target import load_target
from tests import machines
from tests.machines import EPERM, MS, core_folder, of
from tests.unit.test_bundle import small_bundle


def bundle_for(arch: str = "aarch64", **changes: Any) -> Bundle:
    return small_bundle(target=load_target(f"linux-{arch}"), **changes)


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


def test_room_for_recordings_depends_on_rate_and_channels(machine, tries):
    for free, period_ns, status in ((10**9, MS, "warn"), (10**9, 20 * MS, "pass"), (10**6, MS, "fail")):
        tries.free = free
        assert of(machine(machines.laptop(), period_ns=period_ns), "storage").status == status
    tries.free = 28 * 10**8
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


@pytest.mark.parametrize(
    ("actions", "status", "found"),
    [
        ("kill_process kill_thread trap errno trace log allow\n", "pass", "seccomp filters"),
        ("kill trap trace allow\n", "warn", "cannot refuse a call"),
        ("nothing\n", "not_run", "not what a filter may answer"),
    ],
)
def test_whether_a_policy_can_be_confined(machine, actions, status, found):
    check = of(machine(machines.laptop(), {"proc/sys/kernel/seccomp/actions_avail": actions}), "confinement")
    assert check.status == status
    assert found in check.found


def test_a_kernel_without_filters_is_told_from_one_that_says_nothing(machine):
    without = of(machine(machines.laptop(), without="proc/sys/kernel/seccomp"), "confinement")
    assert without.status == "warn"
    assert "CONFIG_SECCOMP_FILTER=y" in without.mend
    silent = of(machine(machines.laptop(), without="proc/sys"), "confinement")
    assert silent.status == "not_run"
