"""Verifying a bundle: what it claims, run again.

The digests were checked when it was loaded. Here the files are used: the spec in the model against the manifest's, the
golden set through every engine, the trainer's own recorded actions among it against parity's tolerance, and the golden
actions through the envelope. What cannot be run on this machine is ``not_run`` and never passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgerl.backends import Engine, Runner, check_runner, find_backend
from edgerl.bundle.load import Bundle, load_bundle
from edgerl.bundle.manifest import Status
from edgerl.bundle.replay import replay_golden
from edgerl.errors import EdgerlError, MissingExtra, PlatformError, VerificationFailed
from edgerl.golden import GoldenSet, check_golden, read_golden, verify_golden


@dataclass(frozen=True)
class Check:
    """One thing that was verified."""

    name: str
    """``files``, ``spec``, or the claim that was run again."""
    status: Status
    evidence: str


@dataclass(frozen=True)
class Verification:
    """Everything that was verified about a bundle."""

    digest: str
    """Of the bundle."""
    release: int
    claims: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """``failed`` where any check failed, ``not_run`` where the golden set could not be run, else ``passed``."""
        states = {check.name: check.status for check in self.claims}
        if "failed" in states.values():
            return "failed"
        return "passed" if all(states[name] == "passed" for name in ("files", "spec", "golden")) else "not_run"


def verify_bundle(path: Path | str) -> Verification:
    """Return what holds of a bundle in a file.

    Raises:
        UnreadableFile: Missing, no regular file, or not allowed.
        DamagedBundle: A byte was changed, or a file is missing or too many.
        UnsafePath: A path in it could leave its folder.
        SchemaTooNew: Written by a newer edgerl.
    """
    return verify_loaded(load_bundle(path))


def verify_loaded(bundle: Bundle) -> Verification:
    """Return what holds of a bundle in memory; a check that fails is in the answer, never raised."""
    return Verification(bundle.digest, bundle.manifest.release, tuple(_checks(bundle)))


def require_verified(verification: Verification, where: Path | str) -> None:
    """Go on where nothing failed.

    Raises:
        VerificationFailed: A check failed; the message says which and why.
    """
    for check in verification.claims:
        if check.status == "failed":
            raise VerificationFailed(
                f"{where}: '{check.name}' does not hold ({check.evidence.rstrip('.')}). Do not run it; pack it again."
            )


def engine_of(bundle: Bundle, backend: str | None = None) -> Engine:
    """Return a bundle's engine of a backend, or the one to run where none is named.

    Raises:
        BundleError: The bundle has no engine of this backend.
    """
    entry, files = bundle.engine(backend)
    manifest = bundle.manifest
    return Engine(entry.backend, manifest.target.name, entry.precision, entry.parent, manifest.spec, files)


def load_engine(engine: Engine) -> Runner:
    """Return a runner, its arrays checked against the engine's spec.

    Raises:
        EngineError: It cannot be loaded here, or is not an engine of this spec.
        UnknownBackend: Its backend is not installed.
    """
    runner = find_backend(engine.backend).load(engine)
    check_runner(runner, engine.spec, f"The engine of {engine.backend}")
    return runner


def golden_of(bundle: Bundle) -> GoldenSet:
    """Return the bundle's golden set.

    Raises:
        GoldenError: It is none.
        VerificationFailed: It belongs to another model.
    """
    golden = read_golden(bundle.golden, bundle.manifest.golden)
    model = bundle.manifest.file(bundle.manifest.model).sha256
    if golden.model != model:
        raise VerificationFailed(f"The golden set is of model {golden.model[:12]}, the bundle holds {model[:12]}.")
    check_golden(golden, bundle.manifest.spec, bundle.manifest.golden)
    return golden


def run_golden(engine: Engine, golden: GoldenSet) -> str:
    """Return the evidence that an engine answers as the golden set expects.

    Raises:
        EngineError: It cannot be loaded here.
        VerificationFailed: It answers otherwise; the message names the worst row and channel.
    """
    what = f"{engine.backend} {engine.precision}"
    verdict = verify_golden(load_engine(engine), golden)
    if verdict.status != "passed":
        raise VerificationFailed(f"The {what} engine does not reproduce the golden set: {verdict.describe()}.")
    shares = [error / limit for error, limit in zip(verdict.max_error, verdict.tolerance, strict=True) if limit]
    return f"{what}: {verdict.rows:,} rows, at most {max(shares, default=0.0):.1%} of the tolerance used"


def _checks(bundle: Bundle) -> Iterator[Check]:
    manifest = bundle.manifest
    yield Check("files", "passed", f"{len(manifest.files)} files and the manifest have the digests that they should")
    yield _checked("spec", lambda: _check_spec(bundle))
    yield _checked("golden", lambda: "; ".join(_run_engines(bundle)))
    yield _parity(bundle)
    yield _checked(
        "envelope",
        lambda: replay_golden(manifest.envelope, golden_of(bundle), manifest.spec, manifest.period_ns),
    )
    for name in ("signature", "target_device"):
        claim = manifest.claim(name)
        yield Check(name, claim.status if claim.status != "passed" else "not_run", claim.evidence)


def _checked(name: str, run: Callable[[], str]) -> Check:
    try:
        return Check(name, "passed", run())
    except (PlatformError, MissingExtra) as error:
        return Check(name, "not_run", str(error))
    except EdgerlError as error:
        return Check(name, "failed", str(error))


def _check_spec(bundle: Bundle) -> str:
    from edgerl.model import read_model  # noqa: PLC0415  imports onnx, which the rest does not need

    model = read_model(bundle.model, bundle.manifest.model)
    if model.spec != bundle.manifest.spec:
        raise VerificationFailed("The spec in the model is another one than the manifest's.")
    return f"the spec in {bundle.manifest.model} is the manifest's"


def _run_engines(bundle: Bundle) -> Iterator[str]:
    golden = golden_of(bundle)
    for entry in bundle.manifest.engines:
        yield run_golden(engine_of(bundle, entry.backend), golden)


def _parity(bundle: Bundle) -> Check:
    """Return whether the trainer's own actions in the golden set are met; the certificate may have compared more."""
    claim = bundle.manifest.claim("parity")
    try:
        golden = golden_of(bundle)
    except EdgerlError as error:
        return Check("parity", "failed", str(error))
    if golden.expected_trainer is None or not golden.trainer_rows[0] or claim.status != "passed":
        return Check("parity", claim.status if claim.status != "passed" else "not_run", claim.evidence)
    return _checked("parity", lambda: _run_trainer_rows(bundle, golden))


def _run_trainer_rows(bundle: Bundle, golden: GoldenSet) -> str:
    from edgerl.parity import tolerances  # noqa: PLC0415  imports onnx, which the rest does not need

    part = _trainer_part(golden)
    limits = tolerances(bundle.manifest.spec, part.expected_float32).tolist()
    verdict = verify_golden(load_engine(engine_of(bundle)), part, limits)
    if verdict.status != "passed":
        raise VerificationFailed(f"The engine does not act as the trainer did: {verdict.describe()}.")
    claimed = bundle.manifest.claim("parity").evidence
    return f"{verdict.rows:,} of the trainer's own actions met again; when packed: {claimed}"


def _trainer_part(golden: GoldenSet) -> GoldenSet:
    """Return the rows that the trainer answered, with its answers as the expected ones."""
    count = int(np.argmin(np.append(golden.trainer_rows, False)))  # they come first
    return dataclasses.replace(
        golden,
        inputs={name: array[:count] for name, array in golden.inputs.items()},
        episode_start=golden.episode_start[:count],
        expected_float32=(golden.expected_float32 if golden.expected_trainer is None else golden.expected_trainer)[
            :count
        ],
        decided=golden.decided[:count],
        trainer_rows=golden.trainer_rows[:count],
        state={name: array[:count] for name, array in golden.state.items()},
    )
