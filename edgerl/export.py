"""The export as a whole: a policy to a model, its golden set and a certificate of what was compared.

Nothing is written unless everything holds: a failed comparison raises, and the three files appear together. Works in
memory; :func:`save_export` and :func:`load_export` are the only functions here that touch files.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from edgerl import canonical
from edgerl.completion import complete
from edgerl.errors import MissingFacts, ModelError, OutputError
from edgerl.files import write_files
from edgerl.golden import GoldenSet, load_golden, save_golden_bytes
from edgerl.golden.rows import make_golden
from edgerl.importers import ImageLayout, describe_checkpoint, read_checkpoint
from edgerl.lowering import lower
from edgerl.model import PolicyModel, load_model
from edgerl.parity import NOT_RUN, ParityReport, check_parity, require_parity
from edgerl.policy import Policy
from edgerl.spec import PolicySpec, Unknown
from edgerl.template import graph_template, template
from edgerl.truth import Truth, read_truth

if TYPE_CHECKING:
    import torch

SCHEMA = 1
GOLDEN_SUFFIX = ".golden.npz"
CERTIFICATE_SUFFIX = ".certificate.json"
MAX_CERTIFICATE_BYTES = 4 * 1024 * 1024
_VERSIONS = ("edgerl", "numpy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Certificate:
    """What was exported from what, and what was compared with what."""

    schema: int
    model: str
    """SHA-256 of the model."""
    golden: str
    """SHA-256 of the golden set."""
    checkpoint: Mapping[str, str]
    """SHA-256 of each file that was read, by file name."""
    truth: str | None
    """SHA-256 of the truth file; None where there was none."""
    parity: ParityReport
    defaults: tuple[str, ...]
    """Fields of the spec that nobody said and that have the trainer's default."""
    unknowns: tuple[Unknown, ...]
    """What the robot needs and nobody has said; ``edgerl pack`` refuses until they are filled in."""
    versions: Mapping[str, str]
    """Of edgerl, Python and the libraries that were used, by name."""


@dataclass(frozen=True, eq=False)
class Export:
    """A model with what proves it."""

    model: PolicyModel
    golden: GoldenSet
    certificate: Certificate


def export_checkpoint(
    path: Path | str,
    *,
    truth: Path | str | None = None,
    stats: Path | str | None = None,
    spec: Path | str | None = None,
    trainer: str | None = None,
    image_layout: ImageLayout | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Export:
    """Return a checkpoint as a model, compared with the trainer's own actions where there are some.

    Args:
        path: Checkpoint, folder or ONNX file; nothing in it is executed.
        truth: Recorded with the trainer's own predict; without it parity is ``not_run``.
        stats: As for :func:`edgerl.importers.read_checkpoint`.
        spec: TOML with what the checkpoint does not say.
        trainer: As for :func:`edgerl.importers.read_checkpoint`.
        image_layout: As for :func:`edgerl.importers.read_checkpoint`.
        on_progress: Called with the name of each stage as it begins.

    Raises:
        CheckpointError: The checkpoint is damaged, unsafe, of an unknown trainer or a kind that is not read.
        SpecError: ``spec`` is not valid or contradicts the checkpoint.
        TruthError: The truth does not fit the policy.
        ParityFailed: The model does not act as the truth says.
    """
    say = on_progress or (lambda _: None)
    say(f"reading {path}")
    facts = None if spec is None else Path(spec)
    policy = read_checkpoint(path, trainer=trainer, stats=stats, image_layout=image_layout, spec=facts)
    say("building the graph and running it" if truth is None else "building the graph and comparing it with the truth")
    return export_policy(policy, truth=truth, spec=spec)


def checkpoint_template(
    path: Path | str,
    *,
    stats: Path | str | None = None,
    trainer: str | None = None,
    image_layout: ImageLayout | None = None,
) -> str:
    """Return the TOML text that asks for what a checkpoint, or a graph that somebody else made, does not say.

    Raises:
        CheckpointError: The checkpoint is damaged, unsafe, of an unknown trainer or a kind that is not read.
        ModelError: An ONNX graph of a kind that is refused.
    """
    try:
        policy = read_checkpoint(path, stats=stats, trainer=trainer, image_layout=image_layout)
    except MissingFacts:  # an adopted graph does not even say what its action is
        spaces = describe_checkpoint(path, stats, trainer=trainer, image_layout=image_layout).spaces
        return graph_template(spaces["observation"], spaces["action"])
    return template(policy.spec)


def export_policy(
    policy: Policy,
    *,
    truth: Truth | Path | str | None = None,
    spec: Path | str | None = None,
    golden_rows: int = 256,
    seed: int = 0,
) -> Export:
    """Return a policy as a model, compared with the trainer's own actions where there are some.

    Args:
        policy: As an importer read it.
        truth: Recorded with the trainer's own predict; without it parity is ``not_run``.
        spec: TOML with what the checkpoint does not say.
        golden_rows: Rows of the golden set.
        seed: Of its generated rows.

    Raises:
        SpecError: ``spec`` is not valid or contradicts the checkpoint.
        TruthError: The truth does not fit the policy.
        ModelError: The policy cannot be lowered.
        ParityFailed: The model does not act as the truth says.
    """
    if spec is not None:
        policy = replace(policy, spec=complete(policy.spec, spec))
    model = lower(policy)
    known = read_truth(truth, model.spec) if isinstance(truth, (str, Path)) else truth
    report = NOT_RUN if known is None else check_parity(model, known)
    require_parity(report)
    golden = make_golden(model, known, rows=golden_rows, seed=seed)
    return Export(model, golden, _certify(model, golden, report, known.digest if known else None))


def export_module(module: torch.nn.Module, spec: PolicySpec, *, golden_rows: int = 256, seed: int = 0) -> Export:
    """Return a ``torch.nn.Module`` as a model, compared with the module itself on the golden inputs.

    Args:
        module: Called with one tensor per input of the spec, batch axis included, then one per state tensor; answers
            the action, or the logits of a discrete one, then the next state.
        spec: What it takes and answers.
        golden_rows: Rows of the golden set.
        seed: Of its rows.

    Raises:
        MissingExtra: torch is not installed.
        UnsupportedModel: The module cannot be traced.
        ModelError: Its answers do not fit the spec.
        ParityFailed: The model does not act as the module.
    """
    from edgerl.importers.torch_module import module_truth, read_module  # noqa: PLC0415  needs torch

    model = lower(read_module(module, spec))
    golden = make_golden(model, rows=golden_rows, seed=seed)
    report = check_parity(model, module_truth(module, spec, golden.inputs, golden.episode_start))
    require_parity(report)
    return Export(model, golden, _certify(model, golden, report, None))


def save_export(export: Export, path: Path | str) -> None:
    """Write ``X.onnx``, ``X.golden.npz`` and ``X.certificate.json``, all of them or none.

    Raises:
        OutputError: ``path`` does not end in .onnx, or a file could not be written.
    """
    golden, certificate = export_paths(path)
    write_files(
        {
            golden: save_golden_bytes(export.golden),
            certificate: (canonical.dumps(export.certificate) + "\n").encode(),
            Path(path): export.model.onnx,
        }
    )


def load_export(path: Path | str) -> Export:
    """Return the export that :func:`save_export` wrote, its three files checked against each other.

    Raises:
        ModelError: The model is not readable, or the files do not belong together.
        UnreadableFile: There is no golden set beside it.
        GoldenError: The golden set is damaged.
        SpecError: The certificate is not valid.
    """
    golden_path, certificate_path = export_paths(path)
    model, golden = load_model(path), load_golden(golden_path)
    try:
        with certificate_path.open("rb") as file:
            text = file.read(MAX_CERTIFICATE_BYTES)
    except OSError as error:
        raise ModelError(
            f"{certificate_path}: could not be read ({error.strerror}). Expected the certificate that edgerl export "
            "wrote beside the model."
        ) from error
    certificate = canonical.loads(Certificate, text, str(certificate_path))
    for what, found, expected in (
        ("model", model.digest, certificate.model),
        ("golden set", golden.digest, certificate.golden),
        ("model of the golden set", golden.model, model.digest),
    ):
        if found != expected:
            raise ModelError(
                f"{path}: the {what} is {found[:12]}, its companion files say {expected[:12]}. Keep the three files "
                "of one export together, or export again."
            )
    return Export(model, golden, certificate)


def export_paths(path: Path | str) -> tuple[Path, Path]:
    """Return where the golden set and the certificate of a model lie.

    Raises:
        OutputError: ``path`` does not end in .onnx.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise OutputError(f"{path}: a model's name ends in .onnx. Choose one such as {path.name or 'policy'}.onnx.")
    return path.with_name(path.stem + GOLDEN_SUFFIX), path.with_name(path.stem + CERTIFICATE_SUFFIX)


def _certify(model: PolicyModel, golden: GoldenSet, report: ParityReport, truth: str | None) -> Certificate:
    return Certificate(
        SCHEMA,
        model.digest,
        golden.digest,
        model.spec.provenance.digests,
        truth,
        report,
        tuple(sorted(name for name, source in model.spec.sources.items() if source == "default")),
        model.spec.unknowns(),
        {"python": platform.python_version(), **{name: installed_version(name) for name in _VERSIONS}},
    )


def installed_version(name: str) -> str:
    """Return the version of an installed package; edgerl itself has none when run from a source tree."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
