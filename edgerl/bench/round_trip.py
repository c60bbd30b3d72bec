"""Guardian and policy, both in C, beside the same guardian with the product's policy process in Python.

The round trip is the guardian's own: from the observation posted to the action taken. Both policies are the same
network; what they said to the same states is compared, so that neither is fast because it does less.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgerl.bench.policies import ACTIONS, mlp_load, mlp_load_in_c
from edgerl.bench.result import Benchmark, Fact, Gate, at_most, ratio_gate, sample
from edgerl.bench.robot import Commands
from edgerl.bench.setting import MS, Setting, never_degrading
from edgerl.bench.statistics import Times
from edgerl.runtime.enums import Source
from edgerl.runtime.load import Load
from edgerl.runtime.recording import Records

ONE_LIMIT, TWO_LIMIT = 0.6, 0.75
AGREE = 1e-5
"""Largest difference of two float32 networks of this size, as for any export."""
_WARM_TICKS = 50


@dataclass(frozen=True, eq=False)
class Trip:
    """One round of one variant."""

    times_ns: Times
    late: int
    """Answers that did not come within the budget; they are in the times as that budget."""
    commands: Commands


def round_trip(setting: Setting) -> Benchmark:
    """Measure on one processor and on two."""
    begun = time.monotonic()
    loads = {
        "C": never_degrading(mlp_load_in_c(MS, setting.program("policy"))),
        "Python": never_degrading(mlp_load(MS)),
    }
    seconds = setting.much(15, 5) / 10
    variants = {
        f"{language}, {where}": partial(_round, setting, load, seconds, apart=apart)
        for language, load in loads.items()
        for where, apart in (("one processor", False), ("two processors", True))
    }
    found = setting.take_turns(setting.much(10, 5), variants)
    return Benchmark(
        "round-trip",
        "Round trip between guardian and policy",
        "48-256-256-12 with ReLU, 1 kHz: observation posted to action taken. C is a plain loop over the weights in a "
        "process of its own, Python the product's policy process with ONNX Runtime; the guardian is the same.",
        time.monotonic() - begun,
        tuple(sample(name, np.concatenate([one.times_ns for one in trips])) for name, trips in found.items()),
        tuple(Fact(f"late answers: {name}", sum(one.late for one in trips), "") for name, trips in found.items()),
        _gates(found),
    )


def _gates(found: dict[str, list[Trip]]) -> tuple[Gate, ...]:
    gates = []
    for where, limit in (("one processor", ONE_LIMIT), ("two processors", TWO_LIMIT)):
        ours, theirs = ([one.times_ns for one in found[f"{name}, {where}"]] for name in ("C", "Python"))
        gates.append(ratio_gate(f"p50 of the round trip on {where}, C / Python", ours, theirs, 0.5, limit))
    apart = difference_of_answers([one.commands for one in found["C, one processor"]],
                                  [one.commands for one in found["Python, one processor"]])  # fmt: skip
    gates.append(at_most("largest difference of the two policies' commands to the same state", apart, AGREE, ""))
    return tuple(gates)


def difference_of_answers(ours: list[Commands], theirs: list[Commands]) -> float:
    """Return the largest difference between two variants' commands to states of the same sequence; NaN: none is."""
    mine, others = _answers(ours), _answers(theirs)
    same = mine.keys() & others.keys()
    return max((float(np.max(np.abs(mine[one] - others[one]))) for one in same), default=float("nan"))


def _answers(rounds: list[Commands]) -> dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Return the policy's command by the sequence of its state; a state is a function of its sequence."""
    found = {}
    for commands in rounds:
        for row in commands[commands["source"] == Source.POLICY]:
            found[int(row["state_sequence"])] = row["values"][:ACTIONS]
    return found


def trips_of(records: Records, budget_ns: int) -> tuple[Times, int]:
    """Return the round trip of every asked tick in [ns], late ones as the budget, and how many were late."""
    asked = records[records["post_ns"] > 0]
    late = asked["action_ns"] == 0
    times = asked["action_ns"].astype(np.int64) - asked["post_ns"].astype(np.int64)
    return np.where(late, budget_ns, times), int(late.sum())


def _round(setting: Setting, load: Load, seconds: float, *, apart: bool) -> Trip:
    with setting.loop(load, seconds + 5, policy_apart=apart) as loop:
        loop.wait_ready()
        loop.arm()
        loop.run(seconds)
        records = loop.finish_active()
        times, late = trips_of(records[_WARM_TICKS:], int(loop.config.budget_ns))
        return Trip(times, late, loop.robot.commands())
