"""The core on 64-bit Arm: compiled by a cross compiler, run under qemu, driving the loop with a native policy.

An emulator shows that the code is right on the other processor, not how fast it is there or how its memory orders.
"""

from __future__ import annotations

import shutil

import pytest

from edgerl import RunOptions, run_file
from edgerl.runtime import core
from tests.core_build import FLAGS, SOURCES, compile_c, compile_core

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which(COMPILER) and shutil.which(EMULATOR)), reason=f"{COMPILER} or {EMULATOR} is not installed"
    ),
]


@pytest.fixture
def emulated_core(tmp_path, monkeypatch):
    """The native library beside a guardian for Arm that starts under the emulator."""
    folder = compile_core(tmp_path / "native", "-O2")
    monkeypatch.setenv("CC", COMPILER)
    arm = tmp_path / "edgerl-guardian-arm"
    compile_c(*FLAGS, "-O2", "-static", *map(str, sorted(SOURCES.glob("*.c"))), "-o", str(arm), "-lm")
    guardian = folder / "edgerl-guardian"
    guardian.write_text(f'#!/bin/sh\nexec {EMULATOR} "{arm}" "$@"\n')
    monkeypatch.setenv(core.CORE_DIR_VARIABLE, str(folder))
    core.library.cache_clear()
    yield folder
    core.library.cache_clear()


def test_a_guardian_for_arm_drives_an_episode_as_the_native_one_does(packed, emulated_core, tmp_path, monkeypatch):
    options = RunOptions(realtime_s=0.0, guardian_priority=0, policy_priority=0, plant_priority=0)
    recording = tmp_path / "arm.mcap"
    emulated = run_file(packed / "policy.edgerl", "gym:HalfCheetah-v5", recording=recording, options=options)
    assert emulated.ended == "done"
    assert emulated.episodes[0].steps == 1000
    monkeypatch.delenv(core.CORE_DIR_VARIABLE)
    core.library.cache_clear()
    native = run_file(packed / "policy.edgerl", "gym:HalfCheetah-v5", recording=tmp_path / "x86.mcap", options=options)
    assert emulated.episodes[0].episode_return == native.episodes[0].episode_return
    assert emulated.misses == native.misses


def test_the_core_compiles_without_a_warning_for_arm(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", COMPILER)
    assert "-Werror" in FLAGS
    assert (compile_core(tmp_path, "-O3") / "libedgerl_core.so").exists()
