from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl import canonical
from edgerl.bundle.archive import read_archive, write_archive
from edgerl.bundle.compare import describe_bundle, diff_bundles
from edgerl.bundle.load import Bundle, bundle_bytes, load_bundle, read_bundle, save_bundle, unpack_bundle
from edgerl.bundle.manifest import (
    MANIFEST_NAME,
    Claim,
    EngineEntry,
    FileEntry,
    Manifest,
    Versions,
    read_manifest,
    write_manifest,
)
from edgerl.envelope import default_envelope
from edgerl.errors import (
    BundleError,
    DamagedBundle,
    EdgerlError,
    EnvelopeError,
    ManifestError,
    OutputError,
    SchemaTooNew,
    TargetError,
    UnsafePath,
)
from edgerl.spec import SCHEMA, Action, Input, PolicySpec, Provenance, Robot, opaque_term, packed
from edgerl.target import load_target

WHERE = "small.edgerl"
FILES = {"certificate.json": b"{}", "golden.npz": b"golden" * 9, "model.onnx": b"model" * 20}
CLAIMS = tuple(
    Claim(name, "not_run", "made by a test")  # type: ignore[arg-type]
    for name in ("envelope", "golden", "parity", "signature", "target_device")
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def small_spec() -> PolicySpec:
    action = Action("continuous", ("hip", "knee"), None, "opaque", (-1.0,) * 2, (1.0,) * 2, True, False, None, None)
    inputs = packed([Input("observation", (3,), "float32", 0, (opaque_term("observation", 3),))])
    robot = Robot((), None, None, None, "none", None, 1)
    provenance = Provenance("test", "1.0", "PPO", {"model.zip": "ab" * 32}, {}, 7, ("os.system",))
    return PolicySpec(SCHEMA, inputs, action, robot, 20_000_000, (), provenance, {"period_ns": "user"})


def small_manifest(files: dict[str, bytes] | None = None, **changes: Any) -> Manifest:
    files = FILES if files is None else files
    values: dict[str, Any] = {
        "schema": 1,
        "release": 1,
        "created": None,
        "spec": small_spec(),
        "target": load_target("linux-x86_64"),
        "envelope": default_envelope(small_spec()),
        "model": "model.onnx",
        "engines": (EngineEntry("onnxruntime", "float32", sha256(FILES["model.onnx"]), {"policy.onnx": "model.onnx"}),),
        "golden": "golden.npz",
        "certificate": "certificate.json",
        "files": tuple(FileEntry(path, sha256(data), len(data)) for path, data in sorted(files.items())),
        "claims": CLAIMS,
        "versions": Versions("0.1", "1.19", "1.23", "3.11"),
    }
    return Manifest(**{**values, **changes})


def small_bundle(**changes: Any) -> Bundle:
    return Bundle(small_manifest(**changes), FILES)


GOOD = bundle_bytes(small_bundle())


def with_manifest(change: Any) -> bytes:
    """Return the bundle's file with a manifest that was edited as JSON, everything else being in order."""
    members = read_archive(GOOD, WHERE)
    plain = json.loads(members[MANIFEST_NAME])
    change(plain)
    members[MANIFEST_NAME] = canonical.dumps(plain).encode()
    return write_archive(members)


def test_a_bundle_reads_back_equal_and_byte_for_byte(tmp_path: Path) -> None:
    save_bundle(small_bundle(), tmp_path / WHERE)
    bundle = load_bundle(tmp_path / WHERE)
    assert bundle.manifest == small_manifest()
    assert bundle.files == FILES
    assert bundle_bytes(bundle) == GOOD == (tmp_path / WHERE).read_bytes()
    assert bundle.digest == sha256(read_archive(GOOD, WHERE)[MANIFEST_NAME])


def test_engines_are_found_by_backend() -> None:
    bundle = small_bundle()
    entry, files = bundle.engine()
    assert (entry.backend, files) == ("onnxruntime", {"policy.onnx": FILES["model.onnx"]})
    assert bundle.engine("onnxruntime")[0] == entry
    with pytest.raises(BundleError, match=r"no engine of backend 'tensorrt'. Its engines: onnxruntime"):
        bundle.engine("tensorrt")


def test_the_bytes_are_the_same_in_every_process() -> None:
    code = f"import hashlib, runpy; print(hashlib.sha256(runpy.run_path({__file__!r})['GOOD']).hexdigest())"
    for seed in ("0", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Kathmandu", "LC_ALL": "C"}
        root = Path(__file__).parents[2]
        answer = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, check=True
        )
        assert answer.stdout.decode().strip() == sha256(GOOD)


def test_a_changed_byte_anywhere_is_refused() -> None:
    chance = random.Random(20260131)
    for position in range(len(GOOD)):
        damaged = bytearray(GOOD)
        damaged[position] ^= chance.randrange(1, 256)
        with pytest.raises((DamagedBundle, UnsafePath)) as caught:
            read_bundle(bytes(damaged), WHERE)
        assert caught.value.exit_code == 3


@pytest.mark.parametrize("path", sorted(FILES))
def test_a_file_changed_with_its_checksum_made_right_is_refused(path: str) -> None:
    members = read_archive(GOOD, WHERE)
    members[path] = bytes([members[path][0] ^ 1]) + members[path][1:]
    with pytest.raises(DamagedBundle, match=rf"{path} has the SHA-256 .*, the manifest says {sha256(FILES[path])}"):
        read_bundle(write_archive(members), WHERE)


@pytest.mark.parametrize("path", sorted(FILES))
def test_a_missing_file_is_refused(path: str) -> None:
    members = read_archive(GOOD, WHERE)
    del members[path]
    with pytest.raises(DamagedBundle, match=rf"{path} is missing"):
        read_bundle(write_archive(members), WHERE)


def test_a_bundle_without_a_manifest_is_refused() -> None:
    with pytest.raises(DamagedBundle, match=r"manifest.json is missing"):
        read_bundle(write_archive(FILES), WHERE)


@pytest.mark.parametrize("path", ["extra.bin", "engines/onnxruntime/extra.so", "manifest.json.bak"])
def test_a_file_too_many_is_refused(path: str) -> None:
    with pytest.raises(DamagedBundle, match=rf"{path} is in it, but not in its manifest"):
        read_bundle(write_archive({**read_archive(GOOD, WHERE), path: b""}), WHERE)


def _newer(plain: dict[str, Any]) -> None:
    plain["schema"] = 2
    plain["something"] = "new"


def test_a_newer_schema_is_refused_as_such() -> None:
    with pytest.raises(SchemaTooNew, match=r"manifest has schema 2; this edgerl reads up to 1. Update edgerl"):
        read_bundle(with_manifest(_newer), WHERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.update(comment="hi"), r"unknown key 'comment'"),
        (lambda plain: plain["spec"]["robot"].update(mass=3), r"unknown key 'mass'"),
        (lambda plain: plain["envelope"]["channels"][0].update(lo=3), r"unknown key 'lo'"),
        (lambda plain: plain.pop("release"), r"key 'release' is missing"),
        (lambda plain: plain.update(release=0), r"release is 0"),
        (lambda plain: plain.update(release=True), r"release: expected an integer"),
        (lambda plain: plain.update(schema=0), r"schema 0 does not exist"),
        (lambda plain: plain.update(created="yesterday"), r"created is 'yesterday'"),
        (lambda plain: plain["spec"].update(period_ns=None), r"period_s of the spec is unknown"),
        (lambda plain: plain["spec"].update(period_ns=10**12), r"good for control periods|does not fit"),
        (lambda plain: plain["envelope"]["channels"][0].update(high=-5.0), r"low below high"),
        (lambda plain: plain["envelope"].update(budget_ns=20_000_000), r"budget_s is 0.02 s"),
        (lambda plain: plain["envelope"]["channels"].reverse(), r"its channels are knee, hip"),
        (lambda plain: plain["engines"][0].update(backend="tensorrt"), r"does not take backend 'tensorrt'"),
        (lambda plain: plain["engines"][0].update(precision="int8"), r"does not take int8 engines"),
        (lambda plain: plain["engines"][0].update(parent="00" * 32), r"compiled from another model"),
        (lambda plain: plain["engines"][0].update(files={}), r"has no files"),
        (lambda plain: plain["engines"][0].update(files={"../policy.onnx": "model.onnx"}), r"no plain file name"),
        (lambda plain: plain["engines"][0].update(files={".policy": "model.onnx"}), r"no plain file name"),
        (lambda plain: plain["engines"].append(plain["engines"][0]), r"one of each backend"),
        (lambda plain: plain.update(engines=[]), r"valid is one or more"),
        (lambda plain: plain.update(certificate=None), r"'certificate.json' is among the files and nothing uses it"),
        (lambda plain: plain.update(golden="golden2.npz"), r"'golden2.npz' is named and not among the files"),
        (lambda plain: plain["files"].reverse(), r"not in order, or one is named twice"),
        (lambda plain: plain["files"].append(plain["files"][-1]), r"not in order, or one is named twice"),
        (lambda plain: plain["files"][0].update(sha256="AB" * 32), r"has the SHA-256 'ABAB"),
        (lambda plain: plain["files"][0].update(size=-1), r"and -1 bytes"),
        (lambda plain: plain["files"][0].update(size=3), r"certificate.json has the SHA-256"),
        (lambda plain: plain["claims"].pop(), r"valid is each of .* once"),
        (lambda plain: plain["claims"][0].update(status="sure"), r"'sure' is not one of passed, failed, not_run"),
        (lambda plain: plain["claims"][0].update(evidence=" "), r"the claim envelope has no evidence"),
        (lambda plain: plain["spec"]["provenance"].update(trainer="\ud800"), r"not valid"),
    ],
)  # fmt: skip
def test_a_manifest_that_pack_would_not_write_is_refused(change: Any, message: str) -> None:
    def encoded(plain: dict[str, Any]) -> bytes:
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return text.encode()

    members = read_archive(GOOD, WHERE)
    plain = json.loads(members[MANIFEST_NAME])
    change(plain)
    members[MANIFEST_NAME] = encoded(plain)
    with pytest.raises(DamagedBundle, match=message) as caught:
        read_bundle(write_archive(members), WHERE)
    assert str(caught.value).startswith(WHERE)


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b'{"schema":1,"schema":1}', b"1e999"])
def test_a_manifest_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedBundle, match=r"manifest.json is not valid"):
        read_manifest(data, WHERE)


def test_a_manifest_in_another_form_of_json_is_refused() -> None:
    data = write_manifest(small_manifest())
    with pytest.raises(DamagedBundle, match=r"not canonical JSON"):
        read_manifest(data + b"\n", WHERE)
    with pytest.raises(DamagedBundle, match=r"not canonical JSON"):
        read_manifest(json.dumps(json.loads(data), indent=1).encode(), WHERE)


@given(st.data())
def test_no_edit_of_a_manifest_raises_anything_but_a_refusal(data: st.DataObject) -> None:
    plain = json.loads(write_manifest(small_manifest()))
    place: Any = plain
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    place[key] = data.draw(leaf | st.lists(leaf, max_size=3) | st.dictionaries(st.text(max_size=3), leaf, max_size=2))
    try:
        manifest = read_manifest(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode(), WHERE)
    except EdgerlError as error:
        assert isinstance(error, (DamagedBundle, SchemaTooNew))
    else:
        assert canonical.to_plain(manifest) == plain


def test_a_manifest_is_checked_when_it_is_made() -> None:
    with pytest.raises(ManifestError, match=r"release is -1"):
        small_manifest(release=-1)
    with pytest.raises(TargetError):
        small_manifest(spec=dataclasses.replace(small_spec(), period_ns=500_000), envelope=_fast_envelope())
    with pytest.raises(EnvelopeError):
        small_manifest(spec=dataclasses.replace(small_spec(), period_ns=10_000_000))


def _fast_envelope() -> Any:
    return default_envelope(dataclasses.replace(small_spec(), period_ns=500_000))


def test_nothing_is_left_behind_when_a_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / WHERE).write_bytes(GOOD[:-1] + b"\x01")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DamagedBundle):
        unpack_bundle(tmp_path / WHERE, tmp_path / "slot")
    (tmp_path / WHERE).write_bytes(with_manifest(lambda plain: plain.update(release=0)))
    with pytest.raises(DamagedBundle):
        unpack_bundle(tmp_path / WHERE, tmp_path / "slot")
    with pytest.raises(OutputError):
        save_bundle(small_bundle(), tmp_path / "missing" / WHERE)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bundle_is_unpacked_whole(tmp_path: Path) -> None:
    (tmp_path / WHERE).write_bytes(GOOD)
    unpack_bundle(tmp_path / WHERE, tmp_path / "slot")
    found = {path.name: path.read_bytes() for path in (tmp_path / "slot").iterdir()}
    assert found == {**FILES, MANIFEST_NAME: write_manifest(small_manifest())}


def test_a_description_proves_the_line_back_to_the_checkpoint() -> None:
    described = describe_bundle(small_bundle())
    assert [(one.what, one.sha256) for one in described.line] == [
        ("checkpoint model.zip", "ab" * 32),
        ("model", sha256(FILES["model.onnx"])),
        ("engine onnxruntime float32 policy.onnx", sha256(FILES["model.onnx"])),
        ("bundle", small_bundle().digest),
    ]
    assert described.size == sum(len(data) for data in FILES.values())
    assert canonical.dumps(described)


def test_equal_bundles_do_not_differ() -> None:
    assert diff_bundles(small_bundle(), read_bundle(GOOD, WHERE)) == ()


def test_a_difference_names_field_and_file_with_both_sides() -> None:
    files = {**FILES, "golden.npz": b"other"}
    knee = dataclasses.replace(small_manifest().envelope.channels[1], high=0.5)
    envelope = dataclasses.replace(
        small_manifest().envelope, channels=(small_manifest().envelope.channels[0], knee), allow_lockstep=True
    )
    other = Bundle(small_manifest(files, release=2, envelope=envelope), files)
    found = [(one.kind, one.where, one.left, one.right) for one in diff_bundles(small_bundle(), other)]
    assert found == [
        ("field", "envelope.allow_lockstep", "false", "true"),
        ("field", "envelope.channels[knee].high", "1.0", "0.5"),
        ("field", "release", "1", "2"),
        ("file", "golden.npz", sha256(FILES["golden.npz"]), sha256(b"other")),
    ]
