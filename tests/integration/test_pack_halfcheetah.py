"""The example from its checkpoint to a verified bundle, as `edgerl export`, `pack` and `verify` do it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgerl.bundle import bundle_bytes, load_bundle, pack_files, verify_bundle
from edgerl.bundle.verify import engine_of, load_engine
from edgerl.errors import DamagedBundle, EnvelopeRejectsPolicy, MissingFacts
from edgerl.export import export_policy, save_export
from edgerl.importers import read_checkpoint

EXAMPLE = Path(__file__).parents[2] / "examples" / "halfcheetah"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "policy.onnx"
    read = read_checkpoint(EXAMPLE / "model.zip")
    save_export(export_policy(read, truth=EXAMPLE / "truth.npz", spec=EXAMPLE / "spec.toml"), path)
    return path


def test_the_example_is_packed_and_verified(policy: Path, tmp_path: Path) -> None:
    output = tmp_path / "cheetah.edgerl"
    bundle = pack_files(policy, output, target="linux-x86_64", envelope=EXAMPLE / "envelope.toml")
    verification = verify_bundle(output)
    assert verification.status == "passed"
    assert {check.name for check in verification.claims if check.status == "passed"} == {
        "files", "spec", "golden", "parity", "envelope",
    }  # fmt: skip
    assert verification.digest == bundle.digest
    assert bundle.manifest.period_ns == 50_000_000
    assert [channel.name for channel in bundle.manifest.envelope.channels] == list(
        bundle.manifest.spec.action.names or ()
    )
    assert bundle_bytes(load_bundle(output)) == output.read_bytes()


def test_packing_twice_gives_the_same_file(policy: Path, tmp_path: Path) -> None:
    for name in ("a.edgerl", "b.edgerl"):
        pack_files(policy, tmp_path / name, target="linux-aarch64", envelope=EXAMPLE / "envelope.toml")
    assert (tmp_path / "a.edgerl").read_bytes() == (tmp_path / "b.edgerl").read_bytes()


def test_the_bundles_engine_runs_from_the_bundle_alone(policy: Path, tmp_path: Path) -> None:
    pack_files(policy, tmp_path / "x.edgerl", target="linux-x86_64", envelope=EXAMPLE / "envelope.toml")
    runner = load_engine(engine_of(load_bundle(tmp_path / "x.edgerl")))
    runner.infer()
    assert runner.outputs["action"].shape == (1, 6)


def test_without_the_robots_facts_the_example_is_not_packed(tmp_path: Path) -> None:
    save_export(export_policy(read_checkpoint(EXAMPLE / "model.zip")), tmp_path / "policy.onnx")
    with pytest.raises(MissingFacts, match=r"period_s"):
        pack_files(tmp_path / "policy.onnx", tmp_path / "x.edgerl", target="linux-x86_64")
    assert not (tmp_path / "x.edgerl").exists()


def test_an_envelope_that_the_cheetah_would_break_is_refused(policy: Path, tmp_path: Path) -> None:
    text = (EXAMPLE / "envelope.toml").read_text()
    (tmp_path / "tight.toml").write_text(text.replace("high = 1.0", "high = 0.9"))
    with pytest.raises(EnvelopeRejectsPolicy, match=r"channel 'b?f?\w+' is .*, above high = 0.9"):
        pack_files(policy, tmp_path / "x.edgerl", target="linux-x86_64", envelope=tmp_path / "tight.toml")


def test_bytes_changed_all_over_the_packed_example_are_refused(policy: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.edgerl"
    pack_files(policy, output, target="linux-x86_64", envelope=EXAMPLE / "envelope.toml")
    good = output.read_bytes()
    before = sorted(tmp_path.iterdir())
    for position in range(0, len(good), len(good) // 200):
        output.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        with pytest.raises(DamagedBundle):
            verify_bundle(output)
    assert sorted(tmp_path.iterdir()) == before
