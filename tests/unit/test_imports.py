"""Who may import whom (docs/architecture.md): read from the sources, so that no import needs to run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgerl

PACKAGE = Path(edgerl.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
HEAVY_AT_HELP = ("numpy", "onnx", "onnxruntime", "torch", "gymnasium", "mujoco", "matplotlib", "yaml")


def _imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _offenders(modules: str, forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{name} imports {found}"
        for name, path in FILES.items()
        if name == modules or name.startswith(modules + ".")
        for found in _imports(path)
        if any(found == one or found.startswith(one + ".") for one in forbidden)
    ]


def test_there_are_modules_to_look_at():
    assert "edgerl.spec" in FILES
    assert "edgerl.canonical" in _imports(FILES["edgerl.spec"])


@pytest.mark.parametrize("module", ["edgerl.errors", "edgerl.canonical", "edgerl.spec"])
def test_the_contract_needs_no_numpy_torch_or_onnx(module):
    assert not _offenders(module, ("numpy", "torch", "onnx", "onnxruntime"))


def test_the_runtime_needs_neither_torch_nor_onnx_nor_the_stages_before_it():
    stages = ("edgerl.importers", "edgerl.export", "edgerl.lowering", "edgerl.deploy", "edgerl.report")
    forbidden = ("torch", "onnx", "gymnasium", "matplotlib", *stages)
    assert not _offenders("edgerl.runtime", forbidden)


@pytest.mark.parametrize("module", ["edgerl.bundle", "edgerl.backends", "edgerl.parity", "edgerl.golden"])
def test_after_lowering_nothing_reads_a_policy(module):
    assert not _offenders(module, ("edgerl.policy", "edgerl.importers", "torch"))


def test_nobody_imports_the_command_line():
    others = {name: path for name, path in FILES.items() if name not in ("edgerl.cli", "edgerl.__main__")}
    assert not [name for name, path in others.items() if "edgerl.cli" in _imports(path)]


def test_there_is_no_module_called_targets():
    assert "edgerl.targets" not in FILES


@pytest.mark.parametrize("command", ["--help", "export --help", "run --help"])
def test_help_imports_nothing_heavy(command):
    code = (
        f"import sys; sys.argv = ['edgerl', *{command.split()!r}]\n"
        "from edgerl.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print('HEAVY', sorted(set(sys.modules) & set({HEAVY_AT_HELP!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
