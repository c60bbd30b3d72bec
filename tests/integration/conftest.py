"""The command line as a user calls it, in this process so that its imports are paid once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgerl import cli, export_checkpoint, host_target, pack_files, save_export
from tests import loop_parts

EXAMPLE = Path(__file__).parents[2] / "examples" / "halfcheetah"


@pytest.fixture(scope="session", autouse=True)
def control_folder(tmp_path_factory) -> Iterator[None]:
    """The sockets of runs lie in a folder of these tests, not among those of real robots."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture(scope="module")
def core(tmp_path_factory) -> Iterator[None]:
    """The guardian and the backends of this tree are what every process of a run finds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGERL_CORE_DIR", str(loop_parts.core_folder(tmp_path_factory)))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
        yield


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def edgerl(monkeypatch, capsys) -> Callable[..., Answer]:
    """Run a command line and return its exit code, stdout and stderr; anything but an exit is a bug and raises."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["edgerl", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        streams = capsys.readouterr()
        return Answer(code, streams.out, " ".join(streams.err.split()))

    return run


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> Path:
    """A folder with the example exported and packed: policy.onnx, its companions, policy.edgerl."""
    folder = tmp_path_factory.mktemp("packed")
    export = export_checkpoint(EXAMPLE / "model.zip", truth=EXAMPLE / "truth.npz", spec=EXAMPLE / "spec.toml")
    save_export(export, folder / "policy.onnx")
    pack_files(
        folder / "policy.onnx", folder / "policy.edgerl", target=host_target(), envelope=EXAMPLE / "envelope.toml"
    )
    return folder
