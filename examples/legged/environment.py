"""The task as its trainer has it, in the manner of Isaac Lab: what is observed, and what an action means.

This is the side that a policy comes from. Nothing of edgerl is in it, so the robot's side can be compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from simulation import JOINTS, STANDING, Quadruped

LEGS = ("FL", "FR", "RL", "RR")
POLICY_JOINTS = tuple(f"{leg}_{joint}" for joint in ("hip", "thigh", "knee") for leg in LEGS)
"""Isaac's order: all hips first. The robot's is leg by leg."""
_OF_POLICY = np.array([JOINTS.index(joint) for joint in POLICY_JOINTS])
_OF_ROBOT = np.array([POLICY_JOINTS.index(joint) for joint in JOINTS])
DEFAULT_POSE = STANDING[_OF_POLICY]
KP, KD = 80.0, 2.0
GYRO_SCALE, VELOCITY_SCALE = 0.25, 0.05
COMMAND_SCALE = np.array([2.0, 2.0, 0.25])
ACTION_SCALE = 0.25
CLIP_OBSERVATION = 100.0
CLIP_ACTION = np.repeat([2.0, 3.0, 4.0], 4)
"""Hips, thighs and knees; so the targets stay within the joints' limits."""
TICK_S, TICKS = 0.005, 4
"""The policy acts in every fourth tick of the robot's control loop."""
DELAY_TICKS = 2
"""From the observation to when its action takes effect; the drives' targets then go there in a straight line, within
the time of one action. Trained with what the robot has."""


def observe(
    gyro: np.ndarray, quaternion: np.ndarray, command: np.ndarray, q: np.ndarray, dq: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Return the observation, shape (45,); ``q`` and ``dq`` in the robot's order, the quaternion as (w, x, y, z)."""
    w, x, y, z = quaternion
    gravity = np.array([2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1])
    parts = (
        gyro * GYRO_SCALE,
        gravity,
        command * COMMAND_SCALE,
        q[_OF_POLICY] - DEFAULT_POSE,
        dq[_OF_POLICY] * VELOCITY_SCALE,
        last,
    )
    return np.clip(np.concatenate(parts), -CLIP_OBSERVATION, CLIP_OBSERVATION).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Actor:
    """The network as its trainer runs it: three layers ``y = W x + b``, float32."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return the raw action, shape (12,)."""
        hidden = np.tanh(self.weights[0] @ observation + self.biases[0])
        hidden = np.logaddexp(np.float32(0), self.weights[1] @ hidden + self.biases[1])  # softplus
        return np.clip(self.weights[2] @ hidden + self.biases[2], -CLIP_ACTION, CLIP_ACTION).astype(np.float32)


def load_actor(path: Path) -> Actor:
    """Return the network of a file that `fit.py` wrote."""
    with np.load(path) as arrays:
        weights, biases = ([arrays[f"actor.{index}.{kind}"] for index in (0, 2, 4)] for kind in ("weight", "bias"))
    return Actor(tuple(weights), tuple(biases))


class Environment:
    """One robot that a policy drives."""

    def __init__(self) -> None:
        self.robot = Quadruped()
        self.command = np.zeros(3)
        """Wanted forward, sideways and yaw speed in [m/s] and [rad/s]."""
        self._last = np.zeros(12)
        self._start = self._goal = DEFAULT_POSE
        self._gone = TICKS

    def observe(self) -> np.ndarray:
        """Return what the policy observes now."""
        robot = self.robot
        return observe(robot.gyro, robot.quaternion, self.command, robot.q, robot.dq, self._last)

    def step(self, action: np.ndarray) -> None:
        """Let time go by until the next action; this one takes effect on the way."""
        self._last = action
        for tick in range(TICKS):
            if tick == DELAY_TICKS:
                self._start, self._goal, self._gone = self._target(), DEFAULT_POSE + ACTION_SCALE * action, 0
            self._gone = min(self._gone + 1, TICKS)
            self.robot.drives.q[:] = self._target()[_OF_ROBOT]
            self.robot.advance(TICK_S)

    def _target(self) -> np.ndarray:
        return self._start + self._gone / TICKS * (self._goal - self._start)
