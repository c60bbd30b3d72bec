"""The guardian's assembler on recorded states: the observations that a policy would have been given.

The same code as in the control loop, without a loop: for comparing a robot's states with the trainer's observations
before anything moves. It judges no limits; only what the assembler itself cannot make is marked.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgerl.errors import LoopError
from edgerl.runtime import core
from edgerl.runtime.structs import Config


@dataclass(frozen=True)
class Assembly:
    """One packed observation record per row."""

    records: NDArray[np.uint8]
    """Shape (rows, observation_bytes)."""
    made: NDArray[np.bool_]
    """Shape (rows,). False: a value was not finite or its type cannot hold it, and the record is the one before."""


def assemble(
    config: Config,
    states: NDArray[np.float32],
    *,
    operators: NDArray[np.float32] | None = None,
    raws: NDArray[np.float32] | None = None,
    reset: NDArray[np.bool_] | None = None,
) -> Assembly:
    """Return the observations of recorded states.

    Args:
        config: Of a guardian, complete.
        states: One row a policy tick, shape (rows, state_count).
        operators: Operator values in use, shape (rows, operator_count); not needed where there are none.
        raws: The policy's raw action before each row, shape (rows, raw_count); not needed where it observes none.
        reset: True where a row begins an episode, shape (rows,); the first row always does.

    Raises:
        LoopError: Shapes that do not fit the configuration, or a configuration that the guardian would refuse.
    """
    core.check_config(config)
    rows = len(states)
    given = (
        _array("states", states, rows, config.state_count),
        _array("operators", operators, rows, config.operator_count),
        _array("raws", raws, rows, config.raw_count),
    )
    starts = np.zeros(rows, np.uint8) if reset is None else np.ascontiguousarray(reset, np.uint8)
    if starts.shape != (rows,):
        raise LoopError(f"reset has the shape {starts.shape}, expected ({rows},): one value for each row of states.")
    records = np.zeros((rows, config.observation_bytes), np.uint8)
    made = np.zeros(rows, np.uint8)
    arrays = (array.ctypes.data for array in (*given, starts, records, made))
    core.library().erl_assembler_replay(ctypes.addressof(config), rows, *arrays)  # what it refuses was refused above
    return Assembly(records, made.astype(np.bool_))


def _array(name: str, values: NDArray[np.float32] | None, rows: int, columns: int) -> NDArray[np.float32]:
    given = np.zeros((rows, 0), np.float32) if values is None else np.ascontiguousarray(values, np.float32)
    if given.shape != (rows, columns):
        raise LoopError(f"{name} has the shape {given.shape}; this configuration needs ({rows}, {columns}).")
    return given
