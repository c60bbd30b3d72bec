"""What a policy process of a benchmark loads in place of a real engine: one that goes wrong on request, and one in C.

Both are found like any plug-in's backend, by an entry point that exists only while a benchmark runs. The policy process
around them is the product's own.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from edgerl.backends import Engine
from edgerl.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeRunner

HANG_S = 0.02
"""A policy that hangs comes back after this time: 20 ticks late at 1 kHz."""
FAULT_CHANNEL = 1
"""Of the observation: what the policy is to do wrong, else 0."""
PROGRAM, WEIGHTS = "policy", "weights"
"""Files of an engine of :class:`InC`: the compiled ``fixtures/policy.c`` and what it multiplies with."""


class PolicyFault(IntEnum):
    """What a policy can be asked to do wrong, in channel :data:`FAULT_CHANNEL`."""

    SLEEP = 16
    BUSY = 17
    GIL = 18
    SEGFAULT = 19
    NAN = 20


class FaultyRunner:
    """ONNX Runtime, until the observation asks for something else."""

    def __init__(self, runner: OnnxRuntimeRunner) -> None:
        self._infer = runner.infer
        self._asked = runner.inputs["observation"].reshape(-1)[FAULT_CHANNEL : FAULT_CHANNEL + 1]
        self._action = runner.outputs["action"]
        self._runner = runner

    @property
    def inputs(self) -> Mapping[str, npt.NDArray[Any]]:
        """As the engine's."""
        return self._runner.inputs

    @property
    def outputs(self) -> Mapping[str, npt.NDArray[Any]]:
        """As the engine's."""
        return self._runner.outputs

    @property
    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """As the engine's."""
        return self._runner.state

    def reset(self) -> None:
        """As the engine's."""
        self._runner.reset()

    def infer(self) -> None:
        """Infer, and do what was asked for."""
        self._infer()
        asked = self._asked[0]
        if asked < PolicyFault.SLEEP:
            return
        if asked == PolicyFault.SLEEP:
            time.sleep(HANG_S)
        elif asked == PolicyFault.BUSY:
            until = time.monotonic() + HANG_S
            while time.monotonic() < until:
                pass
        elif asked == PolicyFault.GIL:
            ctypes.PyDLL(None).usleep(round(HANG_S * 1e6))  # PyDLL calls without giving the lock away
        elif asked == PolicyFault.SEGFAULT:
            ctypes.string_at(0)
        elif asked == PolicyFault.NAN:
            self._action.fill(np.nan)


class Faulty(OnnxRuntimeBackend):
    """The engine of ONNX Runtime in a :class:`FaultyRunner`."""

    name = "edgerl-bench-faulty"

    def load(self, engine: Engine) -> FaultyRunner:  # type: ignore[override]
        """Return a runner that goes wrong when asked to."""
        return FaultyRunner(OnnxRuntimeBackend().load(replace(engine, backend=OnnxRuntimeBackend.name)))


class InC(OnnxRuntimeBackend):
    """Becomes the policy process in C: same process, same descriptors, same arguments."""

    name = "edgerl-bench-c"

    def load(self, engine: Engine) -> NoReturn:
        """Replace this process by the engine's own program."""
        program, weights = (_memory(name, engine.files[name]) for name in (PROGRAM, WEIGHTS))
        os.execve(program, [PROGRAM, *sys.argv[1:], "--weights", str(weights)], os.environ)  # noqa: S606  its point


def _memory(name: str, content: bytes) -> int:
    """Return a descriptor that is inherited, of a file in memory."""
    descriptor = os.memfd_create(name, 0)
    os.write(descriptor, content)
    return descriptor
