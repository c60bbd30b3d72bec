"""The network of the example's policy, built from 24 gains that `fit.py` found: 45 → tanh 9 → softplus 24 → 12.

A trot needs a rhythm, and the observation has no clock. But it has the last raw action: two units of the first layer
turn a vector that they read back out of it by the same angle in every step, and that is the rhythm. The other seven
are what the robot is told and how it sways. The second layer makes products of both, the third writes joints.

Nothing here is needed to run the policy: it is a network like any other, in `policy.npz`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from environment import ACTION_SCALE, COMMAND_SCALE, GYRO_SCALE, VELOCITY_SCALE, Actor

ALL, FRONT, LEFT = np.ones(4), np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])
DIAGONAL = FRONT * LEFT
"""Legs as in ``environment.LEGS``: those that are in the air together have the same sign."""
NONE = np.zeros(4)
LEG_M = 2 * 0.2 * np.cos(0.7)
"""From the hip down to the foot, in the default pose."""
CARRIER_RAD = 0.04
"""A twist of the hips that is there only to carry the rhythm's second half into the next observation."""
GROWTH, TURN_RAD = 1.4, 0.33
"""Of the rhythm's vector in each step of 20 ms: longer, until tanh bounds it, and further round."""
SHARPNESS = 4.0
"""Of the softplus units that lift the feet."""


@dataclass(frozen=True)
class Gains:
    """What the search is free in. It starts from these values."""

    lift_rad: float = 0.22
    """Of thighs, and twice that of knees."""
    stride_m: float = 0.22
    sidestep_m: float = 0.20
    twist_m: float = 0.12
    forward: float = 1.0
    """Stride per commanded speed; so are the next two."""
    sideways: float = 1.0
    turning: float = 1.0
    turning_error: float = 0.3
    """Twist per missing yaw rate."""
    stride_tilt: float = 0.0
    """Stride per pitch, pitch rate and speed of the thighs; the same follows for the sidestep, with roll and hips."""
    stride_rate: float = 0.0
    stride_speed: float = 0.0
    sidestep_tilt: float = 0.0
    sidestep_rate: float = 0.0
    sidestep_speed: float = 0.0
    shift_tilt: float = 0.0
    """All feet forward per pitch, pitch rate and speed of the thighs; the same follows for all feet to the side."""
    shift_rate: float = 0.05
    shift_speed: float = 0.0
    sway_tilt: float = 0.0
    sway_rate: float = 0.05
    sway_speed: float = 0.0
    pitch_tilt: float = 0.0
    """Front legs longer per pitch, left legs longer per roll."""
    roll_tilt: float = 0.0
    lean_rad: float = 0.05
    """Thighs, always."""
    stride_always: float = 0.0
    """Stride that is wanted without a command: it makes up for a drift."""


def network(gains: Gains) -> Actor:
    """Return the weights that these gains mean."""
    first = _first(gains)
    second, third = _second_and_third(gains)
    biases = np.zeros(len(first)), np.zeros(len(second)), -third @ np.full(len(second), np.log(2.0))
    biases[0][1] = 0.02  # or the vector would stay 0 for ever
    biases[0][2] = gains.stride_always
    biases[2][4:8] += gains.lean_rad / ACTION_SCALE
    layers = (first, second, third)
    return Actor(tuple(layer.astype(np.float32) for layer in layers), tuple(bias.astype(np.float32) for bias in biases))


def _row(*, gyro=NONE[:3], gravity=NONE[:3], command=NONE[:3], velocities=np.zeros(12), action=np.zeros(12)):  # noqa: B008
    """Return the weights of one unit, for values in their own units."""
    return np.concatenate(
        [gyro / GYRO_SCALE, gravity, command / COMMAND_SCALE, np.zeros(12), velocities / VELOCITY_SCALE, action]
    )


def _joints(hips: np.ndarray = NONE, thighs: np.ndarray = NONE, knees: np.ndarray = NONE) -> np.ndarray:
    return np.concatenate([hips, thighs, knees])


def _first(gains: Gains) -> np.ndarray:
    x, y, z = np.eye(3)
    thighs, hips = _joints(thighs=ALL / 4), _joints(hips=ALL / 4)
    rise = _row(action=_joints(knees=-DIAGONAL / 4) * ACTION_SCALE / gains.lift_rad)
    swing = _row(action=_joints(hips=FRONT / 4) * ACTION_SCALE / CARRIER_RAD)
    cos, sin = GROWTH * np.cos(TURN_RAD), GROWTH * np.sin(TURN_RAD)

    def fore(tilt: float, rate: float, speed: float, wanted: float = 0.0) -> np.ndarray:
        return _row(gravity=tilt * x, gyro=rate * y, velocities=speed * thighs, command=wanted * x)

    def side(tilt: float, rate: float, speed: float, wanted: float = 0.0) -> np.ndarray:
        return _row(gravity=tilt * y, gyro=rate * x, velocities=speed * hips, command=wanted * y)

    missing = gains.turning_error
    return np.array(
        [
            cos * rise - sin * swing,
            sin * rise + cos * swing,
            fore(gains.stride_tilt, gains.stride_rate, gains.stride_speed, gains.forward),
            side(gains.sidestep_tilt, gains.sidestep_rate, gains.sidestep_speed, gains.sideways),
            _row(command=(gains.turning + missing) * z, gyro=-missing * z),
            fore(gains.shift_tilt, gains.shift_rate, gains.shift_speed),
            side(gains.sway_tilt, gains.sway_rate, gains.sway_speed),
            fore(gains.pitch_tilt, 0.0, 0.0),
            side(gains.roll_tilt, 0.0, 0.0),
        ]
    )


def _second_and_third(gains: Gains) -> tuple[np.ndarray, np.ndarray]:
    rise, swing, stride, sidestep, twist, shift, sway, pitch, roll = np.eye(9)
    second: list[np.ndarray] = []
    third: list[np.ndarray] = []

    def unit(weights: np.ndarray, joints: np.ndarray) -> None:
        second.append(weights)
        third.append(joints / ACTION_SCALE)

    def linear(weights: np.ndarray, joints: np.ndarray) -> None:
        """softplus(x) - softplus(-x) is x."""
        unit(weights, joints)
        unit(-weights, -joints)

    def product(a: np.ndarray, b: np.ndarray, joints: np.ndarray) -> None:
        """softplus(x) + softplus(-x) is nearly x²/4, and (a+b)² - (a-b)² is 4ab."""
        for sign in (1.0, -1.0):
            unit(sign * (a + b), joints)
            unit(sign * (a - b), -joints)

    for sign in (1.0, -1.0):
        lifted = gains.lift_rad / SHARPNESS * (sign * DIAGONAL > 0)
        unit(sign * SHARPNESS * rise, _joints(thighs=lifted, knees=-2 * lifted))
    linear(swing, _joints(hips=CARRIER_RAD * FRONT))
    linear(shift, _joints(thighs=-0.3 * ALL))
    linear(sway, _joints(hips=0.3 * ALL))
    linear(pitch, _joints(thighs=0.3 * FRONT, knees=-0.6 * FRONT))
    linear(roll, _joints(thighs=0.3 * LEFT, knees=-0.6 * LEFT))
    product(swing, stride, _joints(thighs=-gains.stride_m / LEG_M * DIAGONAL))
    product(swing, sidestep, _joints(hips=gains.sidestep_m / LEG_M * DIAGONAL))
    turn = gains.twist_m / LEG_M * DIAGONAL
    product(swing, twist, _joints(hips=turn * FRONT, thighs=turn * LEFT))
    return np.array(second), np.array(third).T
