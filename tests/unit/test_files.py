from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgerl.errors import OutputError
from edgerl.files import fresh_folder, write_file, write_files


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    write_file(path, b"first")
    write_file(str(path), b"second")
    assert listing(tmp_path) == {"policy.onnx": b"second"}


def test_new_files_have_the_rights_that_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "policy.onnx", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "policy.onnx").stat().st_mode & 0o777 == 0o640


def test_of_files_that_belong_together_none_is_written_when_one_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "golden.npz").write_bytes(b"old")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match=r"taken: is there already and is no regular file"):
        write_files({tmp_path / "golden.npz": b"new", tmp_path / "policy.onnx": b"new", tmp_path / "taken": b"new"})
    assert listing(tmp_path) == {"golden.npz": b"old"}


def test_a_disk_that_refuses_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "policy.onnx").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"policy.onnx: could not be written \(No space left on device\)"):
        write_file(tmp_path / "policy.onnx", b"new")
    with pytest.raises(OutputError, match=r"slot: could not be written"), fresh_folder(tmp_path / "slot") as folder:
        (folder / "manifest.json").write_bytes(b"{}")
    assert listing(tmp_path) == {"policy.onnx": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["policy.onnx"]


def test_a_missing_folder_and_a_character_device_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"the folder .*missing does not exist"):
        write_file(tmp_path / "missing" / "policy.onnx", b"")
    with pytest.raises(OutputError, match=r"is no regular file"):
        write_file("/dev/null", b"")


def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to("theirs")
    write_file(tmp_path / "link", b"ours")
    assert not (tmp_path / "link").is_symlink()
    assert listing(tmp_path) == {"link": b"ours", "theirs": b"theirs"}


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with fresh_folder(tmp_path / "slot") as folder:
        (folder / "engines").mkdir()
        (folder / "engines" / "model.onnx").write_bytes(b"model")
        assert not (tmp_path / "slot").exists()
    assert listing(tmp_path) == {"slot/engines/model.onnx": b"model"}
    assert [path.name for path in tmp_path.iterdir()] == ["slot"]


def test_a_folder_vanishes_when_filling_it_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), fresh_folder(tmp_path / "slot") as folder:
        (folder / "model.onnx").write_bytes(b"model")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_a_folder_takes_nobodys_place(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "slot"
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_bytes(b"")
    else:
        place.symlink_to("nowhere")
    with pytest.raises(OutputError, match=r"slot: already exists"), fresh_folder(place):
        pytest.fail("the block must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["slot"]
