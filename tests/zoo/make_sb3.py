"""Make the tiny checkpoints of Stable-Baselines3 and sb3-contrib that no real training of ours covers.

Each one is built and saved by the trainer itself and its truth comes from the trainer's own ``predict``. Its weights
are drawn at random after a few steps of training, large enough that actions reach their limits: what matters is the
format and the arithmetic, not the skill.

Made with Python 3.11.7, torch 2.13.0, stable-baselines3 2.9.2, sb3-contrib 2.9.2, gymnasium 1.4.0, numpy 2.4.6, in an
environment of its own::

    python -m venv venv && venv/bin/pip install torch==2.13.0
    venv/bin/pip install torch==2.13.0 stable-baselines3==2.9.2 sb3-contrib==2.9.2 gymnasium==1.4.0
    venv/bin/python tests/zoo/make_sb3.py [NAME...]
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import sb3_contrib as contrib
import stable_baselines3 as sb3
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

HERE = Path(__file__).parent
STEPS = 64
"""Recorded observations of each checkpoint."""


class Anything(gym.Env):
    """Any spaces, random observations; an episode ends now and then."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        end = bool(self.np_random.random() < 0.1)
        return self.observation_space.sample(), float(self.np_random.normal()), end, False, {}

    def action_masks(self):
        return np.ones(self.action_space.n, bool)


def box(*shape, low=-3.0, high=3.0):
    return spaces.Box(low, high, shape, np.float32)


MIXED = spaces.Dict({"speed": box(3), "gear": spaces.Discrete(4), "on": spaces.MultiBinary(2), "arm": box(2, 2)})
LOPSIDED = spaces.Box(np.array([-2.0, -0.5], np.float32), np.array([1.0, 1.5], np.float32))

# name: algorithm, policy, observation space, action space, arguments of the algorithm, policy_kwargs, VecNormalize
ENTRIES = {
    "sb3-a2c-discrete": (sb3.A2C, "MlpPolicy", spaces.Discrete(7), spaces.MultiDiscrete([3, 4]), {},
        {"net_arch": {"pi": [8], "vf": [4]}, "activation_fn": partial(nn.LeakyReLU, negative_slope=0.2)}, None),
    "sb3-a2c-multibinary": (sb3.A2C, "MlpPolicy", spaces.MultiBinary(5), spaces.MultiBinary(3), {},
        {"net_arch": [], "activation_fn": nn.ELU}, None),
    "sb3-a2c-box": (sb3.A2C, "MlpPolicy", box(4), LOPSIDED, {}, {"net_arch": [8, 8], "activation_fn": nn.ELU}, None),
    "sb3-ppo-squash-sde": (sb3.PPO, "MlpPolicy", box(2, 3), box(2, 2, low=-1.0, high=4.0), {"use_sde": True},
        {"net_arch": [8], "activation_fn": nn.SiLU, "squash_output": True}, {"clip_obs": 1.5, "epsilon": 1e-3}),
    "sb3-ppo-multidiscrete-observation": (sb3.PPO, "MlpPolicy", spaces.MultiDiscrete([2, 3, 4]), spaces.Discrete(4), {},
        {"net_arch": [8], "activation_fn": nn.GELU}, None),
    "sb3-ppo-separate-cnn": (sb3.PPO, "CnnPolicy", box(1, 36, 36, low=0.0, high=1.0), LOPSIDED, {},
        {"share_features_extractor": False, "normalize_images": False, "net_arch": [8],
         "features_extractor_kwargs": {"features_dim": 8, "normalized_image": True}}, None),
    "sb3-td3-dict": (sb3.TD3, "MultiInputPolicy", MIXED, LOPSIDED, {}, {"net_arch": [8, 8]},
        {"norm_obs_keys": ["speed", "arm"], "clip_obs": 2.0}),
    "sb3-ddpg": (sb3.DDPG, "MlpPolicy", box(3), LOPSIDED, {}, {"net_arch": {"pi": [8], "qf": [4]}}, None),
    "sb3-sac-sde": (sb3.SAC, "MlpPolicy", box(3), LOPSIDED, {"use_sde": True}, {"net_arch": [8], "clip_mean": 0.5},
        {"norm_obs": False}),
    "sb3contrib-tqc": (contrib.TQC, "MlpPolicy", box(3), LOPSIDED, {},
        {"net_arch": [8, 8], "activation_fn": nn.Tanh, "n_critics": 1, "n_quantiles": 5}, None),
    "sb3contrib-crossq-eps": (contrib.CrossQ, "MlpPolicy", box(3), LOPSIDED, {},
        {"net_arch": [8], "batch_norm_eps": 0.05}, None),
    "sb3contrib-qrdqn": (contrib.QRDQN, "MlpPolicy", box(3), spaces.Discrete(4), {},
        {"net_arch": [8], "n_quantiles": 5}, None),
    "sb3contrib-trpo": (contrib.TRPO, "MlpPolicy", box(3), spaces.Discrete(4), {}, {"net_arch": [8]}, None),
    "sb3contrib-maskableppo": (contrib.MaskablePPO, "MlpPolicy", box(3), spaces.Discrete(4), {},
        {"net_arch": [8]}, None),
    "sb3contrib-ars": (contrib.ARS, "MlpPolicy", box(3), LOPSIDED, {"n_delta": 1}, {"net_arch": [8]}, None),
    "sb3contrib-ars-linear": (contrib.ARS, "LinearPolicy", box(3), LOPSIDED, {"n_delta": 1}, {}, None),
    "sb3contrib-recurrentppo-shared": (contrib.RecurrentPPO, "MlpLstmPolicy", box(3), LOPSIDED, {},
        {"net_arch": [8], "lstm_hidden_size": 6, "n_lstm_layers": 2, "shared_lstm": True, "enable_critic_lstm": False},
        None),
    "sb3contrib-recurrentppo-dict": (contrib.RecurrentPPO, "MultiInputLstmPolicy", MIXED, spaces.Discrete(4), {},
        {"net_arch": [], "lstm_hidden_size": 6, "enable_critic_lstm": False,
         "lstm_kwargs": {"bias": False}}, {"norm_obs_keys": ["arm"]}),
}  # fmt: skip
SPREAD = {"sb3-sac-sde": 0.3, "sb3contrib-recurrentppo-dict": 2.0, "sb3-a2c-box": 0.4, "sb3-a2c-multibinary": 1.5}
"""Standard deviation of the weights where 0.7 would leave every action at one limit."""
ON_POLICY = (sb3.A2C, sb3.PPO, contrib.TRPO, contrib.MaskablePPO, contrib.RecurrentPPO)


def train(name):
    """Return a model after a few steps with random weights, its environment, and the unwrapped one."""
    algorithm, policy, observation, action, arguments, kwargs, normalize = ENTRIES[name]
    torch.manual_seed(0)
    plain = DummyVecEnv([lambda: Anything(observation, action)])
    plain.seed(0)
    observation.seed(0)
    env = VecNormalize(plain, norm_reward=False, **normalize) if normalize else plain
    short = {"n_steps": 16} if algorithm in ON_POLICY else {}
    if algorithm in (sb3.PPO, contrib.MaskablePPO, contrib.RecurrentPPO, contrib.TRPO):
        short["batch_size"] = 16
    model = algorithm(policy, env, seed=0, device="cpu", policy_kwargs=kwargs, **short, **arguments)
    if "cnn" not in name:  # an optimizer that never stepped holds no copies of the weights
        model.learn(48)
    with torch.no_grad():
        for key, tensor in model.policy.state_dict().items():
            if key.endswith("ra_var"):
                tensor.uniform_(0.2, 2.0)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.02 if ".cnn." in key else SPREAD.get(name, 0.7) * (0.2 if "bias" in key else 1.0))
    model._last_obs = model._last_original_obs = None
    return model, env


def record(model, env):
    """Return raw observations and the trainer's own deterministic actions for them."""
    raw = env.venv if isinstance(env, VecNormalize) else env
    rows, state, start = {}, None, np.array([True])
    observation = raw.reset()
    for _ in range(STEPS if np.size(observation) < 1000 else STEPS // 4):
        given = env.normalize_obs(observation) if isinstance(env, VecNormalize) else observation
        before = state
        action, state = model.predict(given, state=state, episode_start=start, deterministic=True)
        put(rows, "obs", observation)
        put(rows, "action", action)
        if state is not None:
            before = before or tuple(np.zeros_like(part) for part in state)
            for letter, old, new in zip("hc", before, state, strict=True):
                put(rows, f"state_in.{letter}", old.swapaxes(0, 1))
                put(rows, f"state_out.{letter}", new.swapaxes(0, 1))
            put(rows, "episode_start", start)
        observation, _, start, _ = raw.step(action)
    return {key: np.concatenate(values) for key, values in rows.items()}


def put(rows, name, value):
    if isinstance(value, dict):
        for key, inner in value.items():
            put(rows, f"{name}.{key}", inner)
    else:
        rows.setdefault(name, []).append(np.array(value))


def main(names):
    for name in names or ENTRIES:
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        model, env = train(name)
        if isinstance(env, VecNormalize):
            env.training = False
            env.save(str(folder / "vecnormalize.pkl"))
        model.save(folder / "model.zip")
        loaded = type(model).load(folder / "model.zip", device="cpu")
        truth = record(loaded, env)
        np.savez_compressed(folder / "truth.npz", **truth)
        meta = {
            "trainer": "sb3-contrib" if name.startswith("sb3contrib") else "stable-baselines3",
            "version": sb3.__version__,
            "algo": ENTRIES[name][0].__name__,
            "policy": type(loaded.policy).__name__,
            "checkpoint": "model.zip",
            "vecnormalize": "vecnormalize.pkl" if isinstance(env, VecNormalize) else None,
            "torch": torch.__version__,
            "note": "random weights, made by make_sb3.py",
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
        distinct = len(np.unique(truth["action"], axis=0))
        sys.stdout.write(f"{name:38} {distinct} distinct actions\n")


if __name__ == "__main__":
    main(sys.argv[1:])
