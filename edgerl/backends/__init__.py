"""Backends: what turns a model into an engine for an accelerator, and an engine into a runner.

A backend is code, a target is data. Backends are found by the entry point group ``edgerl.backends`` and imported only
when used, so that a vendor's library is needed only by whoever uses it. :func:`build` holds the checks that every
engine must pass, so that a plug-in cannot forget them. Importing this module needs numpy only; the robot does it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy.typing as npt

from edgerl.errors import EngineError, UnknownBackend, VerificationFailed
from edgerl.golden import GoldenSet, verify_golden
from edgerl.spec import PolicySpec
from edgerl.target import Precision, Target

if TYPE_CHECKING:
    from edgerl.model import PolicyModel

Tensor = npt.NDArray[Any]

ENTRY_POINTS = "edgerl.backends"
BUILT_IN: Mapping[str, str] = {"onnxruntime": "edgerl.backends.onnxruntime:OnnxRuntimeBackend"}
"""Backends of edgerl itself; they are known to a source tree that was never installed, too."""


@dataclass(frozen=True)
class Finding:
    """Something that a backend says about a model before it compiles it."""

    severity: Literal["refusal", "note"]
    """A refusal stops the build; a note is shown."""
    what: str
    """What was found, with its value."""
    advice: str
    """What would be valid, or what to do next."""


@dataclass(frozen=True, eq=False)
class Engine:
    """A model compiled by one backend for one target."""

    backend: str
    target: str
    precision: Precision
    parent: str
    """SHA-256 of the model it was compiled from."""
    spec: PolicySpec
    files: Mapping[str, bytes]
    """Contents by plain file name; what they mean is the backend's own."""


class Runner(Protocol):
    """A loaded engine. Allocates when made, never in :meth:`infer`.

    The arrays are the memory that the engine itself reads and writes; they stay the same objects, are C contiguous
    and have the graph's shapes, batch axis of 1 included. Not safe for use by two threads at once.
    """

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """By name of the spec's inputs; shape (1, *input shape). Written by the caller."""

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """``action``, shape (1, channels), float32 or int32, and ``action.raw`` where the spec has it."""

    @property
    def state(self) -> Mapping[str, Tensor]:
        """By name of the spec's state tensors, in their shape; empty for a policy without memory."""

    def infer(self) -> None:
        """Read ``inputs`` and ``state``, write ``outputs`` and ``state`` in place."""

    def reset(self) -> None:
        """Set ``state`` to the spec's initial value, as at an episode's start."""


class Backend(Protocol):
    """Code for one accelerator."""

    name: str
    compile_on: Literal["host", "target"]
    """Where :meth:`compile` has to run."""

    def preflight(self, model: PolicyModel, target: Target) -> list[Finding]:
        """Return what would keep this model from running on this target, without compiling it."""

    def compile(self, model: PolicyModel, target: Target) -> Engine:
        """Return the engine of a model that passed :meth:`preflight`."""

    def load(self, engine: Engine) -> Runner:
        """Return a runner, state reset, ready for its first :meth:`Runner.infer`.

        Raises:
            EngineError: The engine is not this backend's or cannot be loaded here.
        """


def backend_names() -> tuple[str, ...]:
    """Return the names of all installed backends, sorted, without importing any of them."""
    return tuple(sorted(_locations()))


def find_backend(name: str) -> Backend:
    """Return the backend with this name.

    Raises:
        UnknownBackend: None is installed under this name.
        EngineError: It is installed, but cannot be imported here.
    """
    locations = _locations()
    if name not in locations:
        raise UnknownBackend(name, locations)
    module, _, attribute = locations[name].partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except ImportError as error:
        raise EngineError(
            f"Backend '{name}' cannot be imported ({error}). Install what it needs, or use another backend."
        ) from error
    return cast(Backend, made)


def build(model: PolicyModel, target: Target, backend: Backend, golden: GoldenSet) -> Engine:
    """Compile a model for a target and prove that the engine does what the model did.

    Args:
        model: What to compile.
        target: The board; it lists the backends and precisions that it takes.
        backend: One of them.
        golden: Run through the finished engine, where it can be loaded on this machine.

    Raises:
        TargetError: The target does not take this backend.
        EngineError: The backend refuses the model, or it broke its contract.
        VerificationFailed: The engine does not reproduce the golden set.
    """
    precisions = target.precisions(backend.name)
    refusals = [finding for finding in backend.preflight(model, target) if finding.severity == "refusal"]
    if refusals:
        reasons = "; ".join(f"{finding.what} ({finding.advice})" for finding in refusals)
        raise EngineError(f"Backend '{backend.name}' refuses this model for target '{target.name}': {reasons}.")
    engine = backend.compile(model, target)
    _check_engine(engine, model, target, backend)
    if engine.precision not in precisions:
        raise EngineError(
            f"Backend '{backend.name}' made a {engine.precision} engine; "
            f"target '{target.name}' takes {', '.join(precisions)}."
        )
    runner = backend.load(engine)
    check_runner(runner, model.spec, f"Backend '{backend.name}'")
    verdict = verify_golden(runner, golden)
    if verdict.status != "passed":
        raise VerificationFailed(
            f"The engine of backend '{backend.name}' for '{target.name}' does not reproduce the golden set: "
            f"{verdict.describe()}. Build it with another backend or precision, or report this model."
        )
    return engine


def check_runner(runner: Runner, spec: PolicySpec, where: str) -> None:
    """Refuse a runner whose arrays are not those of the spec.

    Raises:
        EngineError: A name, shape, dtype or memory layout differs; the message names it.
    """
    action_dtype = "float32" if spec.action.kind == "continuous" else "int32"
    outputs: dict[str, tuple[tuple[int, ...], str]] = {"action": ((1, spec.action.size), action_dtype)}
    if spec.action.raw:
        outputs["action.raw"] = ((1, spec.action.size), "float32")
    inputs = {item.name: ((1, *item.shape), str(item.dtype)) for item in spec.inputs}
    state = {item.name: (item.shape, "float32") for item in spec.state}
    for what, expected, found in (
        ("inputs", inputs, runner.inputs),
        ("outputs", outputs, runner.outputs),
        ("state", state, runner.state),
    ):
        forms = {name: (array.shape, str(array.dtype)) for name, array in found.items()}
        if forms != expected:
            raise EngineError(f"{where} made a runner with the {what} {forms}; the spec says {expected}.")
        for name, array in found.items():
            if not array.flags.c_contiguous or not array.flags.writeable:
                raise EngineError(f"{where} made a runner whose array '{name}' is not contiguous and writeable.")


def _locations() -> dict[str, str]:
    installed = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}
    return {**BUILT_IN, **installed}


def _check_engine(engine: Engine, model: PolicyModel, target: Target, backend: Backend) -> None:
    claims = {
        "backend": (engine.backend, backend.name),
        "target": (engine.target, target.name),
        "parent": (engine.parent, model.digest),
        "spec": (engine.spec, model.spec),
    }
    for name, (found, expected) in claims.items():
        if found != expected:
            raise EngineError(f"Backend '{backend.name}' made an engine with {name} {found!r}; expected {expected!r}.")
    if not any(engine.files.values()):
        raise EngineError(f"Backend '{backend.name}' made an engine without files.")
