"""Machines to examine, as the files that their kernels show, and what they grant.

Contents are in the form of real ones (Linux 5.15 of NVIDIA's L4T R36, a Debian laptop, a container with a CPU quota);
the values are chosen, and of eight CPUs only two show how they sleep and are clocked. A path with ``None`` is a folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgerl.deploy.doctor import Examination
from edgerl.deploy.doctor.check import Check, Unread
from edgerl.deploy.doctor.tries import Attempt, Limits
from edgerl.errors import PlatformError
from edgerl.runtime.core import GUARDIAN_NAME, LIBRARY_NAME

MS = 1_000_000
"""Nanoseconds."""
EPERM = Attempt(granted=False, why_not="EPERM")
NO_RIGHTS = Limits(0, 64 * 1024, root=False)
GRANTED = Attempt(granted=True)
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00"
MACHINE_NUMBERS = {"x86_64": 62, "aarch64": 183, "mips": 8}
CPU = "sys/devices/system/cpu"
CLOCK = "sys/devices/system/clocksource/clocksource0"


@dataclass
class FakeTries:
    """Grants what it is told to; a value of None cannot be asked for."""

    core: Path
    fifo_answer: Attempt | None = GRANTED
    lock_answer: Attempt | None = GRANTED
    open_answer: Attempt = GRANTED
    limits_answer: Limits = field(default_factory=lambda: Limits(99, 64 * 1024 * 1024, root=False))
    resolution_ns: int = 1
    free: int | None = 10**12
    machine: str = "aarch64"
    load_answer: Attempt = GRANTED
    has_core: bool = True
    backends: dict[str, Attempt] = field(default_factory=dict)
    asked: list[tuple[str, object]] = field(default_factory=list)

    def fifo(self, priority: int) -> Attempt:
        self.asked.append(("fifo", priority))
        return _known(self.fifo_answer)

    def lock_memory(self, size: int) -> Attempt:
        self.asked.append(("lock", size))
        return _known(self.lock_answer)

    def open_for_writing(self, path: Path) -> Attempt:
        self.asked.append(("open", path))
        return self.open_answer

    def limits(self) -> Limits:
        return self.limits_answer

    def clock_resolution_ns(self) -> int:
        return self.resolution_ns

    def free_bytes(self, folder: Path) -> int:
        if self.free is None:
            raise Unread(f"{folder}: no such folder")
        return self.free

    def architecture(self) -> str:
        if not self.machine:
            raise Unread("the kernel does not name the CPU's architecture")
        return self.machine

    def core_dir(self) -> Path:
        if not self.has_core:
            raise PlatformError("libedgerl_core.so is not there.")
        return self.core

    def load_core(self) -> Attempt:
        return self.load_answer

    def backend(self, name: str) -> Attempt:
        return self.backends.get(name, GRANTED)


def jetson() -> dict[str, str | None]:
    """A board that somebody has set up: PREEMPT_RT, clocks held, two of eight CPUs kept free."""
    files: dict[str, str | None] = {
        "sys/kernel/realtime": "1\n",
        "proc/version": "Linux version 5.15.148-rt-tegra (build@host) (gcc 11.4) #1 SMP PREEMPT_RT Tue Jan 7 2025\n",
        "proc/cmdline": "root=/dev/mmcblk0p1 isolcpus=managed_irq,domain,6-7 nohz_full=6-7 irqaffinity=0-5\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n",
        "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64\n",
        "etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nID=ubuntu\n',
        "boot/extlinux/extlinux.conf": "TIMEOUT 30\nLABEL primary\n      APPEND ${cbootargs} quiet\n",
        "proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
        "proc/sys/vm/swappiness": "60\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48562\n",
        "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive\n",
        "sys/class/thermal/thermal_zone0/trip_point_0_temp": "99000\n",
        "sys/class/thermal/thermal_zone0/trip_point_1_type": "active\n",
        "sys/class/thermal/thermal_zone0/trip_point_1_temp": "35000\n",
        **_common(8),
        **_policies("schedutil", "tegra194", [(2201600, 2201600, 2201600)] * 2),
        **_idle(2, [("WFI", 1, 0), ("c7", 5000, 1)]),
        **_interrupts({0: None, 12: "0-5", 13: "0"}),
        f"{CLOCK}/current_clocksource": "arch_sys_counter\n",
        f"{CPU}/isolated": "6-7\n",
        f"{CPU}/nohz_full": "6-7\n",
        "proc/sys/kernel/sched_rt_runtime_us": "-1\n",
    }
    return files


def laptop() -> dict[str, str | None]:
    """A laptop as it comes: nothing is set up for real time."""
    return {
        "proc/version": "Linux version 6.1.0-28-amd64 (debian) (gcc-12) #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1\n",
        "proc/cmdline": "BOOT_IMAGE=/vmlinuz-6.1.0-28-amd64 root=/dev/nvme0n1p2 ro quiet\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i7-1165G7\nflags\t\t: fpu vme tsc\n",
        "sys/class/dmi/id/product_name": "20XW00A9GE\n",
        "sys/class/dmi/id/sys_vendor": "LENOVO\n",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
        "etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n',
        "usr/sbin/update-grub": "#!/bin/sh\n",
        "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n/dev/nvme0n1p3 partition\t999420\t0\t-2\n",
        "proc/sys/vm/swappiness": "60\n",
        "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
        "sys/class/thermal/thermal_zone0/temp": "93000\n",
        "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive\n",
        "sys/class/thermal/thermal_zone0/trip_point_0_temp": "100000\n",
        f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "17\n",
        f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "3\n",
        **_common(8),
        **_policies("powersave", "intel_pstate", [(400000, 4700000, 4700000)] * 2),
        **_idle(2, [("POLL", 0, 0), ("C1_ACPI", 1, 0), ("C2_ACPI", 253, 0), ("C3_ACPI", 1048, 0)]),
        **_interrupts({0: "0-7", 8: "0-7", 130: "3"}),
        "proc/812/comm": "irqbalance\n",
        f"{CLOCK}/current_clocksource": "hpet\n",
        f"{CLOCK}/available_clocksource": "hpet acpi_pm \n",
        f"{CPU}/isolated": "\n",
        f"{CPU}/nohz_full": "(null)\n",
        "proc/sys/kernel/sched_rt_runtime_us": "950000\n",
    }


def container() -> dict[str, str | None]:
    """A container with half a CPU in a virtual machine; most of the host's files are not shown to it."""
    files = {
        ".dockerenv": "",
        "proc/version": "Linux version 6.8.0-1021-aws (buildd) (gcc-13) #23-Ubuntu SMP Mon Dec 9 2024\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor lahf_lm\n",
        "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n",
        **_common(4),
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "50000 100000\n",
        "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t2\n",
        "proc/stat": "cpu  1000 0 1000 7000 0 0 0 1000 0 0\ncpu0 1 0 0 0 0 0 0 0 0 0\n",
        "proc/sys/kernel/sched_rt_runtime_us": "950000\n",
        f"{CLOCK}/current_clocksource": "kvm-clock\n",
        f"{CPU}/isolated": "\n",
    }
    return {path: text for path, text in files.items() if path != "sys/class/net/lo/mtu"}


def broken() -> dict[str, str | None]:
    """Every file is there and says nonsense."""
    files = {path: "\x1b[31mbanana 9e9 !\n" for path, text in {**laptop(), **jetson()}.items() if text is not None}
    files.pop("sys/class/dmi/id/product_name")
    return {**files, "sys/devices/platform/soc/soc:firmware/get_throttled": "zzz\n"}


def plant(root: Path, files: dict[str, str | None]) -> Path:
    """Write a machine's files below a folder and return the folder."""
    for path, text in files.items():
        place = root / path
        if text is None:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


def core_folder(folder: Path, machine: str = "aarch64") -> Path:
    """Write the headers of a core for a machine, and return the folder."""
    folder.mkdir(exist_ok=True)
    for name in (LIBRARY_NAME, GUARDIAN_NAME):
        (folder / name).write_bytes(ELF + MACHINE_NUMBERS[machine].to_bytes(2, "little") + bytes(44))
    return folder


def of(examination: Examination, name: str) -> Check:
    return next(check for check in examination.checks if check.name == name)


def _known(answer: Attempt | None) -> Attempt:
    if answer is None:
        raise Unread("the process that was to try it did not answer")
    return answer


def _common(cpus: int) -> dict[str, str]:
    every = f"0-{cpus - 1}\n"
    return {
        f"{CPU}/online": every,
        f"{CPU}/present": every,
        "proc/self/status": f"Name:\tpython3\nCpus_allowed:\tff\nCpus_allowed_list:\t{every}Mems_allowed:\t1\n",
        "proc/self/timerslack_ns": "50000\n",
        "proc/self/cgroup": "0::/user.slice/user-1000.slice\n",
        "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
        "proc/stat": "cpu  1000 0 1000 8000 0 0 0 0 0 0\ncpu0 1000 0 1000 8000 0 0 0 0 0 0\nintr 12345\n",
        "proc/sys/kernel/sched_rt_period_us": "1000000\n",
        "proc/sys/kernel/ostype": "Linux\n",
        "proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread trap errno user_notif trace log allow\n",
        "proc/1/comm": "systemd\n",
        "sys/class/net/lo/flags": "0x9\n",
        "sys/class/net/lo/mtu": "65536\n",
    }


def _policies(governor: str, driver: str, frequencies: list[tuple[int, int, int]]) -> dict[str, str]:
    return {
        f"{CPU}/cpufreq/policy{index}/{name}": f"{value}\n"
        for index, (low, high, possible) in enumerate(frequencies)
        for name, value in (
            ("scaling_governor", governor),
            ("scaling_driver", driver),
            ("scaling_min_freq", low),
            ("scaling_max_freq", high),
            ("cpuinfo_max_freq", possible),
        )
    }


def _idle(cpus: int, states: list[tuple[str, int, int]]) -> dict[str, str]:
    return {
        f"{CPU}/cpu{cpu}/cpuidle/state{index}/{name}": f"{value}\n"
        for cpu in range(cpus)
        for index, (label, latency_us, disabled) in enumerate(states)
        for name, value in (("name", label), ("latency", latency_us), ("disable", disabled))
    }


def _interrupts(affinities: dict[int, str | None]) -> dict[str, str | None]:
    """Give interrupts their CPUs; one with None has no file, as those of a single CPU may have."""
    return {
        (f"proc/irq/{number}/smp_affinity_list" if cpus else f"proc/irq/{number}"): f"{cpus}\n" if cpus else None
        for number, cpus in affinities.items()
    }
