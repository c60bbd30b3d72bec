"""Any configuration that a guardian accepts, drawn from dice: a ``random.Random`` of a seed or of Hypothesis."""

from __future__ import annotations

import math
import random
import struct

import numpy as np

from edgerl.runtime import core, structs
from edgerl.runtime.enums import (
    Attitude,
    Clock,
    Dtype,
    ElementSource,
    InnerLaw,
    LadderClass,
    OnViolation,
    Role,
    Source,
)
from tests.core_world import MS, PERIOD, command, set_ladder, small_config

INF = math.inf
MAX = float(np.finfo(np.float32).max)
FLOAT = struct.Struct("<f")
RANGES = [(-1, 1, 0), (-1, 1, 0), (-2, 2, 0.5), (-INF, INF, 0), (0.25, 0.25, 0.25), (-MAX, MAX, 1), (-1e-40, 1, 0)]
RATES = [INF, INF, INF, 5.0, 50.0, 1e-3, MAX, 1e-40]
ACCELERATIONS = [INF, INF, INF, 100.0, 1e4, 1e-2, MAX, 1e-40]
RUNGS = [Source.HOLD, Source.SAFE, Source.LAPSE, Source.DAMP, Source.DAMP]


def any_config(dice: random.Random) -> structs.Config:
    """Draw a configuration that a guardian accepts."""
    config = small_config(**_times(dice), **_policies(dice), **_watches(dice))
    joints = dice.randrange(1, 4)
    config.state_count, config.action_count = 2 * joints + 1, joints
    kind = dice.choice(["plain", "plain", "position", "drive", "velocity", "torque", "pd", "pd", "any"])
    channels = [channel for joint in range(joints) for channel in _joint(dice, kind, joint)]
    config.command_count = len(channels)
    for i, channel in enumerate(channels):
        config.commands[i] = channel
    for i in range(2 * joints):
        low, high = dice.choice([(-INF, INF)] * 4 + [(-2.5, 2.5)])
        start = dice.choice([(-INF, INF)] * 6 + [(-2.0, 2.5)])
        config.states[i] = structs.StateChannel(low, high, *start, dice.choice([0, 0, 1]), 0)
    config.states[2 * joints] = structs.StateChannel(-INF, INF, -INF, INF, 0, 0)
    _attitude(dice, config)
    _observation(dice, config, 2 * joints)
    for ladder in LadderClass:
        sources = RUNGS if ladder == LadderClass.STATE else [*RUNGS, *[Source.STANDBY] * 5]
        rungs = [
            (dice.choice(sources), dice.choice([0, 20 * MS, 60 * MS, 60 * MS]))
            for _ in range(dice.choice([0, 1, 2, 2, 3, 4]))
        ]
        set_ladder(config, ladder, *rungs)
    for i in range(config.operator_count):
        config.operators[i] = structs.OperatorChannel(-1.0, 1.0, dice.choice([0.0, -1.0]), 0)
    core.check_config(config)
    return config


def _times(dice: random.Random) -> dict[str, int]:
    return {
        "valid_for_ns": dice.choice([PERIOD, 30 * MS, 30 * MS, 100 * MS]),
        "state_grace_ns": dice.choice([0, 3 * MS]),
        "state_timeout_ns": dice.choice([15 * MS, 40 * MS]),
        "prepare_ns": dice.choice([0, 0, 1, 30 * MS]),
        "blend_ns": dice.choice([0, 1, 40 * MS, 150 * MS]),
        "clock": dice.choice([Clock.GRID, Clock.GRID, Clock.ROBOT]),
        "allow_lockstep": dice.choice([0, 1]),
    }


def _policies(dice: random.Random) -> dict[str, int]:
    divider = dice.choice([1, 1, 1, 2, 4])
    delay = dice.randrange(0 if divider == 1 else 1, divider + 1)
    return {
        "policy_divider": divider,
        "action_delay": delay,
        "inner_law": dice.choice(list(InnerLaw)),
        "arm_ticks": delay + dice.choice([1, 4, 9]),
        "raw_count": dice.choice([0, 1]),
        "on_reject": dice.choice([Source.HOLD, Source.SAFE, Source.LAPSE]),
        "inference_timeout_ns": dice.choice([0, 0, 25 * MS, 60 * MS]),
        "bucket_limit": dice.choice([1, 3, 10]),
        "bucket_window": 10,
    }


def _watches(dice: random.Random) -> dict[str, int]:
    return {
        "heartbeat_timeout_ns": dice.choice([0, 45 * MS]),
        "jitter_budget_ns": dice.choice([0, 500_000, 2 * MS]),
        "jitter_limit": dice.choice([1, 2]),
        "jitter_window": 5,
        "frozen_ticks": dice.choice([0, 2]),
        "operator_count": dice.choice([0, 0, 1, 2]),
        "operator_timeout_ns": dice.choice([25 * MS, 1000 * MS]),
        "dead_man": dice.choice([0, 0, 0, 1]),
        "ring_capacity": 2,
    }


def _joint(dice: random.Random, kind: str, joint: int) -> list[structs.CommandChannel]:
    """Draw the command channels of one joint; its position and speed are state channels 2 * joint and the next."""
    kind = dice.choice(["plain", "position", "drive", "velocity", "torque", "pd"]) if kind == "any" else kind
    low, high, safe = _range(dice)
    main = command(
        low, high, dice.choice(RATES), dice.choice(ACCELERATIONS), safe, dice.choice(list(OnViolation)), action=joint
    )
    main.damp, main.prepare = dice.choice([safe, low, high]), dice.choice([safe, low])
    main.damp, main.prepare = (value if math.isfinite(value) else safe for value in (main.damp, main.prepare))
    roles = {"plain": Role.OTHER, "drive": Role.POSITION, "pd": Role.TORQUE}
    main.role = roles[kind] if kind in roles else Role[kind.upper()]
    main.measured, main.measured_rate = dice.choice([-1, 2 * joint]), dice.choice([-1, 2 * joint + 1])
    if kind == "pd":
        main.pd, main.measured, main.measured_rate = 1, 2 * joint, 2 * joint + 1
        main.target_low, main.target_high = dice.choice([(-INF, INF), (-1, 1)])
        main.kp, main.kd, main.prepare_kp, main.prepare_kd, main.damp_kd = (
            dice.choice([0.0, 0.1, 1.0, 10.0, 1e38]) for _ in range(5)
        )
        main.prepare = dice.choice([0.0, 0.5])
    found = [main]
    for role in (Role.KP, Role.KD) if kind == "drive" else ():
        gain = command(0.0, 100.0, dice.choice(RATES), INF, dice.choice([0.0, 1.0]), OnViolation.REJECT, action=-1)
        gain.role, gain.nominal, gain.damp, gain.prepare = role, *(dice.choice([0.0, 2.0, 40.0]) for _ in range(3))
        found.append(gain)
    return found


def _range(dice: random.Random) -> tuple[float, float, float]:
    """Draw limits and a safe value: everyday ones, or any floats in order."""
    if dice.random() < 0.8:
        return dice.choice(RANGES)
    bits = (dice.getrandbits(32).to_bytes(4, "little") for _ in range(3))
    low, safe, high = sorted(value if math.isfinite(value) else 0.0 for (value,) in map(FLOAT.unpack, bits))
    return low, high, safe


def _attitude(dice: random.Random, config: structs.Config) -> None:
    config.attitude = dice.choice([Attitude.NONE] * 4 + list(Attitude)[1:])
    if config.attitude == Attitude.NONE:
        return
    config.attitude_channel = config.state_count
    for i in range(3 if config.attitude == Attitude.GRAVITY else 4):
        config.states[config.state_count + i] = structs.StateChannel(-INF, INF, -INF, INF, 0, 0)
    config.state_count += 3 if config.attitude == Attitude.GRAVITY else 4
    config.tilt_cos, config.start_tilt_cos = dice.choice([-1.0, 0.5]), dice.choice([-1.0, 0.7])


def _observation(dice: random.Random, config: structs.Config, byte: int) -> None:
    """Draw an observation: a position, a byte, the operator's first value, and past raw actions."""
    kinds = [(ElementSource.STATE, 0, Dtype.FLOAT32, 2), (ElementSource.STATE, byte, Dtype.UINT8, 1)]
    kinds += [(ElementSource.OPERATOR, 0, Dtype.FLOAT32, 1)] * (config.operator_count > 0)
    kinds += [(ElementSource.LAST_RAW, 0, Dtype.FLOAT32, 3)] * config.raw_count
    config.element_count = config.term_count = len(kinds)
    for i, (source, index, dtype, history) in enumerate(kinds):
        config.elements[i] = structs.Element(source, index, 0.0, 1.0, -INF, INF)
        config.terms[i] = structs.Term(i, 1, dtype, 16 * i, history, 4, dice.choice([0, 1]), 0)
