"""A driver for the simulated quadruped, to be turned into yours: wherever it says SDK, call your robot's.

Twelve joints with position, velocity, gains and torque; gyro and attitude; motor temperatures; an e-stop when it has
fallen. Run it on a bundle of yours from this folder: ``edgerl run BUNDLE --robot pkg:driver:Walker``.
"""

from __future__ import annotations

import numpy as np
from simulation import JOINTS, Quadruped

from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.robot_port import RobotCommand, RobotDescription, RobotState, match_channels
from edgerl.runtime.wire import StateFlag

MEASURED = (
    *(Channel(f"q[{joint}]", "rad") for joint in JOINTS),
    *(Channel(f"dq[{joint}]", "rad/s") for joint in JOINTS),
    *(Channel(f"temperature[{joint}]", "degC") for joint in JOINTS),
    *(Channel(f"imu.gyro.{axis}", "rad/s") for axis in "xyz"),
    *(Channel(f"imu.quat.{part}", "1") for part in "wxyz"),
)
COMMANDED = (
    *(Channel(f"q[{joint}]", "rad") for joint in JOINTS),
    *(Channel(f"dq[{joint}]", "rad/s") for joint in JOINTS),
    *(Channel(f"tau[{joint}]", "Nm") for joint in JOINTS),
    *(Channel(f"kp[{joint}]", "Nm/rad") for joint in JOINTS),
    *(Channel(f"kd[{joint}]", "Nms/rad") for joint in JOINTS),
)
KP, KD = 80.0, 2.0
"""Gains of a policy that commands none."""


class Walker:
    """One quadruped."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        """Connect, and find the wanted channels among ours."""
        self._measured_places = match_channels(layout.state, MEASURED)
        self._commanded_places = match_channels(layout.command, COMMANDED)
        self._measured = np.zeros(len(MEASURED), np.float32)
        self._commanded = np.zeros(len(COMMANDED))
        self._commanded[3 * len(JOINTS) :] = np.repeat([KP, KD], len(JOINTS))
        self._period_s = period_ns * 1e-9
        self.robot = Quadruped()  # SDK: connect, and check that every drive answers
        # SDK: set the drives' own watchdog to this time. A simulation has no drives that could outlive its process.
        return RobotDescription(command_timeout_ns=100_000_000)

    def read(self, state: RobotState) -> None:
        """Measure; here a period goes by first."""
        robot, measured, n = self.robot, self._measured, len(JOINTS)
        robot.advance(self._period_s)
        measured[:n], measured[n : 2 * n], measured[2 * n : 3 * n] = robot.q, robot.dq, robot.temperature  # SDK: drives
        measured[3 * n : 3 * n + 3], measured[3 * n + 3 :] = robot.gyro, robot.quaternion  # SDK: the IMU
        np.take(measured, self._measured_places, out=state.values)
        if robot.fallen:  # SDK: and where the hardware's own e-stop is pressed
            state.flags |= StateFlag.ESTOP

    def write(self, command: RobotCommand, valid_for_ns: int) -> None:  # noqa: ARG002  no drive here takes a time
        """Hand the command to the drives."""
        self._commanded[self._commanded_places] = command.values
        drives = self.robot.drives  # SDK: send all of it, and valid_for_ns where your drives take a time
        drives.q[:], drives.dq[:], drives.tau[:], drives.kp[:], drives.kd[:] = self._commanded.reshape(5, len(JOINTS))

    def lapse(self) -> None:
        """No command is valid: brake, and sink to the ground."""
        self.robot.drives.damp()  # SDK: the same on the robot

    def close(self) -> None:
        """Disconnect."""
        # SDK: switch the drives off, once the robot lies.
