"""Every error that edgerl raises at its user.

A message says what happened, with the value; what would have been valid; what to do next. Each class builds its
message from its arguments. ``exit_code`` is what the command line returns: 1 for bad input, 3 where a gate said no.

```text
EdgerlError                    exit 1
├── UnreadableFile             not there, no file, or not allowed
├── CheckpointError            a trainer's file, or something given with it
│   ├── UnsafeCheckpoint       reading it would execute code from it
│   ├── DamagedCheckpoint      truncated, or not what its name says
│   ├── CheckpointTooLarge     past a limit on size, depth or count
│   ├── UnknownTrainer         no importer recognizes it
│   ├── AmbiguousCheckpoint    several files could be meant
│   ├── UnsupportedPolicy      recognized, but this policy class is not readable
│   └── StatisticsMismatch     normalizer statistics that do not fit the policy
├── SpecError                  a PolicySpec, or a file that completes it
│   ├── MissingFacts           what nobody said and nothing may guess
│   └── SchemaTooNew           written by a newer edgerl
├── ModelError                 an ONNX model
│   ├── DynamicShape           an input or output without a static shape
│   └── UnsupportedModel       an operator, opset or external data that is refused
├── EngineError                a backend cannot build or load an engine
│   └── UnknownBackend
├── GoldenError                a golden set that is damaged or no golden set
├── TruthError                 recorded observations and actions that do not fit the policy
├── TargetError
│   └── UnknownTarget
├── EnvelopeError              limits that are missing, unknown or contradict each other
├── BundleError
│   ├── ManifestError          its parts contradict each other
│   ├── DamagedBundle          a changed byte, a missing or an additional file
│   └── UnsafePath             a member that would leave its folder
├── LoopError                  the control loop could not start or go on
│   ├── PortError              the robot did not answer, or refused
│   │   ├── PortKeyError       the file of a port's key cannot be used
│   │   └── DriverError        the robot's driver process did not start or died
│   ├── FrameError             a camera's process did not answer, or its images are others
│   ├── GuardianError          the guardian did not start or died
│   ├── PolicyProcessError     the policy process did not start or died
│   └── DamagedRecording       a recording that is not as it was written
├── ControlError               a run cannot be reached, or its control socket not be made
│   ├── NoSuchRun              none is alive, none of this name, or several
│   └── NoRight                this user may not use the socket
├── UnknownBenchmark           no benchmark has this name
├── MissingExtra               an optional dependency that is not installed
├── PlatformError              not possible on this machine
├── OutputError                a file could not be written or is in the way
└── GateFailed                 exit 3: everything ran, and the answer is no
    ├── ParityFailed           the export does not act as trained
    ├── RequestRefused         a run does not do what it was asked
    ├── NoBaseline             no budgets can be learned from a recording
    ├── PolicyTooSlow          it cannot answer in the time that its envelope leaves it
    ├── VerificationFailed     a bundle does not hold what it claims
    ├── EnvelopeRejectsPolicy  the limits would stop the policy's own golden actions
    └── EnvelopeRejectsState   the limits would stop the policy where its trainer recorded it
```
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class EdgerlError(Exception):
    """Base of every error that is the input's fault, never edgerl's own."""

    exit_code = 1


class UnreadableFile(EdgerlError):
    """A file that was named cannot be opened."""

    def __init__(self, path: Path | str, why: str) -> None:
        super().__init__(f"{path}: cannot be read ({why}). Expected a file that is there and readable; check the path.")


class CheckpointError(EdgerlError):
    """A trainer's file cannot be used."""


class UnsafeCheckpoint(CheckpointError):
    """Reading this file would execute code from it."""

    def __init__(self, path: Path | str, what: str, needed: str) -> None:
        super().__init__(f"{path}: {what}. Nothing from a checkpoint is ever executed. {needed}")


class DamagedCheckpoint(CheckpointError):
    """The file is cut off or is not what its name says."""

    def __init__(self, path: Path | str, what: str) -> None:
        super().__init__(f"{path}: {what}. Expected a complete file as the trainer wrote it; copy or save it again.")


class CheckpointTooLarge(CheckpointError):
    """A limit that keeps hostile files from filling the memory was reached."""

    def __init__(self, path: Path | str, what: str, value: int, limit: int) -> None:
        super().__init__(
            f"{path}: {what} is {value:,}, the limit is {limit:,}. "
            "If the file is yours and really that large, raise the limit in edgerl.importers.Limits."
        )


class UnknownTrainer(CheckpointError):
    """No importer recognizes the file."""

    def __init__(self, path: Path | str, found: str, known: Iterable[str]) -> None:
        super().__init__(
            f"{path}: no importer recognizes this ({found}). Readable: {', '.join(sorted(known))}. "
            "If one of them wrote it, name it with --trainer."
        )


class AmbiguousCheckpoint(CheckpointError):
    """Several files could be meant, and the wrong one would act wrongly without a word."""

    def __init__(self, path: Path | str, what: str, found: Iterable[str], remedy: str) -> None:
        super().__init__(f"{path}: several files could be the {what}: {', '.join(sorted(found))}. {remedy}")


class UnsupportedPolicy(CheckpointError):
    """The trainer is known, this policy is not readable without the trainer's own code."""

    def __init__(self, path: Path | str, what: str, supported: str) -> None:
        super().__init__(
            f"{path}: {what}. Supported: {supported}. "
            "For a network of your own, load it in Python and call edgerl.export_module(module, spec)."
        )


class StatisticsMismatch(CheckpointError):
    """Normalizer statistics belong to another policy."""

    def __init__(self, path: Path | str, what: str, expected: str) -> None:
        super().__init__(
            f"{path}: {what}; this policy needs {expected}. "
            "Pass the statistics saved with this checkpoint with --stats FILE."
        )


class SpecError(EdgerlError):
    """A PolicySpec, or a file that completes one, is not valid."""


class MissingFacts(SpecError):
    """Facts that no file gives and that nothing may guess."""

    def __init__(self, what_for: str, facts: Iterable[tuple[str, str]]) -> None:
        lines = "\n".join(f"  {field}: {why}" for field, why in facts)
        super().__init__(
            f"{what_for} needs facts that the checkpoint does not say:\n{lines}\n"
            "Write them into a TOML file (edgerl export CKPT --template writes one to fill in) "
            "and export again with --spec FILE."
        )


class SchemaTooNew(SpecError):
    """The artifact was written by a newer edgerl."""

    def __init__(self, what: str, found: int, newest: int) -> None:
        super().__init__(f"{what} has schema {found}; this edgerl reads up to {newest}. Update edgerl to read it.")


class ModelError(EdgerlError):
    """An ONNX model cannot be used."""


class DynamicShape(ModelError):
    """An input or output of the model has no static shape."""

    def __init__(self, path: Path | str, tensor: str, shape: str) -> None:
        super().__init__(
            f"{path}: tensor '{tensor}' has the shape {shape}; every input and output needs a static one with batch 1. "
            "Export the model again with fixed dimensions."
        )


class UnsupportedModel(ModelError):
    """The model holds something that is refused."""

    def __init__(self, path: Path | str, what: str, valid: str) -> None:
        super().__init__(f"{path}: {what}. Valid: {valid}.")


class EngineError(EdgerlError):
    """A backend cannot build or load an engine."""


class UnknownBackend(EngineError):
    """No installed backend has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"Unknown backend '{name}'. Installed backends: {names}. "
            "A package adds one with an entry point in the group edgerl.backends."
        )


class GoldenError(EdgerlError):
    """A file is not a golden set."""

    def __init__(self, path: Path | str, what: str) -> None:
        super().__init__(f"{path}: not a golden set ({what.rstrip('.')}). Expected the file that edgerl export wrote.")


class TruthError(EdgerlError):
    """Recorded observations and actions do not fit the policy."""

    def __init__(self, path: Path | str, what: str, expected: str) -> None:
        super().__init__(
            f"{path}: {what}; expected {expected}. "
            "A truth file is an .npz with obs (or obs.<key>) and action, recorded with the trainer's own predict."
        )


class TargetError(EdgerlError):
    """A target description is not valid."""


class UnknownTarget(TargetError):
    """No installed target has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"Unknown target '{name}'. Installed targets: {names}. To add one, see targets/README.md.")


class EnvelopeError(EdgerlError):
    """The limits of the envelope are missing, unknown or contradict each other."""


class BundleError(EdgerlError):
    """A bundle cannot be made or read."""


class ManifestError(BundleError):
    """A manifest contradicts itself; where it was read from a file, that is a :class:`DamagedBundle`."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"The manifest is not valid: {problem}. Change that and pack again.")


class DamagedBundle(BundleError):
    """The bundle is not the one that was packed."""

    exit_code = 3

    def __init__(self, path: Path | str, what: str) -> None:
        super().__init__(f"{path}: {what}. Nothing of it was used. Pack it again or fetch it again from its source.")


class UnsafePath(BundleError):
    """A member of the bundle would be written outside its folder."""

    exit_code = 3

    def __init__(self, path: Path | str, member: str) -> None:
        super().__init__(
            f"{path}: member {member!r} is not a plain relative path. Nothing was unpacked; "
            "this file was not made by edgerl pack, so do not trust its source."
        )


class LoopError(EdgerlError):
    """The control loop could not start or go on."""


class PortError(LoopError):
    """The robot did not answer or refused the session."""


class PortKeyError(PortError):
    """The file that holds a port's key cannot be used."""

    def __init__(self, path: Path | str, what: str, remedy: str) -> None:
        super().__init__(f"{path}: {what}. {remedy}")


class DriverError(PortError):
    """The process with the robot's driver did not start or died."""


class FrameError(LoopError):
    """The images that a policy observes cannot be had, or are not those that it was trained on."""


class GuardianError(LoopError):
    """The guardian did not start or died."""


class PolicyProcessError(LoopError):
    """The policy process did not start or died."""


class DamagedRecording(LoopError):
    """A recording is not as it was written; a cut-off one is no such case."""

    def __init__(self, path: Path | str, what: str, whole: int | None = None) -> None:
        rest = "" if whole is None else f", or keep what is before: head -c {whole} {path} > whole.mcap"
        super().__init__(
            f"{path}: {what}. Expected a recording as edgerl run writes it; copy it again from the robot{rest}."
        )


class ControlError(EdgerlError):
    """A run cannot be reached, or its control socket cannot be made."""


class NoSuchRun(ControlError):
    """No live run is meant."""


class NoRight(ControlError):
    """The socket of a run is not for this user."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: this user has no right to it, so nothing was sent. Ask as the user who started the run, or start "
            "the run with --control-group and a group of yours."
        )


class UnknownBenchmark(EdgerlError):
    """No benchmark of the runtime has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(
            f"Unknown benchmark '{name}'. Valid: {', '.join(known)}. Leave --only away to run all of them."
        )


class MissingExtra(EdgerlError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency. Install it with: pip install 'edgerl[{extra}]'")


class PlatformError(EdgerlError):
    """This machine cannot do it."""


class OutputError(EdgerlError):
    """A result could not be written; nothing half-written is left."""


class GateFailed(EdgerlError):
    """Everything ran, and the answer is no."""

    exit_code = 3


class ParityFailed(GateFailed):
    """The exported policy does not act as the trainer's."""

    def __init__(self, where: str, expected: float, found: float, tolerance: float, extent: str) -> None:
        super().__init__(
            f"The exported policy does not act as trained: at {where} the trainer says {expected!r} and the export "
            f"{found!r}, which differ by more than {tolerance:.3g} ({extent}). Nothing was written. Check that the "
            "truth belongs to this checkpoint and its normalizer statistics (--stats); if it does, report the policy."
        )


class RequestRefused(GateFailed):
    """A run was asked for something and did not do it; the message is the run's own."""


class NoBaseline(GateFailed):
    """A recording is no measure of how long things take, or what it measured fits no envelope."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(f"No budgets can be learned: {why}. {remedy}")


class PolicyTooSlow(GateFailed):
    """One inference takes longer than the envelope leaves the policy; it is never armed."""

    def __init__(self, took: str, allowed: str, remedy: str) -> None:
        super().__init__(f"The policy is too slow: {took}, and {allowed}. It was not armed. {remedy}")


class VerificationFailed(GateFailed):
    """A bundle does not hold what its manifest claims."""


class EnvelopeRejectsPolicy(GateFailed):
    """The limits would stop actions that the policy is known to take."""

    def __init__(self, *, row: int, channel: str, what: str, rows: tuple[int, int]) -> None:
        super().__init__(
            f"Row {row} of the golden set: channel '{channel}' is {what}. The envelope would change or refuse "
            f"{rows[0]:,} of the {rows[1]:,} golden actions. Widen that limit if the robot can take it; "
            "otherwise this policy is not for this robot."
        )


class EnvelopeRejectsState(GateFailed):
    """The limits of the state would stop the policy where its trainer recorded it."""

    def __init__(self, *, row: int, channel: str, what: str, rows: tuple[int, int]) -> None:
        super().__init__(
            f"Row {row} of the golden set: the state's '{channel}' is {what}. The guardian would take the policy "
            f"out of charge in {rows[0]:,} of the {rows[1]:,} recorded rows. Widen that limit if the robot can take "
            "it; otherwise this policy is not for this robot."
        )
