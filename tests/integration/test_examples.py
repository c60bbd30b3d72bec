"""Every numbered example runs as it stands and says what it promises."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAYS = {
    "01_export_and_act.py": ["parity passed", "return 39"],
    "02_pack_and_run.py": ["verified: passed", "ended done", "commands rejected: 0"],
    "03_a_robot_of_your_own.py": ["ended done", "the cart stands at 0.0"],
    "04_a_torch_module.py": ["parity with the module passed"],
    "05_a_legged_robot.py": [
        "parity with the trainer: passed",
        "ended done",
        "it stayed upright for 6.0 s and 2 pushes",
    ],
}


def test_every_example_is_tested_and_listed():
    names = {path.name for path in (ROOT / "examples").glob("[0-9]*.py")}
    assert names == set(SAYS)
    listed = (ROOT / "examples" / "README.md").read_text()
    assert all(name in listed for name in names)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_the_example_runs(name, tmp_path):
    needed = {"04_a_torch_module.py": "torch", "05_a_legged_robot.py": "mujoco"}.get(name, "gymnasium")
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for text in SAYS[name]:
        assert text in done.stdout
    left = {path.name for path in tmp_path.iterdir()} - {"MUJOCO_LOG.TXT"}  # MuJoCo 3.17 writes its warnings there
    assert not left
