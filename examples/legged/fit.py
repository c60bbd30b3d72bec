"""Finds the gains of the policy by search in the simulation, and writes `policy.npz`: `python fit.py`, ten minutes.

The cross-entropy method: draw gains around the present ones, try all of them in the same episodes, and go on from the
best quarter. Each episode wants another speed and has a push, harder from generation to generation; its cost is the
speed that was missed, the tilt, and most of all a fall. The same seed gives the same file on the same machine.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy: the processes below share the cores among themselves

import numpy as np
from environment import TICK_S, TICKS, Actor, Environment
from gait import Gains, network

COMMANDS = ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (-0.3, 0.0, 0.0), (0.0, 0.25, 0.0), (0.2, 0.0, 0.8))
"""One for each episode; the robot is symmetric, and so is the network."""
WEIGHTS = np.array([1.0, 1.0, 0.4])
"""Of a missing 1 m/s forward or to the side, and of 1 rad/s."""
STEPS, SETTLED = 150, 25
STRIDE_STEPS = 20
"""Speed is judged over about one stride: within one, every trunk sways."""
GENERATIONS, DRAWS, BEST = 50, 20, 5
SPREAD, LEAST_SPREAD = 0.06, 0.004
FALL = 2.0


def cost(gains: np.ndarray, pushes: np.ndarray) -> float:
    """Return how badly the policy of these gains does; ``pushes`` has a row (m/s, m/s, step) for each episode."""
    actor = network(Gains(*gains))
    return float(np.mean([_episode(actor, np.array(one), push) for one, push in zip(COMMANDS, pushes, strict=True)]))


def _episode(actor: Actor, command: np.ndarray, push: np.ndarray) -> float:
    env = Environment()
    env.command[:] = command
    speed, missed = np.zeros(3), 0.0
    for step in range(STEPS):
        if step == int(push[2]):
            env.robot.push((push[0], push[1]))
        env.step(actor.act(env.observe()))
        if env.robot.fallen or env.robot.height < 0.18:
            return FALL + 4.0 * (1 - step / STEPS)
        speed += (env.robot.speed - speed) / STRIDE_STEPS
        missed += (step >= SETTLED) * 3.0 * np.abs(speed - command) @ WEIGHTS + 2.5 * (1 - env.robot.upright)
    return missed / STEPS


def _pushes(random: np.random.Generator, hardest: float) -> np.ndarray:
    count = len(COMMANDS)
    speed, angle = random.uniform(0.1, hardest, count), random.uniform(0, 2 * np.pi, count)
    when = random.uniform(0.8, 1.6, count) / (TICKS * TICK_S)
    return np.stack([speed * np.cos(angle), speed * np.sin(angle), when], axis=1)


def search(seed: int = 0) -> np.ndarray:
    """Return the gains that were found."""
    random = np.random.default_rng(seed)
    mean = np.array(astuple(Gains()))
    spread = np.full(len(mean), SPREAD)
    spread[:4] = 0.15 * mean[:4]
    with ProcessPoolExecutor() as pool:
        for generation in range(GENERATIONS):
            pushes = _pushes(random, 0.4 + 0.4 * generation / GENERATIONS)
            drawn = mean + spread * random.standard_normal((DRAWS, len(mean)))
            costs = np.array(list(pool.map(partial(cost, pushes=pushes), drawn)))
            best = drawn[np.argsort(costs)[:BEST]]
            mean = 0.5 * mean + 0.5 * best.mean(axis=0)
            spread = 0.7 * spread + 0.3 * best.std(axis=0) + LEAST_SPREAD
            sys.stderr.write(f"{generation + 1} of {GENERATIONS}: cost {np.median(costs):.3f}\n")
    return mean


def save(gains: np.ndarray, path: Path) -> None:
    """Write the network, and the gains that it was made from."""
    actor = network(Gains(*gains))
    arrays = {f"actor.{2 * layer}.weight": weight for layer, weight in enumerate(actor.weights)}
    arrays |= {f"actor.{2 * layer}.bias": bias for layer, bias in enumerate(actor.biases)}
    np.savez(path, gains=gains, **arrays)


if __name__ == "__main__":
    save(search(), Path(__file__).parent / "policy.npz")
