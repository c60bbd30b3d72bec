"""Gymnasium environments whose observations are images: those that two policies of the zoo were trained in."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

CELLS, CELL = 6, 7
SIZE, SPOT = 36, 7


class Catch(gymnasium.Env):
    """A ball falls onto a board of 6 x 6 cells, and a paddle must be below it: 1 if so, -1 if not.

    Observes the last two images side by side in the last axis, the newest last, as the trainer stacked them.
    """

    dt = 0.02
    observation_space = spaces.Box(0, 255, (CELLS * CELL, CELLS * CELL, 2), np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row = 0
        self.ball, self.paddle = (int(self.np_random.integers(CELLS)) for _ in range(2))
        self.before = np.zeros((CELLS * CELL, CELLS * CELL), np.uint8)
        return self.seen(), {}

    def step(self, action):
        self.paddle = int(np.clip(self.paddle + int(action) - 1, 0, CELLS - 1))
        self.row += 1
        over = self.row == CELLS - 1
        reward = (1.0 if self.ball == self.paddle else -1.0) if over else 0.0
        return self.seen(), reward, over, False, {}

    def seen(self):
        board = np.zeros((CELLS, CELLS), np.uint8)
        board[self.row, self.ball] = 255
        board[CELLS - 1, self.paddle] = 160
        image = np.kron(board, np.ones((CELL, CELL), np.uint8))
        both = np.stack([self.before, image], axis=-1)
        self.before = image
        return both


class DictReach(gymnasium.Env):
    """Move a green square onto a red one: an image, the own position and a phase; the reward is minus the distance."""

    dt = 0.02
    observation_space = spaces.Dict(
        {
            "image": spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8),
            "proprio": spaces.Box(-1.0, 1.0, (2,), np.float32),
            "phase": spaces.Discrete(4),
        }
    )
    action_space = spaces.Box(np.array([-2.0, -0.5], np.float32), np.array([2.0, 1.5], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = (self.np_random.uniform(-1, 1, 2) for _ in range(2))
        self.count = 0
        return self.seen(), {}

    def step(self, action):
        wanted = np.clip(np.asarray(action, float), self.action_space.low, self.action_space.high)
        self.at = np.clip(self.at + 0.2 * (wanted - np.array([0.0, 0.5])) / np.array([2.0, 1.0]), -1, 1)
        self.count += 1
        return self.seen(), -float(np.linalg.norm(self.at - self.goal)), False, self.count >= 20, {}

    def seen(self):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        for channel, place in enumerate((self.goal, self.at)):
            x, y = ((place + 1) / 2 * (SIZE - SPOT)).astype(int)
            image[y : y + SPOT, x : x + SPOT, channel] = 255
        return {"image": image, "proprio": self.at.astype(np.float32), "phase": self.count % 4}


gymnasium.register("Catch-v0", entry_point=Catch)
gymnasium.register("DictReach-v0", entry_point=DictReach)
