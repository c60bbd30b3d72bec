"""What the README tells a reader to type works, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "halfcheetah"
README = (ROOT / "README.md").read_text()
FILLED_IN = "period_s = 0.05\n"


def _commands() -> list[str]:
    """The commands of all console blocks, without the comments behind them."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [re.sub(r"\s{2,}#.*", "", line[2:]) for line in lines if line.startswith("$ ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for path in EXAMPLE.iterdir():
        shutil.copy(path, folder)
    (folder / "spec.toml").unlink()
    return folder


def test_the_commands_of_the_readme_run_as_they_stand(folder):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = []
    for command in _commands():
        if not command.startswith("edgerl") or "udp:" in command:
            continue
        if " diff " in command:
            shutil.copy(folder / "policy.edgerl", folder / "other.edgerl")
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        fine = (0, 3) if " doctor " in command else (0,)  # the machine of the tests may be unfit
        assert done.returncode in fine, f"{command}\n{done.stderr}"
        if "--template" in command:
            spec = folder / "spec.toml"
            spec.write_text(FILLED_IN + spec.read_text())
        ran.append(command.split()[1])
    assert ran == ["inspect", "export", "export", "export", "pack", "verify", "doctor", "run", "diff"]
    assert (folder / "report.html").stat().st_size > 100_000


def test_the_python_of_the_readme_runs_as_it_stands(folder):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (folder / "spec.toml").write_text(FILLED_IN)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "policy.onnx").exists()


def test_the_two_commands_stand_on_the_first_screen():
    first_screen = README.splitlines()[:24]
    assert any("make demo" in line for line in first_screen)
    assert any("make test" in line for line in first_screen)


def test_every_link_leads_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "targets").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_of_the_documentation_is_linked_from_the_readme():
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in README, page.name
