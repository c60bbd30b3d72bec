"""A world with two policies: one that acts, and a candidate beside it."""

from __future__ import annotations

import ctypes

import numpy as np

from edgerl.runtime import core, structs
from edgerl.runtime.enums import LadderClass, Result, Source
from tests.core_world import EPOCH, MS, Answer, World, set_ladder, small_config

SECOND = 9
"""Epoch of the candidate, in slot 1."""


def pair_config(**fields: int) -> structs.Config:
    """Return a configuration that is patient with late answers and gives a wish three ticks."""
    return small_config(**{"bucket_limit": 10, "arm_ticks": 3, **fields})


class Pair:
    """A world in which a candidate answers as well, when it is told to, just before the acting policy."""

    def __init__(self, config: structs.Config | None = None, **fields: int) -> None:
        self.world = World(config or pair_config(**fields))
        self.values: list[float] | None = [0.3, 0.4]
        self.lag = 0
        self.acting: Answer | None = Answer([0.1, 0.2])
        self.world.policy = self._answer
        self.ready(SECOND)
        self.name(EPOCH, SECOND)

    def name(self, acting: int, candidate: int) -> None:
        words = core.policy_word(acting, 0), core.policy_word(candidate, 1) if candidate else 0
        core.set_policies(self.world.at["requests"], *words)

    def ready(self, epoch: int) -> None:
        core.say_ready(self.world.slots[1], epoch)

    def _answer(self, header: structs.ObservationHeader, _: bytes) -> Answer | None:
        if self.values is not None:
            values = np.array(self.values, np.float32)
            raw = values[: self.world.config.raw_count]
            said = core.post_action(
                self.world.slots[1], SECOND, header.sequence - self.lag, values, raw=raw, infer_ns=77
            )
            assert said == Result.OK
        return self.acting

    def arm(self) -> World:
        self.world.arm()
        return self.world

    def shadow(self) -> list[float]:
        """Return what the last record holds of the candidate's action."""
        world, counts = self.world, self.world.config
        raw = ctypes.create_string_buffer(structs.Ring.from_buffer(world.ring).record_bytes)
        index = core.ring_head(world.at["ring"]) - 1
        assert core.read_record(world.at["ring"], index, ctypes.addressof(raw), len(raw)) == Result.OK
        floats = np.frombuffer(raw.raw, np.float32, offset=ctypes.sizeof(structs.TickHeader))
        start = counts.state_count + counts.action_count + counts.command_count
        return [float(value) for value in floats[start : start + counts.action_count]]


def standby(**fields: int) -> Pair:
    """Return a pair in which the policy's ladder leads to the candidate, and then to the safe command."""
    config = pair_config(**fields)
    set_ladder(config, LadderClass.POLICY, (Source.STANDBY, 40 * MS), (Source.SAFE, 30 * MS))
    return Pair(config)
