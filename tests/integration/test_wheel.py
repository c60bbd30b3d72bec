"""The wheel: one for every Python, with the core and the data inside, and working without the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [f"-Cbuild-dir={folder / 'build'}"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, *build, ROOT], check=True
    )
    (path,) = folder.glob("*.whl")
    return path


def test_one_wheel_serves_every_python_of_a_platform(wheel):
    assert wheel.name.split("-")[2:4] == ["py3", "none"]
    assert wheel.stem.split("-")[4].startswith("linux_")


def test_it_holds_the_core_the_data_and_no_sources_of_the_core(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "edgerl/core/edgerl-guardian",
        "edgerl/core/libedgerl_core.so",
        "edgerl/_data/targets/linux-x86_64/target.toml",
        "edgerl/_data/examples/halfcheetah/model.zip",
        "edgerl/report/report.css",
        "edgerl/py.typed",
    ):
        assert name in names
    sources = {name for name in names if name.endswith((".c", ".h")) and not name.startswith("edgerl/bench/fixtures/")}
    headers = {f"edgerl/core/edgerl_{name}.h" for name in ("core", "names", "segments")}
    assert sources == headers  # for programs that talk to the guardian, the benchmarks' among them
    assert not [name for name in names if name.startswith("tests")]


def test_an_installed_wheel_packs_and_runs_without_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True
    )
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import edgerl; assert edgerl.__file__.startswith(sys.argv[1])\n"
        "from edgerl.target import known_targets; print(known_targets())\n"
        "from edgerl.runtime.core import guardian_path, modes_table; print(guardian_path(), len(modes_table()))\n"
        "from edgerl.data import data_folder; f = data_folder('examples') / 'halfcheetah'\n"
        "e = edgerl.export_checkpoint(f / 'model.zip', spec=f / 'spec.toml'); edgerl.save_export(e, 'p.onnx')\n"
        "edgerl.pack_files('p.onnx', 'p.edgerl', target='linux-x86_64', envelope=f / 'envelope.toml')\n"
        "print(edgerl.verify_bundle('p.edgerl').status)"
    )
    packages = sysconfig.get_paths()["purelib"]
    # -S keeps the editable installation of the checkout out of the way.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, site, packages],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "('linux-aarch64', 'linux-x86_64')" in done.stdout
    assert str(site / "edgerl" / "core" / "edgerl-guardian") in done.stdout
    assert done.stdout.split()[-1] == "passed"
