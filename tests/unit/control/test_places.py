"""Where control sockets lie, who has the right to one and what becomes of a dead run's."""

from __future__ import annotations

import grp
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgerl
from edgerl.errors import ControlError, NoRight, NoSuchRun
from edgerl.runtime.control.client import connect
from edgerl.runtime.control.estop import send_estop
from edgerl.runtime.control.listener import ControlOptions, Listener
from edgerl.runtime.control.places import folders, live_names, reach
from edgerl.runtime.control.server import ControlServer
from tests.control_run import ABOUT

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


def test_a_dead_runs_socket_is_recognized_and_replaced(folder) -> None:
    code = (
        "import os,sys; from edgerl.runtime.control.listener import *; Listener(ControlOptions('walker')); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (folder / "walker.sock").exists()
    assert live_names() == ()
    with pytest.raises(NoSuchRun, match="No run is alive"):
        connect()
    with ControlServer(ControlOptions("walker", exact=True), ABOUT) as again:
        assert live_names() == ("walker",)
        assert again.path == str(folder / "walker.sock")
    assert not (folder / "walker.sock").exists()


def test_a_live_run_keeps_its_socket(run, folder) -> None:
    with pytest.raises(ControlError, match=r"listens at .*walker\.sock already"):
        Listener(ControlOptions("walker", exact=True))
    with ControlServer(ControlOptions("walker"), ABOUT) as second:
        assert second.path == str(folder / "walker-2.sock")
        with pytest.raises(NoSuchRun, match=r"2 runs are alive: walker \(.*walker-2 .*--name"):
            connect()
        with pytest.raises(NoSuchRun, match="2 runs are alive"):
            send_estop()
        with connect("walker-2") as client:
            assert client.status().name == "walker-2"
        assert sorted(send_estop(every=True)) == ["walker", "walker-2"]
    assert live_names() == ("walker",)


def test_a_run_that_nobody_started_is_named_with_those_that_live(run) -> None:
    with pytest.raises(NoSuchRun, match=r"name 'walkers' is alive; these are: walker\."):
        connect("walkers")


def test_a_socket_that_was_put_in_its_place_is_left_alone(folder) -> None:
    first = Listener(ControlOptions("walker"))
    (folder / "walker.sock").unlink()
    second = Listener(ControlOptions("walker"))
    first.close()
    assert (folder / "walker.sock").exists()
    second.close()


def test_only_the_user_has_a_right_to_folder_and_socket(run, folder) -> None:
    assert (folder / "walker.sock").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_path_may_be_said(tmp_path) -> None:
    path = str(tmp_path / "here.sock")
    with ControlServer(ControlOptions(path=path), ABOUT):
        with connect(control=path) as client:
            assert client.status().name == "here"
        assert send_estop(control=path) == ("here",)
        with pytest.raises(ControlError, match="listens at"):
            Listener(ControlOptions(path=path))
    with pytest.raises(NoSuchRun, match="No run listens"):
        connect(control=path)


def test_a_file_in_the_way_is_kept(tmp_path) -> None:
    path = tmp_path / "precious"
    path.write_text("mine")
    with pytest.raises(ControlError, match="no socket"):
        Listener(ControlOptions(path=str(path)))
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "x" * 64, "a b"])
def test_a_name_that_is_no_files_is_refused(name) -> None:
    with pytest.raises(ControlError, match="not a name for a run"):
        Listener(ControlOptions(name))


def test_a_path_that_no_socket_can_have_is_refused(tmp_path) -> None:
    with pytest.raises(ControlError, match="at most 107 bytes"):
        Listener(ControlOptions(path=str(tmp_path / ("x" * 107))))


def test_a_group_that_is_not_there_is_refused() -> None:
    with pytest.raises(ControlError, match="no group 'pilots of nothing'"):
        Listener(ControlOptions("walker", group="pilots of nothing"))


def test_a_folder_that_others_may_write_to_is_passed_over(folder, tmp_path, monkeypatch) -> None:
    folder.chmod(0o777)
    other = tmp_path / "own"
    other.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{folder}:{other}")
    with ControlServer(ControlOptions("walker"), ABOUT) as run:
        assert run.path == str(other / "walker.sock")


def test_where_sockets_lie_follows_the_machine(monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert folders({"XDG_RUNTIME_DIR": "/run/user/1000"})[:2] == ("/run/user/1000/edgerl", "/run/edgerl")
    assert folders({"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/x"})[:3] == (
        "/run/a",
        "/run/b",
        "/x/edgerl",
    )
    assert folders({})[-1].endswith("/edgerl-1000")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert folders({"XDG_RUNTIME_DIR": "/x"})[:2] == ("/run/edgerl", "/x/edgerl")


AS_NOBODY = """
import os, sys
sys.path[:0] = {path!r}
from edgerl.errors import EdgerlError
from edgerl.runtime.control.client import connect
from edgerl.runtime.control.estop import send_estop
os.environ["RUNTIME_DIRECTORY"] = {folder!r}
os.setgroups([])
os.setgid({gid})
os.setuid({uid})
for attempt in (lambda: connect("walker").status(), lambda: connect(control={socket!r}).status(), send_estop):
    try:
        print("did", attempt())
    except EdgerlError as error:
        print(type(error).__name__, error.exit_code, error)
"""


@pytest.fixture
def open_folder(monkeypatch) -> Iterator[Path]:
    """A folder that every user can reach; the ones that pytest makes are this user's alone."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "r"
        folder.mkdir(mode=0o700)
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
        yield folder


def as_user(folder: Path, path: str, gid: int = NOBODY) -> list[str]:
    code = AS_NOBODY.format(
        path=[str(Path(edgerl.__file__).parent.parent)], folder=str(folder), gid=gid, uid=NOBODY, socket=path
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@needs_root
def test_another_user_has_no_right_to_the_socket_and_nothing_is_sent(open_folder, run, loop, stopped) -> None:
    said = as_user(open_folder, run.path)
    open_folder.chmod(0o755)  # and where only the socket's own rights are in the way
    said += as_user(open_folder, run.path)
    assert len(said) == 6
    assert all(line.startswith("NoRight 1 ") and "nothing was sent" in line for line in said)
    assert (stopped, loop) == ([], [])


@needs_root
def test_a_group_that_was_given_the_right_has_it(open_folder) -> None:
    group = next(one for one in grp.getgrall() if one.gr_gid not in (0, NOBODY))
    with ControlServer(ControlOptions("walker", group=group.gr_name), ABOUT) as run:
        assert Path(run.path).stat().st_mode & 0o777 == 0o660
        assert open_folder.stat().st_mode & 0o777 == 0o750
        said = as_user(open_folder, run.path, group.gr_gid)
        assert said[0].startswith("did RunStatus(name='walker'")
        assert said[2] == "did ('walker',)"
        assert f"(uid {NOBODY}, pid " in run.estop_by
        assert all(line.startswith("NoRight") for line in as_user(open_folder, run.path))


def test_no_right_is_one_message() -> None:
    assert "no right to it, so nothing was sent" in str(NoRight("/run/edgerl"))


def test_the_estop_imports_no_command_line_and_no_arrays() -> None:
    heavy = {"typer", "rich", "numpy", "json", "dataclasses"}
    code = f"import sys, edgerl.runtime.control.estop; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reach_hangs_up_on_all_when_several_could_be_meant(run) -> None:
    with ControlServer(ControlOptions("other"), ABOUT):
        with pytest.raises(NoSuchRun):
            reach()
        with connect("walker") as client:
            until = time.monotonic() + 5
            while client.status().clients != 1 and time.monotonic() < until:
                time.sleep(0.01)
            assert client.status().clients == 1
