"""Drivers of the example's quadruped for tests: one with patience, one as none should be written."""

from __future__ import annotations

import numpy as np
from simulation import JOINTS
from trial import LockstepTrial

from edgerl.runtime.layout import Layout
from edgerl.runtime.robot_port import RobotDescription


class Long(LockstepTrial):
    """Is driven for so long that whatever a test does happens before its end."""

    done_s = 40.0


class ByPosition(LockstepTrial):
    """Believes that the policy's joints are in the robot's order, and lets nobody notice."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        described = super().open(layout, period_ns)
        for places in (self._measured_places, self._commanded_places):
            for first in (0, len(JOINTS)):
                places[first : first + len(JOINTS)] = np.sort(places[first : first + len(JOINTS)])
        return described
