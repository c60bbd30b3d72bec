"""Backends that go wrong on purpose, found like any other: through the entry points of a distribution on the path."""

from __future__ import annotations

import os

from edgerl.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeRunner

GOOD = 50 + 8 + 200 + 10
"""Warm-up, golden set, measured ones, and some ticks."""


class _Failing:
    """A runner that fails after some good inferences."""

    def __init__(self, runner: OnnxRuntimeRunner) -> None:
        self._runner = runner
        self._left = GOOD
        self.inputs, self.outputs, self.state = runner.inputs, runner.outputs, runner.state
        self.reset = runner.reset

    def infer(self) -> None:
        self._left -= 1
        if self._left < 0:
            self.fail()
        self._runner.infer()

    def fail(self) -> None:
        raise ArithmeticError("one inference too many")


class _Hanging(_Failing):
    def fail(self) -> None:
        while os.getpid():
            pass


class Raising(OnnxRuntimeBackend):
    name = "raising"

    def load(self, engine):
        return _Failing(OnnxRuntimeRunner(next(iter(engine.files.values())), engine.spec))


class Hanging(OnnxRuntimeBackend):
    name = "hanging"

    def load(self, engine):
        return _Hanging(OnnxRuntimeRunner(next(iter(engine.files.values())), engine.spec))
