"""A small quadruped in MuJoCo: a box with four legs of three joints, driven as real drives are.

Every drive computes ``tau = kp (q* - q) + kd (dq* - dq) + tau_ff`` at 1 kHz and is limited to 40 N m. Positions in
[rad], velocities in [rad/s], torques in [N m], the quaternion is (w, x, y, z) from body to world. It is no model of any
robot that you can buy.
"""

from __future__ import annotations

import mujoco
import numpy as np

JOINTS = tuple(f"{leg}_{joint}" for leg in ("FL", "FR", "RL", "RR") for joint in ("hip", "thigh", "knee"))
STANDING = np.tile([0.0, 0.7, -1.4], 4)
"""Every foot below its hip, in the order of ``JOINTS``."""
STEP_S = 0.001
MAX_TORQUE = 40.0
FALLEN_COS = 0.5
"""Tilted by more than 60 degrees."""
AMBIENT_C, HEATING, COOLING = 25.0, 0.004, 0.02

_LEG = """
<body name="{name}" pos="{x} {y} 0">
  <joint name="{name}_hip" axis="1 0 0" range="-0.9 0.9"/>
  <geom type="capsule" fromto="0 0 0 0 {out} 0" size="0.035" mass="0.6"/>
  <body pos="0 {out} 0">
    <joint name="{name}_thigh" axis="0 1 0" range="-1.5 3.0"/>
    <geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.025" mass="0.9"/>
    <body pos="0 0 -0.2">
      <joint name="{name}_knee" axis="0 1 0" range="-2.7 -0.3"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.018" mass="0.2"/>
      <geom type="sphere" pos="0 0 -0.2" size="0.022" mass="0.05" friction="1 0.02 0.001"/>
    </body>
  </body>
</body>
"""
_WORLD = """
<mujoco>
  <compiler angle="radian"/>
  <option timestep="{step}" integrator="implicitfast"/>
  <default><joint damping="0.1" armature="0.01"/><geom contype="1" conaffinity="0" friction="0.9 0.02 0.001"/></default>
  <worldbody>
    <geom type="plane" size="20 20 1" contype="0" conaffinity="1"/>
    <body name="trunk" pos="0 0 0.33">
      <freejoint/>
      <geom type="box" size="0.2 0.1 0.05" mass="6"/>
      <site name="imu"/>
      {legs}
    </body>
  </worldbody>
  <actuator>{motors}</actuator>
  <sensor><gyro site="imu"/><framequat objtype="site" objname="imu"/></sensor>
</mujoco>
"""


def _model() -> mujoco.MjModel:
    places = {
        "FL": (0.18, 0.06, 0.06),
        "FR": (0.18, -0.06, -0.06),
        "RL": (-0.18, 0.06, 0.06),
        "RR": (-0.18, -0.06, -0.06),
    }
    legs = "".join(_LEG.format(name=name, x=x, y=y, out=out) for name, (x, y, out) in places.items())
    limit = f'ctrllimited="true" ctrlrange="{-MAX_TORQUE} {MAX_TORQUE}"'
    motors = "".join(f'<motor joint="{joint}" {limit}/>' for joint in JOINTS)
    return mujoco.MjModel.from_xml_string(_WORLD.format(step=STEP_S, legs=legs, motors=motors))


class Drives:
    """What each drive was told last; twelve of everything, in the order of ``JOINTS``."""

    def __init__(self) -> None:
        self.q, self.dq, self.kp, self.kd, self.tau = (np.zeros(len(JOINTS)) for _ in range(5))

    def damp(self) -> None:
        """Let go of every position and only brake."""
        for value in (self.q, self.dq, self.kp, self.tau):
            value[:] = 0.0
        self.kd[:] = 2.0


class Quadruped:
    """The robot and its world; it begins standing, held by its own drives."""

    def __init__(self) -> None:
        self._model = _model()
        self._data = mujoco.MjData(self._model)
        self.drives = Drives()
        self.temperature = np.full(len(JOINTS), AMBIENT_C)
        """Of the motors, in [degC]."""
        self._data.qpos[7:] = STANDING
        self._data.qpos[2] = 2 * 0.2 * np.cos(0.7) + 0.022
        self.drives.q[:], self.drives.kp[:], self.drives.kd[:] = STANDING, 80.0, 2.0
        mujoco.mj_forward(self._model, self._data)

    @property
    def q(self) -> np.ndarray:
        """Joint positions."""
        return self._data.qpos[7:]

    @property
    def dq(self) -> np.ndarray:
        """Joint velocities."""
        return self._data.qvel[6:]

    @property
    def gyro(self) -> np.ndarray:
        """Angular velocity of the trunk in its own frame, in [rad/s]."""
        return self._data.sensordata[:3]

    @property
    def quaternion(self) -> np.ndarray:
        """Attitude of the trunk."""
        return self._data.sensordata[3:7]

    @property
    def speed(self) -> np.ndarray:
        """Of the trunk in its own frame: forward and to the left in [m/s], and the yaw rate in [rad/s]."""
        rotation = self._data.xmat[1].reshape(3, 3)
        return np.append(self._data.qvel[:3] @ rotation[:, :2], self.gyro[2])

    @property
    def height(self) -> float:
        """Of the trunk above the ground, in [m]."""
        return float(self._data.qpos[2])

    @property
    def upright(self) -> float:
        """Cosine of the trunk's tilt."""
        _, x, y, _ = self.quaternion
        return float(1 - 2 * (x * x + y * y))

    @property
    def fallen(self) -> bool:
        """Whether it lies."""
        return not self.upright > FALLEN_COS

    def push(self, velocity: tuple[float, float]) -> None:
        """Change the trunk's horizontal velocity at once, in [m/s]."""
        self._data.qvel[:2] += velocity

    def advance(self, duration_s: float) -> None:
        """Let time go by."""
        drives, data = self.drives, self._data
        for _ in range(round(duration_s / STEP_S)):
            torque = drives.kp * (drives.q - self.q) + drives.kd * (drives.dq - self.dq) + drives.tau
            data.ctrl[:] = np.clip(torque, -MAX_TORQUE, MAX_TORQUE)
            mujoco.mj_step(self._model, data)
            heat = HEATING * data.ctrl**2 - COOLING * (self.temperature - AMBIENT_C)
            self.temperature += STEP_S * heat
