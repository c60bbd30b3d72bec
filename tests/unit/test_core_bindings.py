"""Where Python looks for the core, and what it says when there is none."""

from __future__ import annotations

import ctypes
import mmap
import sys

import pytest

from edgerl.errors import PlatformError
from edgerl.runtime import core


def test_the_core_is_found_beside_the_package_or_where_the_variable_says():
    folder = core.core_dir()
    assert (folder / core.LIBRARY_NAME).is_file()
    assert core.guardian_path() == folder / core.GUARDIAN_NAME


def test_a_folder_without_the_library_is_named_in_the_message(monkeypatch, tmp_path):
    monkeypatch.setenv(core.CORE_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(PlatformError, match=r"libedgerl_core\.so is not in .*pip install edgerl") as caught:
        core.core_dir()
    assert str(tmp_path) in str(caught.value)


def test_elsewhere_than_on_linux_the_message_says_that_linux_is_required(monkeypatch, tmp_path):
    monkeypatch.setenv(core.CORE_DIR_VARIABLE, str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(PlatformError, match="needs Linux; this is darwin"):
        core.core_dir()


def test_a_guardian_that_cannot_run_is_named(monkeypatch, tmp_path):
    (tmp_path / core.LIBRARY_NAME).touch()
    (tmp_path / core.GUARDIAN_NAME).touch(mode=0o644)
    monkeypatch.setenv(core.CORE_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(PlatformError, match="is not an executable file"):
        core.guardian_path()


def test_a_library_that_does_not_load_is_named(monkeypatch, tmp_path):
    (tmp_path / core.LIBRARY_NAME).write_bytes(b"not a library")
    monkeypatch.setenv(core.CORE_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(PlatformError, match="does not load"):
        core.library.__wrapped__()


def test_the_address_of_a_read_only_mapping_is_where_its_bytes_are():
    with mmap.mmap(-1, 4096) as writable:
        writable[:4] = b"abcd"
        assert ctypes.string_at(core.address(writable), 4) == b"abcd"
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ) as read_only:
        assert core.address(read_only) != 0
