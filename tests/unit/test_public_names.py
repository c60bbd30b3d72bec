"""The package's door: every public name is there, lazily, and type checkers see the same ones."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edgerl


def test_every_public_name_is_what_its_module_calls_so():
    for name in edgerl.__all__:
        assert getattr(edgerl, name).__name__ == name


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(edgerl.__file__).read_text())
    seen = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgerl")
        for alias in node.names
    }
    assert seen == set(edgerl.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        _ = edgerl.exprot
