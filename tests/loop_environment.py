"""A Gymnasium environment with a period of 20 ms that never ends by itself, for tests that end the run."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces


class Clockwork(gymnasium.Env):
    """Observes its own step; earns nothing."""

    dt = 0.02
    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        assert np.isfinite(action).all()
        self.count += 1
        return np.array([self.count, 0, 0], np.float32), 0.0, False, False, {}


gymnasium.register("Clockwork-v0", entry_point=Clockwork)
