"""Packing: a model, its engines, its golden set and its envelope become one bundle, or a reason why not.

Nothing is packed that would only fail on the robot: every engine reproduces the golden set, the envelope lets the
golden actions through (judged by the guardian's own code, so packing needs Linux), nothing that the robot must know is
unknown, and a parity that failed stops here. No clock and no path goes in, so the same parts give the same bytes.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from edgerl import canonical
from edgerl.backends import Engine, build, find_backend
from edgerl.bundle.load import Bundle, save_bundle
from edgerl.bundle.manifest import SCHEMA, Claim, EngineEntry, FileEntry, Manifest, Versions
from edgerl.bundle.replay import replay_golden
from edgerl.bundle.verify import run_golden
from edgerl.envelope import Envelope, check_envelope, default_envelope
from edgerl.envelope.file import read_envelope
from edgerl.errors import BundleError, MissingFacts, OutputError, UnreadableFile
from edgerl.export import MAX_CERTIFICATE_BYTES, Certificate, export_paths, installed_version
from edgerl.golden import GoldenSet, check_golden, load_golden, save_golden_bytes
from edgerl.model import PolicyModel, load_model
from edgerl.parity import require_parity
from edgerl.spec import PolicySpec
from edgerl.target import Target, load_target

MODEL_PATH = "model.onnx"
GOLDEN_PATH = "golden.npz"
CERTIFICATE_PATH = "certificate.json"
SUFFIX = ".edgerl"
PREFERRED_BACKENDS = ("onnxruntime",)
"""Built where no engine is given: the first of these that the target takes."""


def pack(
    model: PolicyModel,
    *,
    target: Target,
    envelope: Envelope,
    golden: GoldenSet,
    certificate: Certificate | None = None,
    engines: Sequence[Engine] = (),
    release: int = 1,
    created: str | None = None,
) -> Bundle:
    """Return the bundle of a model.

    Args:
        model: Its spec must know everything that the robot needs.
        target: Where it will run.
        envelope: Limits of the command, resolved against the same spec.
        golden: Made from this very model.
        certificate: Of the export; without it parity is ``not_run``.
        engines: Compiled from this model for this target, the one to run first; without any, one is built.
        release: Robots refuse to go back to a smaller one.
        created: Time in UTC as ``2026-01-31T12:00:00Z``; left out, the bundle says none.

    Raises:
        MissingFacts: The spec leaves something unknown.
        EnvelopeError: The envelope does not fit the spec.
        TargetError: The target does not take the engine or the control period.
        BundleError: A part belongs to another model or target.
        GoldenError: The golden set's arrays are not those of the spec.
        ParityFailed: The certificate says so.
        VerificationFailed: An engine does not reproduce the golden set.
        EnvelopeRejectsPolicy: The envelope would refuse or change a golden action.
        EnvelopeRejectsState: The envelope would take the policy out of charge where its trainer recorded it.
        PlatformError: Not Linux, or edgerl was installed without its core.
    """
    period_ns = _check_spec(model.spec)
    check_envelope(envelope, model.spec)
    target.check_period(period_ns)
    _check_parts(model, target, golden, certificate, engines)
    check_golden(golden, model.spec, "the golden set")
    envelope_evidence = replay_golden(envelope, golden, model.spec, period_ns)
    engines = tuple(engines) or (_default_engine(model, target, golden),)
    files = {MODEL_PATH: model.onnx, GOLDEN_PATH: save_golden_bytes(golden)}
    if certificate is not None:
        files[CERTIFICATE_PATH] = canonical.dumps(certificate).encode()
    entries = tuple(_place_engine(engine, model, files) for engine in engines)
    manifest = Manifest(
        schema=SCHEMA,
        release=release,
        created=created,
        spec=model.spec,
        target=target,
        envelope=envelope,
        model=MODEL_PATH,
        engines=entries,
        golden=GOLDEN_PATH,
        certificate=CERTIFICATE_PATH if certificate is not None else None,
        files=tuple(FileEntry(path, _sha256(data), len(data)) for path, data in sorted(files.items())),
        claims=(
            _parity_claim(certificate),
            Claim("golden", "passed", "; ".join(run_golden(engine, golden) for engine in engines)),
            Claim("envelope", "passed", envelope_evidence),
            Claim("signature", "not_run", "this version of edgerl does not sign; digests prove no origin"),
            Claim("target_device", "not_run", "nothing ran on the robot's own computer when it was packed"),
        ),
        versions=_versions(),
    )
    return Bundle(manifest, files)


def pack_files(
    policy: Path | str,
    output: Path | str,
    *,
    target: str | Path,
    envelope: Path | str | None = None,
    golden: Path | str | None = None,
    certificate: Path | str | None = None,
    release: int = 1,
) -> Bundle:
    """Pack an export that lies in files, write the bundle, and return it.

    Args:
        policy: ONNX file, as ``edgerl export`` writes it.
        output: The bundle to write; replaced whole or not at all.
        target: Name of an installed target, or the path of one.
        envelope: TOML file; without one the envelope is derived from the action box and says so.
        golden: Golden set; without a path the one beside the policy.
        certificate: Of the export; without a path the one beside the policy, where there is one.
        release: As for :func:`pack`.

    Raises:
        EdgerlError: A file is not readable or not what it should be, or a reason of :func:`pack`; nothing is written.
        OutputError: ``output`` does not end in .edgerl, or the bundle could not be written.
    """
    if Path(output).suffix != SUFFIX:
        raise OutputError(f"{output}: a bundle's name ends in {SUFFIX}. Choose one such as policy{SUFFIX}.")
    model = load_model(policy)
    _check_spec(model.spec)  # before an envelope is resolved against what is not known
    golden_beside, certificate_beside = export_paths(policy)
    golden_set = load_golden(golden or golden_beside)
    found = None
    if certificate is not None or certificate_beside.exists():
        found = _load_certificate(Path(certificate or certificate_beside), golden_set)
    bundle = pack(
        model,
        target=load_target(target),
        envelope=default_envelope(model.spec) if envelope is None else read_envelope(envelope, model.spec),
        golden=golden_set,
        certificate=found,
        release=release,
    )
    save_bundle(bundle, output)
    return bundle


def _load_certificate(path: Path, golden: GoldenSet) -> Certificate:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CERTIFICATE_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error
    certificate = canonical.loads(Certificate, text, str(path))
    if certificate.golden != golden.digest:
        raise BundleError(
            f"{path}: was written for golden set {certificate.golden[:12]}, the one to pack is {golden.digest[:12]}. "
            "Take all parts from the same export."
        )
    return certificate


def _check_spec(spec: PolicySpec) -> int:
    """Return the control period of a spec that leaves nothing unknown."""
    unknowns = spec.unknowns()
    if unknowns or spec.period_ns is None:
        raise MissingFacts("Packing", [(unknown.field, unknown.why) for unknown in unknowns])
    return spec.period_ns


def _check_parts(
    model: PolicyModel,
    target: Target,
    golden: GoldenSet,
    certificate: Certificate | None,
    engines: Iterable[Engine],
) -> None:
    """Refuse parts that were made from another model."""
    parents = [("golden set", golden.model)]
    if certificate is not None:
        parents.append(("certificate", certificate.model))
    for engine in engines:
        target.check_engine(engine.backend, engine.precision)
        parents.append((f"engine of {engine.backend}", engine.parent))
        if engine.target != target.name or engine.spec != model.spec:
            raise BundleError(
                f"The engine of {engine.backend} was built for '{engine.target}'; this bundle is for '{target.name}' "
                "and its own spec. Build it again from this model for this target."
            )
    for what, parent in parents:
        if parent != model.digest:
            raise BundleError(
                f"The {what} belongs to model {parent[:12]}, the model to pack is {model.digest[:12]}. "
                "Take all parts from the same export."
            )


def _default_engine(model: PolicyModel, target: Target, golden: GoldenSet) -> Engine:
    for name in PREFERRED_BACKENDS:
        if name in target.backends:
            return build(model, target, find_backend(name), golden)
    raise BundleError(
        f"Target '{target.name}' takes engines of {', '.join(sorted(target.backends))} and none was given. Build one."
    )


def _place_engine(engine: Engine, model: PolicyModel, files: dict[str, bytes]) -> EngineEntry:
    """Add an engine's files to those of the bundle; one that is the model itself is not stored twice."""
    places: dict[str, str] = {}
    for name, data in sorted(engine.files.items()):
        places[name] = MODEL_PATH if data == model.onnx else f"engines/{engine.backend}/{name}"
        files[places[name]] = data
    return EngineEntry(engine.backend, engine.precision, engine.parent, places)


def _parity_claim(certificate: Certificate | None) -> Claim:
    if certificate is None:
        return Claim("parity", "not_run", "no certificate of the export was given")
    report = certificate.parity
    require_parity(report)
    if report.status != "passed":
        return Claim("parity", "not_run", report.against)
    worst = max(report.channels, key=lambda item: item.max_error / item.tolerance if item.tolerance else item.max_error)
    # The name only: where the file lay does not belong into a bundle that is the same on every machine.
    evidence = (
        f"{report.rows:,} rows of {PurePath(report.against).name}: largest difference {worst.max_error:.3g} of "
        f"{worst.tolerance:.3g} allowed, in {worst.name}"
    )
    ties = f"; {report.near_tie_count:,} near-ties" if report.near_tie_count else ""
    return Claim("parity", "passed", evidence + ties)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _versions() -> Versions:
    edgerl, onnx, onnxruntime = map(installed_version, ("edgerl", "onnx", "onnxruntime"))
    return Versions(edgerl, onnx, onnxruntime, platform.python_version())
