"""The policy for edgerl: the network of `policy.npz`, and a spec that says what it observes and answers.

Replace the weights by your own and the numbers by those of your training configuration; the form stays. Joints are
named everywhere, so it does not matter that the robot has them in another order.
"""

from __future__ import annotations

from pathlib import Path

from environment import (
    ACTION_SCALE,
    CLIP_ACTION,
    CLIP_OBSERVATION,
    COMMAND_SCALE,
    DEFAULT_POSE,
    GYRO_SCALE,
    KD,
    KP,
    POLICY_JOINTS,
    TICK_S,
    TICKS,
    VELOCITY_SCALE,
    load_actor,
)

from edgerl import Policy, PolicySpec
from edgerl.policy import ActionMap, Activation, Dense, Network
from edgerl.spec import Action, Input, Provenance, Robot, Term, TermSource, packed

WEIGHTS = Path(__file__).parent / "policy.npz"


def legged_policy(joints: tuple[str, ...] = POLICY_JOINTS) -> Policy:
    """Return the policy; ``joints`` are the names of its twelve actions, in its own order."""
    actor = load_actor(WEIGHTS)
    layers = [Dense(weight, bias) for weight, bias in zip(actor.weights, actor.biases, strict=True)]
    low, high = tuple(map(float, -CLIP_ACTION)), tuple(map(float, CLIP_ACTION))
    trunk = (layers[0], Activation("tanh"), layers[1], Activation("softplus"), layers[2])
    head = ActionMap("continuous", low, high, clip=True)
    return Policy(_spec(joints, low, high), Network({"observation": ()}, trunk, head))


def _spec(joints: tuple[str, ...], low: tuple[float, ...], high: tuple[float, ...]) -> PolicySpec:
    pose = tuple(map(float, DEFAULT_POSE))
    return PolicySpec(
        schema=1,
        inputs=packed([Input("observation", (45,), "float32", 0, _terms(joints, pose))]),
        action=Action(
            "continuous",
            joints,
            "rad",
            "position",
            low,
            high,
            clipped_in_graph=True,
            raw=False,
            offset=pose,
            scale=(ACTION_SCALE,) * 12,
        ),
        robot=Robot(joints, pose, (KP,) * 12, (KD,) * 12, "drive", "wxyz", policy_divider=TICKS),
        period_ns=round(TICK_S * 1e9),
        state=(),
        provenance=Provenance("examples/legged/fit.py", None, "cross-entropy method", {}, {}, 0, ()),
        sources={"inputs": "user", "action": "user", "robot": "user", "period_ns": "user"},
    )


def _terms(joints: tuple[str, ...], pose: tuple[float, ...]) -> tuple[Term, ...]:
    """Return what is observed, term after term, as in the training configuration."""
    terms: list[Term] = []

    def term(name: str, source: TermSource, unit: str, size: int, *, of=(), offset=None, scale: float = 1.0) -> None:
        start = terms[-1].stop if terms else 0
        clip = (-CLIP_OBSERVATION, CLIP_OBSERVATION)
        scales = None if scale == 1.0 else (float(scale),) * size
        terms.append(Term(name, start, start + size, source, unit, None, of, offset, scales, clip, None))

    term("base_ang_vel", "imu.gyro", "rad/s", 3, scale=GYRO_SCALE)
    term("projected_gravity", "imu.gravity", "1", 3)
    term("velocity", "operator", "m/s", 2, scale=COMMAND_SCALE[0])
    term("yaw_rate", "operator", "rad/s", 1, scale=COMMAND_SCALE[2])
    term("joint_pos", "joint_position", "rad", 12, of=joints, offset=pose)
    term("joint_vel", "joint_velocity", "rad/s", 12, of=joints, scale=VELOCITY_SCALE)
    term("actions", "last_action_raw", "1", 12, of=joints)
    return tuple(terms)
