"""Keys of a robot port: read from a file that nobody else may read, and fresh for every session."""

from __future__ import annotations

import os
import stat

import pytest

from edgerl.errors import PortKeyError
from edgerl.runtime.port_key import PortKey, fresh_nonce, make_key, read_key


def test_a_key_that_was_made_is_read_again_and_is_for_its_owner_only(tmp_path):
    path = tmp_path / "robot.key"
    made = make_key(path)
    assert read_key(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(made.shared) == 32
    with pytest.raises(PortKeyError, match="File exists"):
        make_key(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_a_key_that_others_may_use_is_refused_with_the_command_that_mends_it(tmp_path, mode):
    make_key(path := tmp_path / "robot.key")
    path.chmod(mode)
    with pytest.raises(PortKeyError, match=rf"mode {mode:04o}\)\. chmod 600 "):
        read_key(path)


@pytest.mark.parametrize("content", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 32 + "\n00", "00" * 100_000])
def test_a_file_without_a_key_is_refused(tmp_path, content):
    path = tmp_path / "robot.key"
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(PortKeyError, match="64 hexadecimal digits"):
        read_key(path)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    with pytest.raises(PortKeyError, match="No such file"):
        read_key(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PortKeyError, match="64 hexadecimal digits"):
        read_key(tmp_path / "pipe")
    (tmp_path / "folder").mkdir(0o700)
    with pytest.raises(PortKeyError):
        read_key(tmp_path / "folder")


def test_the_key_of_another_user_is_refused(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    make_key(path := tmp_path / "robot.key")
    os.chown(path, 12345, -1)
    with pytest.raises(PortKeyError, match="user 12345's"):
        read_key(path)


def test_every_key_is_another_one():
    key, controller, robot = PortKey(bytes(32)), bytes(16), bytes(15) + b"\x01"
    session = key.session(7, controller, robot)
    others = [
        key.session(8, controller, robot),
        key.session(7, robot, robot),
        key.session(7, controller, controller),
        PortKey(bytes(31) + b"\x01").session(7, controller, robot),
    ]
    keys = [key.hello(), key.answer(controller), key.answer(robot), session.to_robot, session.to_controller]
    keys += [one for other in others for one in (other.to_robot, other.to_controller)]
    assert len(set(keys)) == len(keys)
    assert {len(one) for one in keys} == {32}
    assert fresh_nonce() != fresh_nonce()


def test_a_key_does_not_show_in_text():
    key = PortKey(b"secret-secret-secret-secret-1234")
    text = f"{key!r} {key} {key.session(1, bytes(16), bytes(16))!r}"
    assert "secret" not in text
    assert text.count("b'") == 0


def test_the_keys_are_those_of_the_specification():
    key = PortKey(bytes(range(32)))
    session = key.session(0x0102030405060708, bytes(range(16)), bytes(range(16, 32)))
    assert key.hello().hex() == HELLO
    assert key.answer(bytes(range(16))).hex() == ANSWER
    assert session.to_robot.hex() == TO_ROBOT
    assert session.to_controller.hex() == TO_CONTROLLER


HELLO = "9eb0cbcd6be5835f87e6c7d7f9bfcb07454a311777a671f274222bab4c191dea"
ANSWER = "45cd1e315922acb7f937187327d90d11cb6ad4c9b68b434f2d0c691f5e332ed2"
TO_ROBOT = "e6a43272a1e0dd80d9382f4909259ed3e80a23200baf233b0e103bbf3fff6a34"
TO_CONTROLLER = "a613fba9a0550a32869646ab74cd9018303ce7e545de9fc876eff1ca9e68d5d3"
