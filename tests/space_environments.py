"""Gymnasium environments of every kind of space that travels over the robot port, for tests of the whole loop."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces


class Judge(gymnasium.Env):
    """Shows random observations for 40 steps and pays each action by its own weights, so that none can be mixed up."""

    dt = 0.02
    STEPS = 40

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.count = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), (action, type(action))
        self.count += 1
        weights = self.np_random.uniform(0.5, 2.0, np.size(action))
        reward = float(np.ravel(action).astype(float) @ weights)
        return self.observation_space.sample(), reward, False, self.count >= self.STEPS, {}


class NoVelocityCartPole(gymnasium.ObservationWrapper):
    """CartPole whose velocities are hidden, so that a policy needs its memory."""

    def __init__(self):
        super().__init__(gymnasium.make("CartPole-v1"))
        box = self.env.observation_space
        self.observation_space = spaces.Box(box.low[[0, 2]], box.high[[0, 2]], dtype=np.float32)

    def observation(self, observation):
        return np.asarray(observation, np.float32)[[0, 2]]


def box(*shape, low=-3.0, high=3.0):
    return spaces.Box(low, high, shape, np.float32)


LOPSIDED = spaces.Box(np.array([-2.0, -0.5], np.float32), np.array([1.0, 1.5], np.float32))
MIXED = spaces.Dict({"speed": box(3), "gear": spaces.Discrete(4), "on": spaces.MultiBinary(2), "arm": box(2, 2)})
SPACES = {
    "JudgeOfChoices-v0": (spaces.Discrete(7), spaces.MultiDiscrete([3, 4])),
    "JudgeOfSwitches-v0": (spaces.MultiBinary(5), spaces.MultiBinary(3)),
    "JudgeOfMatrices-v0": (box(2, 3), box(2, 2, low=-1.0, high=4.0)),
    "JudgeOfDicts-v0": (MIXED, LOPSIDED),
}
for name, (observed, acted) in SPACES.items():
    gymnasium.register(
        name, entry_point=Judge, kwargs={"observation_space": observed, "action_space": acted}, order_enforce=False
    )
gymnasium.register("NoVelocityCartPole-v0", entry_point=NoVelocityCartPole, max_episode_steps=500)
