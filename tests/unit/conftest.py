"""Where the package is not installed with its core, the tests build one, so that `pytest` works from the sources."""

from __future__ import annotations

import os

import pytest

from edgerl.errors import PlatformError
from edgerl.runtime import core
from tests.core_build import compile_core


@pytest.fixture(scope="session", autouse=True)
def built_core(tmp_path_factory: pytest.TempPathFactory):
    try:
        core.core_dir()
    except PlatformError:
        os.environ[core.CORE_DIR_VARIABLE] = str(compile_core(tmp_path_factory.mktemp("core"), "-O2"))
