"""Puts together what a report needs from a bundle and the result of its run.

Reads the recording that the result names, and the parity certificate that the bundle carries. It runs nothing.
"""

from __future__ import annotations

from pathlib import Path

from edgerl import canonical
from edgerl.bundle.load import Bundle
from edgerl.envelope import Envelope
from edgerl.envelope.commands import command_limits
from edgerl.envelope.joints import closes_loop, command_fields
from edgerl.errors import DamagedBundle
from edgerl.parity import NOT_RUN, ParityReport
from edgerl.report.run_report import PolicyFacts, RunReport, SentChannel, TrainerReturn
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.result import RunResult
from edgerl.spec import PolicySpec


def report_of(
    bundle: Bundle, path: Path | str, result: RunResult, *, trainer_return: TrainerReturn | None = None
) -> RunReport:
    """Return the report of a run.

    Args:
        bundle: That was run.
        path: Its file, named on the page.
        result: Of the run.
        trainer_return: What the trainer's own evaluation says; None: not known.

    Raises:
        DamagedRecording: The recording cannot be read.
        DamagedBundle: The certificate is not one.
    """
    manifest, recording = bundle.manifest, read_recording(Path(result.recording))
    provenance, versions = manifest.spec.provenance, manifest.versions
    policy = PolicyFacts(
        name=Path(path).name.removesuffix(".edgerl"),
        trainer=provenance.trainer,
        trainer_version=provenance.trainer_version,
        algorithm=provenance.algorithm,
        checkpoint=tuple(sorted(provenance.digests.items())),
        bundle=Path(path).name,
        engine=manifest.engines[0].backend if manifest.engines else "",
        packed_with=(("edgerl", versions.edgerl), ("onnx", versions.onnx), ("onnxruntime", versions.onnxruntime)),
    )
    return RunReport(
        title=f"{policy.name} on {recording.header.robot}",
        result=result,
        recording=recording,
        policy=policy,
        envelope=manifest.envelope,
        commands=_commands(manifest.envelope, manifest.spec),
        parity=_parity(bundle, path),
        trainer_return=trainer_return,
    )


def _commands(envelope: Envelope, spec: PolicySpec) -> tuple[SentChannel, ...]:
    return tuple(
        SentChannel(limits, field.unit, field.action if field.acts and not closes_loop(spec) else None)
        for field, limits in zip(command_fields(spec), command_limits(envelope, spec), strict=True)
    )


def _parity(bundle: Bundle, path: Path | str) -> ParityReport:
    name = bundle.manifest.certificate
    if name is None:
        return NOT_RUN
    plain = canonical.parse(bundle.files[name], f"{name} of {path}")
    if not isinstance(plain, dict) or "parity" not in plain:
        raise DamagedBundle(path, f"{name} is not a certificate of an export")
    return canonical.from_plain(ParityReport, plain["parity"], f"{name} of {path}")
