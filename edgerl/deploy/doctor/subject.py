"""What is examined: the machine's files, what it grants, and the rate and bundle that it is examined for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgerl.bundle.load import Bundle
from edgerl.deploy.doctor.check import Unread
from edgerl.deploy.doctor.tree import Tree, parse_cpus
from edgerl.deploy.doctor.tries import Attempt, Tries
from edgerl.runtime.run import RunOptions

GUARDIAN_PRIORITY = RunOptions().guardian_priority
"""SCHED_FIFO priority that is tried: the one that the guardian will ask for."""

JETSON = "etc/nv_tegra_release"
"""NVIDIA's Linux for Tegra writes its release there."""


@dataclass(frozen=True, eq=False)
class Subject:
    """Everything that a check may look at."""

    tree: Tree
    tries: Tries
    period_ns: int
    """Control period that the machine is judged for, in [ns]."""
    bundle: Bundle | None
    recordings: Path
    """Folder that recordings will be written to."""

    def require_bundle(self) -> Bundle:
        """Return the bundle.

        Raises:
            Unread: None was given.
        """
        if self.bundle is None:
            raise Unread("no bundle was given")
        return self.bundle

    @cached_property
    def fifo(self) -> Attempt:
        """Whether real-time scheduling is granted; asked once."""
        return self.tries.fifo(GUARDIAN_PRIORITY)

    @cached_property
    def realtime(self) -> bool:
        """Whether real-time scheduling was granted; False where it could not even be asked for."""
        try:
            return self.fifo.granted
        except Unread:
            return False

    @cached_property
    def online(self) -> tuple[int, ...]:
        """CPUs that are switched on.

        Raises:
            Unread: The kernel does not list them.
        """
        path = "sys/devices/system/cpu/online"
        cpus = self.tree.cpus(path)
        if not cpus:
            raise Unread(f"/{path}: is empty")
        return cpus

    @cached_property
    def isolated(self) -> tuple[int, ...]:
        """CPUs that the scheduler keeps free of ordinary work.

        Raises:
            Unread: The kernel does not list them.
        """
        return self.tree.cpus("sys/devices/system/cpu/isolated")

    @cached_property
    def container(self) -> str:
        """What kind of container this runs in; empty where no trace of one is seen."""
        for path, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
            if self.tree.has(path):
                return name
        try:
            return self.tree.word("run/systemd/container")
        except Unread:
            return ""

    @property
    def jetson(self) -> bool:
        """Whether this is NVIDIA's Linux for Tegra."""
        return self.tree.has(JETSON)

    def spared_cpus(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the CPUs for everything else and those for guardian and policy, two of four or more, one of fewer."""
        spared = 2 if len(self.online) >= 4 else 1
        return self.online[:-spared], self.online[-spared:]

    def allowed(self) -> tuple[int, ...]:
        """Return the CPUs that this process may use.

        Raises:
            Unread: The kernel does not list them.
        """
        path = "proc/self/status"
        match = re.search(r"^Cpus_allowed_list:\s*(\S+)$", self.tree.text(path), re.MULTILINE)
        if not match:
            raise Unread(f"/{path}: has no line Cpus_allowed_list")
        return parse_cpus(match[1], path)

    def kernel_parameter(self, words: str) -> str:
        """Return the command that adds parameters to the kernel's command line, for the boot loader that is there."""
        if self.tree.has("boot/extlinux/extlinux.conf"):
            path = "/boot/extlinux/extlinux.conf"
            edit = f"sudo cp {path} {path}.before && sudo sed -i '/^[[:space:]]*APPEND/ s/$/ {words}/' {path}"
        elif self.tree.has("boot/firmware/cmdline.txt"):
            path = "/boot/firmware/cmdline.txt"
            edit = f"sudo cp {path} {path}.before && sudo sed -i '1 s/$/ {words}/' {path}"
        elif self.tree.has("etc/default/grub"):
            update = (
                "update-grub" if self.tree.has("usr/sbin/update-grub") else "grub2-mkconfig -o /boot/grub2/grub.cfg"
            )
            edit = f"sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{words} /' /etc/default/grub && sudo {update}"
        else:
            return f"add to the kernel's command line in the boot loader's configuration, then reboot: {words}"
        return f"{edit} && sudo reboot"
