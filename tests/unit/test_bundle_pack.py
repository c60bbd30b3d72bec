from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerl.backends import Engine
from edgerl.backends.onnxruntime import OnnxRuntimeBackend
from edgerl.bundle.load import Bundle, bundle_bytes, load_bundle, read_bundle, save_bundle
from edgerl.bundle.manifest import FileEntry
from edgerl.bundle.pack import pack, pack_files
from edgerl.bundle.replay import replay_golden
from edgerl.bundle.verify import engine_of, load_engine, require_verified, verify_bundle, verify_loaded
from edgerl.envelope import Envelope, default_envelope
from edgerl.errors import (
    BundleError,
    EnvelopeError,
    EnvelopeRejectsPolicy,
    GoldenError,
    MissingFacts,
    ParityFailed,
    PlatformError,
    SpecError,
    TargetError,
    UnknownTarget,
    UnreadableFile,
    VerificationFailed,
)
from edgerl.export import Certificate, Export, save_export
from edgerl.golden import GoldenSet, read_golden, save_golden_bytes
from edgerl.golden.rows import make_golden
from edgerl.graph import IR_VERSION, OPSET
from edgerl.model import PolicyModel, seal_model
from edgerl.parity import NOT_RUN, ChannelParity, ParityReport
from edgerl.runtime import core
from edgerl.spec import SCHEMA, Action, Input, PolicySpec, Provenance, Robot, opaque_term, packed
from edgerl.target import load_target

TARGET = load_target("linux-x86_64")
WEIGHT = np.array([[0.5, -0.25], [0.125, 1.0], [-2.0, 0.75]], np.float32)


def spec_of(**changes: Any) -> PolicySpec:
    action = Action("continuous", ("hip", "knee"), None, "opaque", (-1.0,) * 2, (1.0,) * 2, True, False, None, None)
    inputs = packed([Input("observation", (3,), "float32", 0, (opaque_term("observation", 3),))])
    robot = Robot((), None, None, None, "none", None, 1)
    provenance = Provenance("test", "1.0", "PPO", {"model.zip": "ab" * 32}, {}, 7, ())
    return dataclasses.replace(PolicySpec(SCHEMA, inputs, action, robot, 20_000_000, (), provenance, {}), **changes)


def model_of(spec: PolicySpec | None = None, weight: np.ndarray = WEIGHT) -> PolicyModel:
    nodes = [
        helper.make_node("Identity", ["observation"], ["core.in.observation"]),
        helper.make_node("MatMul", ["core.in.observation", "weight"], ["core.out.action"]),
        helper.make_node("Clip", ["core.out.action", "low", "high"], ["action"]),
    ]
    constants = {"weight": weight, "low": np.float32(-1), "high": np.float32(1)}
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return seal_model(spec or spec_of(), proto, "test")


MODEL = model_of()
GOLDEN = make_golden(MODEL, rows=32)
ACTION = MODEL.spec.action
ENVELOPE = default_envelope(MODEL.spec)
WORST = ChannelParity("action channel 0", 2e-5, 1e-6, 3, 0.1, 0.100001, 0)
PASSED = ParityReport("passed", "somewhere/truth.npz", 64, (WORST,), 0, (), (), "not_run")


def certificate_of(**changes: Any) -> Certificate:
    versions = {"edgerl": "0.1"}
    made = Certificate(1, MODEL.digest, GOLDEN.digest, {"model.zip": "ab" * 32}, "cd" * 32, PASSED, (), (), versions)
    return dataclasses.replace(made, **changes)


def pack_small(**changes: Any) -> Bundle:
    parts: dict[str, Any] = {"target": TARGET, "envelope": ENVELOPE, "golden": GOLDEN}
    return pack(changes.pop("model", MODEL), **{**parts, **changes})


def rollout(actions: list[float], starts: list[bool] | None = None) -> GoldenSet:
    """Return a golden set whose rows are one recorded rollout of the first channel."""
    rows = len(actions)
    commands = np.zeros((rows, 2), np.float32)
    commands[:, 0] = actions
    return dataclasses.replace(
        GOLDEN,
        inputs={"observation": np.zeros((rows, 3), np.float32)},
        expected_float32=commands,
        expected_trainer=commands,
        episode_start=np.array(starts or [True] + [False] * (rows - 1)),
        trainer_rows=np.ones(rows, bool),
        decided=np.ones((rows, 2), bool),
    )


def limited(**changes: Any) -> Envelope:
    """Return the envelope with other limits of the first channel."""
    hip, knee = ENVELOPE.channels
    return dataclasses.replace(ENVELOPE, channels=(dataclasses.replace(hip, **changes), knee))


def test_a_packed_bundle_proves_its_claims(tmp_path: Path) -> None:
    bundle = pack_small(certificate=certificate_of(), release=7)
    save_bundle(bundle, tmp_path / "x.edgerl")
    loaded = load_bundle(tmp_path / "x.edgerl")
    assert loaded.manifest == bundle.manifest
    assert {claim.name: claim.status for claim in loaded.manifest.claims} == {
        "parity": "passed",
        "golden": "passed",
        "envelope": "passed",
        "signature": "not_run",
        "target_device": "not_run",
    }
    assert loaded.manifest.claim("parity").evidence == (
        "64 rows of truth.npz: largest difference 1e-06 of 2e-05 allowed, in action channel 0"
    )
    verification = verify_bundle(tmp_path / "x.edgerl")
    assert verification.status == "passed"
    assert (verification.digest, verification.release) == (bundle.digest, 7)
    require_verified(verification, "x.edgerl")


def test_the_engine_of_a_bundle_runs() -> None:
    runner = load_engine(engine_of(pack_small()))
    runner.inputs["observation"][:] = [[1.0, 0.0, 0.25]]
    runner.infer()
    assert runner.outputs["action"].tolist() == [[0.0, -0.0625]]


def test_the_model_that_is_its_own_engine_is_stored_once() -> None:
    bundle = pack_small()
    assert sorted(bundle.files) == ["golden.npz", "model.onnx"]
    assert bundle.manifest.engines[0].files == {"policy.onnx": "model.onnx"}


def test_packing_gives_the_same_bytes_in_every_process() -> None:
    code = f"import runpy; names = runpy.run_path({__file__!r}); print(names['packed_digest']())"
    for seed in ("0", "99"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        root = Path(__file__).parents[2]
        answer = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, check=True
        )
        assert answer.stdout.decode().strip() == packed_digest()


def packed_digest() -> str:
    return hashlib.sha256(bundle_bytes(pack_small(certificate=certificate_of()))).hexdigest()


def test_a_spec_with_unknowns_is_refused_with_the_list() -> None:
    model = model_of(spec_of(period_ns=None))
    with pytest.raises(MissingFacts, match=r"Packing needs facts.*\n  period_s: "):
        pack(model, target=TARGET, envelope=ENVELOPE, golden=GOLDEN)


def test_parts_of_another_model_are_refused() -> None:
    other = model_of(weight=WEIGHT * 2)
    with pytest.raises(BundleError, match=r"The golden set belongs to model .*Take all parts from the same export"):
        pack_small(golden=make_golden(other, rows=16))
    with pytest.raises(BundleError, match=r"The certificate belongs to model"):
        pack_small(certificate=certificate_of(model=other.digest))
    with pytest.raises(BundleError, match=r"The engine of onnxruntime belongs to model"):
        pack_small(engines=[OnnxRuntimeBackend().compile(other, TARGET)])


def test_an_engine_for_another_target_is_refused() -> None:
    engine = OnnxRuntimeBackend().compile(MODEL, load_target("linux-aarch64"))
    with pytest.raises(BundleError, match=r"was built for 'linux-aarch64'; this bundle is for 'linux-x86_64'"):
        pack_small(engines=[engine])
    with pytest.raises(TargetError, match=r"does not take int8"):
        pack_small(engines=[dataclasses.replace(engine, precision="int8")])


def test_a_period_that_the_target_does_not_promise_is_refused() -> None:
    model = model_of(spec_of(period_ns=500_000))
    with pytest.raises(TargetError, match=r"control periods from 0.001 s to 1 s"):
        pack(model, target=TARGET, envelope=default_envelope(model.spec), golden=make_golden(model, rows=16))


def test_an_envelope_of_another_policy_is_refused() -> None:
    with pytest.raises(EnvelopeError, match=r"does not fit this policy"):
        pack_small(envelope=dataclasses.replace(ENVELOPE, channels=ENVELOPE.channels[::-1]))


def test_a_parity_that_failed_is_never_packed() -> None:
    wrong = dataclasses.replace(PASSED.channels[0], max_error=0.5, wrong=3)
    failed = dataclasses.replace(PASSED, status="failed", channels=(wrong,))
    with pytest.raises(ParityFailed):
        pack_small(certificate=certificate_of(parity=failed))


def test_without_truth_the_claim_of_parity_was_not_run() -> None:
    for certificate in (None, certificate_of(parity=NOT_RUN)):
        claim = pack_small(certificate=certificate).manifest.claim("parity")
        assert claim.status == "not_run"
        assert claim.evidence


def test_an_engine_that_answers_otherwise_is_refused() -> None:
    lying = Engine("onnxruntime", TARGET.name, "float32", MODEL.digest, MODEL.spec, {
        "policy.onnx": model_of(weight=WEIGHT * 1.01).onnx,
    })  # fmt: skip
    with pytest.raises(VerificationFailed, match=r"onnxruntime float32 engine does not reproduce the golden set: row"):
        pack_small(engines=[lying])


def test_a_golden_set_of_another_form_is_refused() -> None:
    wide = dataclasses.replace(GOLDEN, inputs={"observation": np.zeros((32, 4), np.float32)})
    with pytest.raises(
        GoldenError, match=r"'input observation' is \(\(32, 4\), 'float32'\), the spec says \(\(32, 3\)"
    ):
        pack_small(golden=wide)
    named = dataclasses.replace(GOLDEN, inputs={"observation.camera": GOLDEN.inputs["observation"]})
    with pytest.raises(GoldenError, match=r"'input observation' is None"):
        pack_small(golden=named)


@pytest.mark.parametrize("on_violation", ["reject", "saturate"])
def test_limits_that_would_stop_the_policy_are_refused_by_row_channel_value_and_limit(on_violation: str) -> None:
    envelope = limited(high=0.5, on_violation=on_violation)
    row = int(np.argmax(GOLDEN.expected_float32[:, 0] > 0.5))
    value = float(GOLDEN.expected_float32[row, 0])
    count = int(np.count_nonzero(GOLDEN.expected_float32[:, 0] > 0.5))
    with pytest.raises(EnvelopeRejectsPolicy) as caught:
        pack_small(envelope=envelope)
    message = str(caught.value)
    assert f"Row {row} of the golden set: channel 'hip' is {value:.9g}, above high = 0.5." in message
    assert f"{count} of the 32 golden actions" in message
    assert caught.value.exit_code == 3


def test_an_action_at_its_limit_passes() -> None:
    assert "3 golden actions within range" in replay_golden(
        limited(low=-0.1, high=0.1), rollout([-0.1, 0.1, 0.0]), spec_of(action=ACTION), 10**7
    )


def test_what_is_judged_is_the_command_and_not_the_action() -> None:
    scaled = dataclasses.replace(ACTION, scale=(0.5, 1.0), offset=(0.25, 0.0))
    golden = rollout([0.4, 0.5])
    replay_golden(limited(low=-0.1, high=0.5), golden, spec_of(action=scaled), 10**7)
    with pytest.raises(EnvelopeRejectsPolicy, match=r"Row 1 .*'hip' is 0.5, above high = 0.49"):
        replay_golden(limited(low=-0.1, high=0.49), golden, spec_of(action=scaled), 10**7)


def test_rate_and_acceleration_are_judged_within_a_rollout() -> None:
    golden = rollout([0.0, 0.1, 0.2, 0.1])
    period_ns = 20_000_000
    replay_golden(limited(max_rate=5.1, max_acceleration=510.0), golden, spec_of(action=ACTION), period_ns)
    with pytest.raises(
        EnvelopeRejectsPolicy, match=r"Row 1 .*'hip' is 0.100.* after 0 in one period, faster than max_rate = 4.9"
    ):
        replay_golden(limited(max_rate=4.9), golden, spec_of(action=ACTION), period_ns)
    with pytest.raises(EnvelopeRejectsPolicy, match=r"Row 3 .* beyond max_acceleration = 490 per second squared"):
        replay_golden(limited(max_acceleration=490.0), golden, spec_of(action=ACTION), period_ns)


@pytest.mark.parametrize(
    "golden",
    [
        rollout([0.0, 1.0, 0.0], [True, True, True]),
        dataclasses.replace(rollout([0.0, 1.0, 0.0]), trainer_rows=np.zeros(3, bool)),
        dataclasses.replace(rollout([0.0, 1.0, 0.0]), trainer_rows=np.array([True, False, True])),
    ],
)
def test_rows_that_stand_alone_have_no_rate(golden: GoldenSet) -> None:
    assert "no rollout to judge rates by" in replay_golden(
        limited(max_rate=0.1), golden, spec_of(action=ACTION), 20_000_000
    )


def test_an_action_that_is_not_finite_is_refused() -> None:
    with pytest.raises(EnvelopeRejectsPolicy, match=r"Row 1 .*'hip' is nan, which is not finite"):
        replay_golden(
            limited(on_violation="saturate"), rollout([0.0, float("nan")]), spec_of(action=ACTION), 20_000_000
        )


def test_without_the_core_packing_says_that_it_needs_linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    core.library.cache_clear()
    monkeypatch.setenv("EDGERL_CORE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(PlatformError, match=r"Linux"):
        pack_small()
    monkeypatch.undo()
    core.library.cache_clear()


def _repacked(bundle: Bundle, **files: bytes) -> Bundle:
    """Return a bundle with other files, whose digests are in order, as somebody who can write files could make it."""
    changed = {**bundle.files, **{name.replace("_", "."): data for name, data in files.items()}}
    entries = tuple(FileEntry(p, hashlib.sha256(d).hexdigest(), len(d)) for p, d in sorted(changed.items()))
    model = hashlib.sha256(changed["model.onnx"]).hexdigest()
    engines = tuple(dataclasses.replace(engine, parent=model) for engine in bundle.manifest.engines)
    return read_bundle(
        bundle_bytes(Bundle(dataclasses.replace(bundle.manifest, files=entries, engines=engines), changed)), "x.edgerl"
    )


def test_verification_finds_a_golden_set_that_was_exchanged() -> None:
    other = dataclasses.replace(GOLDEN, expected_float32=GOLDEN.expected_float32 + np.float32(0.01))
    verification = verify_loaded(_repacked(pack_small(), golden_npz=save_golden_bytes(other)))
    assert verification.status == "failed"
    assert [check.name for check in verification.claims if check.status == "failed"] == ["golden", "envelope"]
    with pytest.raises(VerificationFailed, match=r"x.edgerl: 'golden' does not hold .*does not reproduce"):
        require_verified(verification, "x.edgerl")


def test_verification_finds_a_model_whose_spec_is_another() -> None:
    other = model_of(spec_of(period_ns=30_000_000))
    golden = dataclasses.replace(GOLDEN, model=other.digest)
    bundle = _repacked(pack_small(), model_onnx=other.onnx, golden_npz=save_golden_bytes(golden))
    failed = [check for check in verify_loaded(bundle).claims if check.status == "failed"]
    assert [check.name for check in failed] == ["spec"]
    assert "another one than the manifest's" in failed[0].evidence


@pytest.mark.parametrize(
    "golden",
    [b"", b"PK", save_golden_bytes(dataclasses.replace(GOLDEN, model="00" * 32)),
     save_golden_bytes(dataclasses.replace(GOLDEN, inputs={"observation": np.zeros((32, 4), np.float32)}))],
)  # fmt: skip
def test_verification_of_a_file_that_is_no_golden_set_fails_and_does_not_raise(golden: bytes) -> None:
    states = {check.name: check.status for check in verify_loaded(_repacked(pack_small(), golden_npz=golden)).claims}
    assert (states["files"], states["golden"], states["envelope"]) == ("passed", "failed", "failed")


def test_verification_of_a_file_that_is_no_model_fails_and_does_not_raise() -> None:
    states = {check.name: check.status for check in verify_loaded(_repacked(pack_small(), model_onnx=b"onnx")).claims}
    assert (states["files"], states["spec"], states["golden"]) == ("passed", "failed", "failed")


def test_verification_runs_the_trainers_own_actions_again() -> None:
    truth = np.where(np.arange(32)[:, None] < 20, GOLDEN.expected_float32, 0.0).astype(np.float32)
    golden = dataclasses.replace(GOLDEN, expected_trainer=truth, trainer_rows=np.arange(32) < 20)
    bundle = pack_small(golden=golden, certificate=certificate_of())
    parity = {check.name: check for check in verify_loaded(bundle).claims}["parity"]
    assert parity.status == "passed"
    assert parity.evidence.startswith("20 of the trainer's own actions met again; when packed: 64 rows")
    truth[19, 1] += 1e-3
    changed = dataclasses.replace(golden, expected_trainer=truth)
    bundle = _repacked(bundle, golden_npz=save_golden_bytes(changed))
    parity = {check.name: check for check in verify_loaded(bundle).claims}["parity"]
    assert parity.status == "failed"
    assert "row 19, channel 1" in parity.evidence


def test_a_claim_that_nobody_ran_again_never_passes() -> None:
    claims = tuple(dataclasses.replace(claim, status="passed") for claim in pack_small().manifest.claims)
    bundle = pack_small()
    forged = Bundle(dataclasses.replace(bundle.manifest, claims=claims), bundle.files)
    states = {check.name: check.status for check in verify_loaded(forged).claims}
    assert states == {
        "files": "passed", "spec": "passed", "golden": "passed", "envelope": "passed",
        "parity": "not_run", "signature": "not_run", "target_device": "not_run",
    }  # fmt: skip


def test_what_was_packed_reads_back_as_the_same_golden_set() -> None:
    assert read_golden(save_golden_bytes(GOLDEN), "golden").digest == GOLDEN.digest


ENVELOPE_FILE = """
schema = 1
on_reject = "safe"
safe_command = { hip = 0.0, knee = 0.5 }
[loop]
budget_s = 0.01
valid_for_s = 0.04
state_timeout_s = 0.1
degrade = { misses = 2, of_ticks = 10 }
[ladder]
hold_s = 0.02
safe_s = 1.0
[default]
low = -1.0
high = 1.0
max_rate = inf
"""


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The ONNX file of an export, its golden set and certificate beside it."""
    save_export(Export(MODEL, GOLDEN, certificate_of()), tmp_path / "policy.onnx")
    (tmp_path / "envelope.toml").write_text(ENVELOPE_FILE)
    return tmp_path / "policy.onnx"


def test_an_export_is_packed_from_its_files(exported: Path) -> None:
    output = exported.parent / "x.edgerl"
    bundle = pack_files(exported, output, target=TARGET.name, envelope=exported.with_name("envelope.toml"), release=2)
    loaded = load_bundle(output)
    assert loaded.manifest == bundle.manifest
    assert loaded.manifest.claim("parity").status == "passed"
    assert (loaded.manifest.release, loaded.manifest.envelope.origin) == (2, "file")
    assert loaded.manifest.envelope.safe_command == (0.0, 0.5)
    assert (loaded.files["certificate.json"] + b"\n") == exported.with_name("policy.certificate.json").read_bytes()


def test_an_envelope_is_derived_where_none_is_given_and_says_so(exported: Path) -> None:
    bundle = pack_files(exported, exported.parent / "x.edgerl", target=TARGET.name)
    assert bundle.manifest.envelope == ENVELOPE
    assert bundle.manifest.envelope.origin == "action_box"


def test_an_export_without_its_certificate_is_packed_without_the_claim(exported: Path) -> None:
    exported.with_name("policy.certificate.json").unlink()
    bundle = pack_files(exported, exported.parent / "x.edgerl", target=TARGET.name)
    assert bundle.manifest.claim("parity").status == "not_run"


def test_nothing_is_written_when_packing_is_refused(exported: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    output = tmp_path / "x.edgerl"
    with pytest.raises(UnknownTarget, match=r"Installed targets: linux-aarch64, linux-x86_64"):
        pack_files(exported, output, target="jetson")
    with pytest.raises(EnvelopeError, match=r"missing.toml: could not be read"):
        pack_files(exported, output, target=TARGET.name, envelope=tmp_path / "missing.toml")
    with pytest.raises(UnreadableFile, match=r"missing.json"):
        pack_files(exported, output, target=TARGET.name, certificate=tmp_path / "missing.json")
    with pytest.raises(SpecError, match=r"broken.json"):
        exported.with_name("broken.json").write_text("{")
        pack_files(exported, output, target=TARGET.name, certificate=tmp_path / "broken.json")
    exported.with_name("broken.json").unlink()
    other = dataclasses.replace(GOLDEN, tolerance=GOLDEN.tolerance * 2)
    exported.with_name("other.npz").write_bytes(save_golden_bytes(other))
    with pytest.raises(BundleError, match=r"was written for golden set .*Take all parts from the same export"):
        pack_files(exported, output, target=TARGET.name, golden=tmp_path / "other.npz")
    exported.with_name("other.npz").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_bundle_survives_a_refusal(exported: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.edgerl"
    pack_files(exported, output, target=TARGET.name)
    before = output.read_bytes()
    tight = ENVELOPE_FILE.replace("high = 1.0", "high = 0.5")
    (tmp_path / "envelope.toml").write_text(tight)
    with pytest.raises(EnvelopeRejectsPolicy):
        pack_files(exported, output, target=TARGET.name, envelope=tmp_path / "envelope.toml")
    assert output.read_bytes() == before
