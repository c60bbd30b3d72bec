"""Whether what the loop needs is installed, fits the machine, and has room to write."""

from __future__ import annotations

import struct
from pathlib import Path

from edgerl.deploy.doctor.check import Outcome, Status, Unread, duration
from edgerl.deploy.doctor.subject import Subject
from edgerl.deploy.doctor.tree import shown
from edgerl.errors import EdgerlError
from edgerl.runtime.core import GUARDIAN_NAME, LIBRARY_NAME
from edgerl.runtime.layout import Channel, Layout, layout_of
from edgerl.runtime.recording import arrays_of, policy_arrays
from edgerl.runtime.recording.form import Form
from edgerl.runtime.wire import MAX_DATAGRAM

ENOUGH_S = 3600
"""Less than an hour of recording warns."""
LEAST_S = 60
"""Less than a minute fails: the recording of one fault would not be whole."""
USUAL_CHANNELS = (48, 12)
"""State and command values of a legged robot, where no bundle says how many there are."""

_MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_SECCOMP = "proc/sys/kernel/seccomp/actions_avail"
"""Since Linux 4.14, where filters are built in (``userspace-api/seccomp_filter`` of the kernel's documentation)."""
_UDP_HEADERS = 28
"""IPv4 and UDP."""
_UP = 0x1
"""IFF_UP of net/if.h."""


def storage(subject: Subject) -> Outcome:
    """Compare the free disk with what recordings take at this rate."""
    free = subject.tries.free_bytes(subject.recordings)
    if subject.bundle is not None:
        manifest = subject.bundle.manifest
        arrays = policy_arrays(layout_of(manifest.spec, manifest.envelope), manifest.spec)
    else:
        states, commands = USUAL_CHANNELS
        arrays = arrays_of(Layout((Channel("", ""),) * states, (Channel("", ""),) * commands))
    a_second = Form(arrays).tick_bytes * 1e9 / subject.period_ns
    seconds = free / a_second
    room = f"{seconds / 3600:.3g} h" if seconds >= ENOUGH_S else duration(round(seconds * 1e9))
    found = f"{free / 1e9:.3g} GB free in {subject.recordings.absolute()}: {room} of recording"
    if seconds >= ENOUGH_S:
        return Outcome("pass", found)
    mend = "delete old recordings, or record to another disk (--recording)"
    return Outcome("warn" if seconds >= LEAST_S else "fail", found, mend)


def confinement(subject: Subject) -> Outcome:
    """Look whether the kernel can leave a policy process nothing but computing."""
    if subject.tree.has("proc/sys/kernel/ostype") and not subject.tree.has(_SECCOMP):
        return Outcome(
            "warn",
            "this kernel has no seccomp filters: the policy process could reach files, sockets and the guardian",
            "boot a kernel built with CONFIG_SECCOMP_FILTER=y (the production profile refuses to run without)",
        )
    actions = subject.tree.text(_SECCOMP).split()
    if "allow" not in actions:
        raise Unread(f"/{_SECCOMP}: says {shown(' '.join(actions))}, not what a filter may answer")
    if "errno" not in actions:
        return Outcome("warn", "its seccomp filters cannot refuse a call", "boot Linux 5.1 or newer, as edgerl needs")
    return Outcome("pass", "seccomp filters")


def core(subject: Subject) -> Outcome:
    """Look for the guardian and its library, built for this CPU, and load the library."""
    machine = subject.tries.architecture()
    mend = "pip install --force-reinstall --no-deps edgerl   (on this machine, with a C compiler)"
    try:
        folder = subject.tries.core_dir()
    except EdgerlError as missing:
        return Outcome("fail", str(missing), mend)
    for name in (LIBRARY_NAME, GUARDIAN_NAME):
        try:
            built = _architecture(folder, name)
        except Unread as missing:
            return Outcome("fail", str(missing), mend)
        if built != machine:
            return Outcome("fail", f"{name} is for {built}, this machine is {machine}", mend)
    loaded = subject.tries.load_core()
    if not loaded.granted:
        return Outcome("fail", f"{LIBRARY_NAME} does not load ({loaded.why_not})", mend)
    return Outcome("pass", f"{LIBRARY_NAME} and {GUARDIAN_NAME} for {machine} in {folder}")


def backends(subject: Subject) -> Outcome:
    """Import the backend of each of the bundle's engines."""
    engines = subject.require_bundle().manifest.engines
    tried = {entry.backend: subject.tries.backend(entry.backend) for entry in engines}
    missing = {name: attempt.why_not for name, attempt in tried.items() if not attempt.granted}
    if not missing:
        return Outcome("pass", ", ".join(tried))
    found = "; ".join(f"{name}: {why.rstrip('.')}" for name, why in missing.items())
    # The first engine is the one that runs unless another is asked for.
    status: Status = "fail" if engines[0].backend in missing else "warn"
    return Outcome(status, found, "pip install --upgrade edgerl   (or the package that brings the backend)")


def target(subject: Subject) -> Outcome:
    """Compare the bundle's target with this machine and the rate."""
    wanted, machine = subject.require_bundle().manifest.target, subject.tries.architecture()
    if wanted.arch != machine:
        mend = "edgerl pack --target NAME for this machine (edgerl targets lists them)"
        return Outcome("fail", f"{wanted.name} is for {wanted.arch}, this machine is {machine}", mend)
    if not wanted.min_period_ns <= subject.period_ns <= wanted.max_period_ns:
        limits = f"{duration(wanted.min_period_ns)} to {duration(wanted.max_period_ns)}"
        found = f"{wanted.name} is good for periods of {limits}, asked for {duration(subject.period_ns)}"
        return Outcome("fail", found, "choose another target, or another rate")
    return Outcome("pass", f"{wanted.name}: {wanted.arch}")


def loopback(subject: Subject) -> Outcome:
    """Look whether a datagram of the robot port passes through the loopback device whole."""
    flags = subject.tree.word("sys/class/net/lo/flags")
    try:
        up = int(flags, 16) & _UP
    except ValueError as error:
        raise Unread(f"/sys/class/net/lo/flags: says {shown(flags)}, not a hexadecimal number") from error
    if not up:
        return Outcome("fail", "lo is down", "sudo ip link set lo up")
    mtu = subject.tree.integer("sys/class/net/lo/mtu", 0, 2**31)
    if mtu < MAX_DATAGRAM + _UDP_HEADERS:
        found = f"MTU {mtu}: datagrams of up to {MAX_DATAGRAM} bytes are cut in pieces"
        return Outcome("warn", found, "sudo ip link set lo mtu 65536")
    return Outcome("pass", f"lo is up, MTU {mtu}")


def _architecture(folder: Path, name: str) -> str:
    """Return what CPU an ELF file is for, from its header.

    Raises:
        Unread: Not there, or no ELF file; the text names it.
    """
    try:
        with (folder / name).open("rb") as file:
            head = file.read(20)
    except OSError as error:
        raise Unread(f"{folder / name}: {error.strerror}") from error
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise Unread(f"{folder / name}: no ELF file")
    number = int(struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0])
    return _MACHINES.get(number, f"ELF machine {number}")
