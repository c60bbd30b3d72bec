from __future__ import annotations

from pathlib import Path

import pytest

from edgerl import canonical
from edgerl.errors import TargetError, UnknownTarget
from edgerl.target import FILE_NAME, Target, known_targets, load_target

GOOD = """
schema = 1
name = "board"
description = "A board."
notes = "Not tried."
[cpu]
arch = "aarch64"
os = "linux"
flags = ["-mcpu=cortex-a72"]
[period]
min_s = 0.002
max_s = 0.5
[backends.onnxruntime]
precisions = ["float32"]
"""


def write(folder: Path, text: str) -> Path:
    folder.mkdir()
    path = folder / FILE_NAME
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", known_targets())
def test_every_target_of_the_repository_loads_and_reads_back_from_json(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.backends
    assert canonical.loads(Target, canonical.dumps(target), name) == target


def test_both_linux_targets_are_known() -> None:
    assert {"linux-x86_64", "linux-aarch64"} <= set(known_targets())


def test_a_target_of_ones_own_is_loaded_from_its_folder_or_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "board", GOOD)
    target = load_target(path.parent)
    assert target == load_target(str(path))
    assert target.cpu_flags == ("-mcpu=cortex-a72",)
    assert (target.min_period_ns, target.max_period_ns) == (2_000_000, 500_000_000)
    assert target.backends == {"onnxruntime": ("float32",)}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTarget, match=r"linux-aarch64, linux-x86_64.*targets/README.md"):
        load_target("jetson-orin")


@pytest.mark.parametrize("name", ["", "..", ".", "README.md", "linux-x86_64\x00"])
def test_a_name_is_never_a_way_out_of_the_folder(name: str) -> None:
    with pytest.raises(UnknownTarget):
        load_target(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "board"', 'nam = "board"', r"unknown key 'nam'. Known keys: .*description, name"),
        ('arch = "aarch64"', 'arch = "arm"', r"\[cpu\]: arch is 'arm'. Valid: x86_64, aarch64"),
        ("schema = 1", "schema = 2", r"schema is 2. This edgerl reads 1"),
        ("schema = 1", "schema = true", r"schema is True. Expected an integer"),
        ('["float32"]', '["float64"]', r"precision 'float64' is unknown. Valid: float32, float16, int8"),
        ('["float32"]', "[]", r"precisions is empty"),
        ('["float32"]', '["float32", "float32"]', r"each given once"),
        ("min_s = 0.002", "min_s = 0.9", r"min_s 0.9 is above max_s 0.5"),
        ("min_s = 0.002", "min_s = nan", r"min_s is nan. Expected a finite number"),
        ("min_s = 0.002", "min_s = 0", r"min_s is 0. Expected seconds, more than 0"),
        ("[backends.onnxruntime]\nprecisions", "[backends]\n#", r"no backend is given"),
        ("[backends.onnxruntime]\nprecisions", "#", r"no backend is given"),
        ('description = "A board."', 'description = " "', r"description is empty"),
        ('name = "board"', 'name = "plank"', r"name is 'plank', its folder is 'board'"),
        ("schema = 1", "schema = ", r"not valid TOML"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = write(tmp_path / "board", GOOD.replace(old, new))
    with pytest.raises(TargetError, match=message):
        load_target(path)


def test_a_missing_file_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"board.toml: could not be read"):
        load_target(tmp_path / "board.toml")


def test_periods_outside_the_limits_are_refused() -> None:
    target = load_target("linux-x86_64")
    target.check_period(50_000_000)
    with pytest.raises(TargetError, match=r"0.001 s to 1 s; this policy has 0.0005 s"):
        target.check_period(500_000)


def test_engines_that_the_target_does_not_take_are_refused_with_those_that_it_takes() -> None:
    target = load_target("linux-x86_64")
    target.check_engine("onnxruntime", "float32")
    with pytest.raises(TargetError, match=r"does not take backend 'tensorrt'. Valid: onnxruntime"):
        target.check_engine("tensorrt", "float32")
    with pytest.raises(TargetError, match=r"does not take int8 engines of backend 'onnxruntime'. Valid: float32"):
        target.check_engine("onnxruntime", "int8")
