"""Make tiny checkpoints with Stable-Baselines3 1.6, whose layout most published checkpoints still have.

Spaces are those of gym, layers may be shared by actor and critic, and arrays are pickled by numpy 1.26. Weights are
drawn at random; truth comes from the trainer's own ``predict``.

Made with Python 3.11.7, torch 2.13.0, stable-baselines3 1.6.2, sb3-contrib 1.6.2, gym 0.22.0, numpy 1.26.4, in an
environment of its own::

    python -m venv venv && venv/bin/pip install torch==2.13.0 "numpy<2" cloudpickle pandas matplotlib gym-notices
    venv/bin/pip install --no-deps gym==0.22.0 stable-baselines3==1.6.2 sb3-contrib==1.6.2
    venv/bin/python tests/zoo/make_sb3_1_6.py
"""

from __future__ import annotations

import json
from pathlib import Path

import gym
import numpy as np
import sb3_contrib as contrib
import stable_baselines3 as sb3
import torch
from gym import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

HERE = Path(__file__).parent
STEPS = 48
BOX = spaces.Box(-3.0, 3.0, (4,), np.float32)
LOPSIDED = spaces.Box(np.array([-2.0, -0.5], np.float32), np.array([1.0, 1.5], np.float32))
DICT = spaces.Dict({"speed": BOX, "gear": spaces.Discrete(3)})
ENTRIES = {
    "sb3-1.6-ppo-shared": (sb3.PPO, "MlpPolicy", BOX, LOPSIDED, {"n_steps": 16, "batch_size": 16},
        {"net_arch": [8, {"pi": [8], "vf": [4]}]}, {}),
    "sb3-1.6-dqn-dict": (sb3.DQN, "MultiInputPolicy", DICT, spaces.Discrete(4), {}, {"net_arch": [8]},
        {"norm_obs_keys": ["speed"]}),
    "sb3-1.6-sac": (sb3.SAC, "MlpPolicy", BOX, LOPSIDED, {}, {"net_arch": [8, 8]}, None),
    "sb3contrib-1.6-recurrentppo": (contrib.RecurrentPPO, "MlpLstmPolicy", BOX, spaces.MultiDiscrete([2, 3]),
        {"n_steps": 16, "batch_size": 16}, {"net_arch": [8], "lstm_hidden_size": 6}, None),
}  # fmt: skip


class Anything(gym.Env):
    """Any spaces, random observations; an episode ends now and then."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space
        self.random = np.random.default_rng(0)

    def reset(self):
        return self.observation_space.sample()

    def step(self, action):
        return self.observation_space.sample(), 0.5, bool(self.random.random() < 0.1), {}


def make(name):
    algorithm, policy, observation, action, arguments, kwargs, normalize = ENTRIES[name]
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    observation.seed(0)
    raw = DummyVecEnv([lambda: Anything(observation, action)])
    env = VecNormalize(raw, norm_reward=False, **normalize) if normalize is not None else raw
    model = algorithm(policy, env, seed=0, device="cpu", policy_kwargs=kwargs, **arguments)
    model.learn(48)
    with torch.no_grad():
        for key, tensor in model.policy.state_dict().items():
            tensor.normal_(0, 0.2 if "bias" in key else 0.8)
    model.save(folder / "model.zip")
    if normalize is not None:
        env.training = False
        env.save(str(folder / "vecnormalize.pkl"))
    np.savez_compressed(folder / "truth.npz", **record(algorithm.load(folder / "model.zip", device="cpu"), raw, env))
    meta = {
        "trainer": "sb3-contrib" if "contrib" in name else "stable-baselines3",
        "version": sb3.__version__,
        "algo": algorithm.__name__,
        "checkpoint": "model.zip",
        "vecnormalize": "vecnormalize.pkl" if normalize is not None else None,
        "torch": torch.__version__,
        "note": "random weights, made by make_sb3_1_6.py",
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


def record(model, raw, env):
    rows, state, start = {}, None, np.array([True])
    observation = raw.reset()
    for _ in range(STEPS):
        given = env.normalize_obs(observation) if isinstance(env, VecNormalize) else observation
        before = state
        action, state = model.predict(given, state=state, episode_start=start, deterministic=True)
        for key, value in observation.items() if isinstance(observation, dict) else [(None, observation)]:
            rows.setdefault(f"obs.{key}" if key else "obs", []).append(np.array(value))
        rows.setdefault("action", []).append(action)
        if state is not None:
            for letter, old, new in zip("hc", before or [np.zeros_like(part) for part in state], state, strict=True):
                rows.setdefault(f"state_in.{letter}", []).append(old.swapaxes(0, 1))
                rows.setdefault(f"state_out.{letter}", []).append(new.swapaxes(0, 1))
            rows.setdefault("episode_start", []).append(start)
        observation, _, start, _ = raw.step(action)
    return {key: np.concatenate(values) for key, values in rows.items()}


if __name__ == "__main__":
    for entry in ENTRIES:
        make(entry)
