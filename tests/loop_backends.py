"""Backends that go wrong on purpose, found like any other: through the entry points of a distribution on the path."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from edgerl.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeRunner
from tests.hostile_acts import acts, harmless_acts, not_refused

FOLDER = "EDGERL_TEST_FOLDER"
"""Variable that names a folder in which files may be made."""
GOOD = 50 + 8 + 200 + 10
"""Warm-up, golden set, measured ones, and some ticks."""
TAKES_S = "EDGERL_TEST_TAKES_S"
SLOWER, ASLEEP, BUSY = 1, 2, 3
"""Moods of a moody policy."""


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


class _Moody:
    """A runner that does as the whole part of the first observed value says: 0 is well."""

    takes_s = 0.0

    def __init__(self, runner: OnnxRuntimeRunner) -> None:
        self._runner = runner
        self.inputs, self.outputs, self.state = runner.inputs, runner.outputs, runner.state
        self.reset = runner.reset
        self._observed = runner.inputs["observation"]

    def infer(self) -> None:
        mood = int(self._observed[0, 0])
        if mood == ASLEEP:
            time.sleep(3600)
        compute(3600 if mood == BUSY else 3 * self.takes_s if mood == SLOWER else self.takes_s)
        self._runner.infer()


def compute(seconds: float) -> None:
    """Use the processor, as a network does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


class _Seeing(_Moody):
    takes_s = 0.015


class _Tired(_Moody):
    """As slow as it was told when it was started."""

    def __init__(self, runner: OnnxRuntimeRunner) -> None:
        super().__init__(runner)
        self.takes_s = float(os.environ.get(TAKES_S, "0"))


class Moody(OnnxRuntimeBackend):
    name = "moody"

    def load(self, engine):
        return _Moody(OnnxRuntimeRunner(next(iter(engine.files.values())), engine.spec))


class Seeing(OnnxRuntimeBackend):
    """Takes 15 ms for an answer."""

    name = "seeing"

    def load(self, engine):
        return _Seeing(OnnxRuntimeRunner(next(iter(engine.files.values())), engine.spec))


class Tired(OnnxRuntimeBackend):
    name = "tired"

    def load(self, engine):
        return _Tired(OnnxRuntimeRunner(next(iter(engine.files.values())), engine.spec))


class _Hostile(_Failing):
    """Tries what a policy must not do, says what was not refused, and answers 1.5 when everything was."""

    acts = staticmethod(acts)

    def __init__(self, runner: OnnxRuntimeRunner) -> None:
        super().__init__(runner)
        self._tried = False
        self._acts = self.acts(Path(tempfile.mkdtemp(dir=os.environ[FOLDER])))

    def fail(self) -> None:
        if not self._tried:
            done = not_refused(self._acts)
            if done:
                raise PermissionError(f"not refused: {', '.join(done)}")
        self._tried = True

    def infer(self) -> None:
        super().infer()
        if self._tried:
            self.outputs["action"][:] = 1.5


class _Nosy(_Hostile):
    acts = staticmethod(harmless_acts)


class Hostile(OnnxRuntimeBackend):
    name = "hostile"

    def load(self, engine):
        return _Hostile(OnnxRuntimeRunner(next(iter(engine.files.values())), engine.spec))


class Nosy(OnnxRuntimeBackend):
    name = "nosy"

    def load(self, engine):
        return _Nosy(OnnxRuntimeRunner(next(iter(engine.files.values())), engine.spec))
