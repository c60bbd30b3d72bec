"""Who may import whom (docs/architecture.md): read from the sources, so that no import needs to run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgerl

PACKAGE = Path(edgerl.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
HEAVY_AT_HELP = ("numpy", "onnx", "onnxruntime", "torch", "gymnasium", "mujoco", "matplotlib")


@dataclass(frozen=True)
class Row:
    """A row of the table in docs/architecture.md."""

    place: int
    paths: tuple[str, ...]
    needs: frozenset[str]


def _read_table() -> tuple[Row, ...]:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    cells = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `edgerl/")]
    return tuple(
        Row(place, tuple(re.findall(r"`([^`]+)`", paths)), frozenset(needs.replace(",", " ").split()))
        for place, (paths, needs, _) in enumerate(cells)
    )


TABLE = _read_table()


def _row_of(module: str) -> Row | None:
    """Return the row that names a module's file, or else the one that names the nearest folder above it."""
    path = FILES[module].relative_to(PACKAGE.parent)
    for place in (str(path), *(f"{folder}/" for folder in path.parents)):
        for row in TABLE:
            if place in row.paths:
                return row
    return None


def _imports(path: Path) -> set[str]:
    """Return every module that a file imports when it runs, at the top or inside a function."""
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        waiting += ast.iter_child_nodes(node)
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
    assert "edgerl.spec" in FILES and len(TABLE) > 20
    assert "edgerl.canonical" in _imports(FILES["edgerl.spec"])


def test_every_row_is_about_something_that_is_there():
    assert not [path for row in TABLE for path in row.paths if not (PACKAGE.parent / path).exists()]


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_module_imports_from_above_it_only(module):
    own = _row_of(module)
    assert own is not None, "it has no row in docs/architecture.md: give it one below everything that it imports"
    others = {name: _row_of(name) for name in _imports(FILES[module]) if name in FILES and name != "edgerl"}
    assert not [name for name, row in others.items() if row is not None and row.place > own.place]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.paths[0])
def test_a_row_names_exactly_the_packages_that_it_needs(row):
    own = [path for module, path in FILES.items() if _row_of(module) == row]
    tops = {name.partition(".")[0] for path in own for name in _imports(path)}
    assert tops - set(sys.stdlib_module_names) - {"edgerl"} == row.needs - set(sys.stdlib_module_names)


def test_the_runtime_needs_none_of_the_stages_before_it():
    stages = ("edgerl.importers", "edgerl.export", "edgerl.lowering", "edgerl.model", "edgerl.report")
    assert not _offenders("edgerl.runtime", stages)


@pytest.mark.parametrize(
    "module", ["edgerl.bundle", "edgerl.backends", "edgerl.parity", "edgerl.golden", "edgerl.diff"]
)
def test_after_lowering_nothing_reads_a_policy(module):
    assert not _offenders(module, ("edgerl.policy", "edgerl.importers"))


def test_there_is_no_module_called_targets():
    assert "edgerl.targets" not in FILES


@pytest.mark.parametrize("module", sorted(FILES))
def test_what_a_docstring_refers_to_is_there(module):
    text = FILES[module].read_text()
    for reference in re.findall(r":(?:mod|class|func|data):`~?(edgerl\.[\w.]+)`", text):
        home = next(name for name in _shortened(reference) if name in FILES)
        first = reference.removeprefix(home).strip(".").partition(".")[0]
        assert re.search(rf"^(def |class )?{first}\b", FILES[home].read_text(), re.MULTILINE), reference


def _shortened(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


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
