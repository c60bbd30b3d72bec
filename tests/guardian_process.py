"""A real guardian process between a real socket and a real policy process, for tests."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from edgerl.runtime import core, structs, wire
from edgerl.runtime.enums import POLICY_SLOTS, Mode, Phase, PortKind, Request, StateFlag
from tests.core_world import EPOCH, NO_FLAGS, SESSION, SHARED
from tests.robot_links import ShmLink, UdpLink

MS = 1_000_000

POLICY = """
import ctypes, sys, mmap
import numpy as np
from edgerl.runtime import core, structs
from edgerl.runtime.enums import Result
observation = mmap.mmap(int(sys.argv[1]), 0, prot=mmap.PROT_READ)
action = mmap.mmap(int(sys.argv[2]), 0)
seen, header, record = ctypes.c_uint32(0), structs.ObservationHeader(), np.zeros(64, np.uint8)
values = np.zeros(2, np.float32)
core.say_ready(core.address(action), int(sys.argv[3]))
print("ready", flush=True)
while True:
    found = core.wait_observation(
        core.address(observation), seen, header, record.ctypes.data, 64, timeout_ns=10_000_000_000)
    if found == Result.OK:
        values[:] = record.view(np.float32)[0]
        core.post_action(core.address(action), int(sys.argv[3]), header.sequence, values, infer_ns=1000)
"""


class GuardianProcess:
    """Starts a guardian on a configuration and plays robot and supervisor for it."""

    def __init__(self, config: structs.Config) -> None:
        self.config = config
        self.fds: list[int] = []
        self.maps: dict[str, mmap.mmap] = {}
        sizes = {
            "status": ctypes.sizeof(structs.StatusBlock),
            "requests": ctypes.sizeof(structs.Requests),
            "observation": ctypes.sizeof(structs.ObservationMailbox),
            "ring": core.ring_bytes(config),
            **{f"action-{slot}": ctypes.sizeof(structs.ActionMailbox) for slot in range(POLICY_SLOTS)},
        }
        config_fd = os.memfd_create("config")
        os.write(config_fd, bytes(config))
        self.fds.append(config_fd)
        for name, size in sizes.items():
            descriptor = os.memfd_create(name)
            os.ftruncate(descriptor, size)
            self.maps[name] = mmap.mmap(descriptor, size)
            self.fds.append(descriptor)
        self.at = {name: core.address(segment) for name, segment in self.maps.items()}
        actions = [at for name, at in self.at.items() if name.startswith("action")]
        core.create_segments(config, actions=actions, **{name: self.at[name] for name in SHARED})
        self.robot = UdpLink() if config.port == PortKind.UDP else ShmLink()
        self.robot.settimeout(5)
        self.own_fds = list(self.fds)
        self.fds += self.robot.fds
        self.process: subprocess.Popen[bytes] | None = None
        self.policies: list[subprocess.Popen[str]] = []
        self.sequence = 0

    def __enter__(self) -> GuardianProcess:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [self.process, *self.policies]:
            if process is not None:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
        self.robot.close()
        for descriptor in self.own_fds:
            os.close(descriptor)

    def start(self, arguments: list[str] | None = None) -> GuardianProcess:
        given = [str(descriptor) for descriptor in self.fds] if arguments is None else arguments
        self.process = subprocess.Popen([core.guardian_path(), *given], pass_fds=self.fds)
        return self

    def start_policy(self, epoch: int = EPOCH) -> subprocess.Popen[str]:
        observation, action = self.fds[3], self.fds[5]
        arguments = [sys.executable, "-c", POLICY, str(observation), str(action), str(epoch)]
        policy = subprocess.Popen(arguments, pass_fds=(observation, action), stdout=subprocess.PIPE, text=True)
        self.policies.append(policy)
        assert policy.stdout is not None
        assert policy.stdout.readline() == "ready\n"
        core.set_policies(self.at["requests"], core.policy_word(epoch, 0))
        return policy

    def status(self) -> structs.Status:
        status = core.read_status(self.at["status"])
        assert status is not None
        return status

    def until(self, true: Callable[[], bool], timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.001)

    def ready(self) -> None:
        self.until(lambda: self.status().phase == Phase.READY)

    def request(self, kind: Request) -> None:
        core.request(self.at["requests"], kind)

    def send_state(self, value: float = 0.25, flags: StateFlag = NO_FLAGS) -> None:
        self.sequence += 1
        header = wire.Header(SESSION, self.sequence, self.sequence * self.config.period_ns)
        self.robot.send(wire.encode(wire.State(header, flags, np.array([value, 0.0, 0.0], np.float32))))

    def command(self) -> wire.Command:
        message = wire.decode(self.robot.recv(2048))
        assert isinstance(message, wire.Command)
        return message

    def exchange(self, value: float = 0.25, flags: StateFlag = StateFlag.LOCKSTEP) -> wire.Command:
        """Send a state and return the command that answers it."""
        self.send_state(value, flags)
        command = self.command()
        assert command.state_sequence == self.sequence
        return command

    def arm(self) -> None:
        self.exchange()
        self.request(Request.ARM)
        for _ in range(self.config.arm_ticks):
            if self.exchange().mode == Mode.ACTIVE:
                return
        raise AssertionError(f"not armed: {self.status().arm_blockers}")

    def ended(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=5)
