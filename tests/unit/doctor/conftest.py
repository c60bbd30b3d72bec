"""A function that plants a machine and has it examined."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgerl.deploy.doctor import Examination, examine
from tests.machines import MS, FakeTries, core_folder, plant


@pytest.fixture
def tries(tmp_path: Path) -> FakeTries:
    return FakeTries(core_folder(tmp_path / "core"))


@pytest.fixture
def machine(tmp_path: Path, tries: FakeTries):
    """Return a function that plants a machine with changes and examines it."""

    def examined(
        files: dict[str, str | None],
        changes: dict[str, str | None] | None = None,
        without: str | None = None,
        **options: Any,
    ) -> Examination:
        kept = {path: text for path, text in files.items() if without is None or not re.match(without, path)}
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        options.setdefault("period_ns", MS)
        return examine(root=plant(root, {**kept, **(changes or {})}), tries=tries, **options)

    return examined
