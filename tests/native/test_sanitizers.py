"""The core under sanitizers: its tests with address and undefined-behaviour checks, its mailboxes with threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgerl.runtime import core
from tests.core_build import FLAGS, SOURCES, compile_c, compile_core

ROOT = SOURCES.parents[1]
STRESS = Path(__file__).parent / "stress_mailbox.c"
SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
COMMIT = "i < envelope->count; i++) {\n        if (moved)"
pytestmark = pytest.mark.slow


def runtime_of(name: str) -> str:
    """Return the path of a sanitizer's runtime, or skip."""
    compiler = os.environ.get("CC", "cc").split()
    path = subprocess.run([*compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout
    if not Path(path.strip()).is_absolute():
        pytest.skip(f"the compiler has no {name}")
    return path.strip()


def with_defect(folder: Path, file: str, whole: str, broken: str) -> Path:
    """Return a copy of the sources in which one piece is replaced by a broken one."""
    sources = Path(shutil.copytree(SOURCES, folder / "sources"))
    text = (sources / file).read_text()
    assert whole in text
    (sources / file).write_text(text.replace(whole, broken))
    return sources


def run_sanitized(folder: Path, *tests: str, preload: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        core.CORE_DIR_VARIABLE: str(folder),
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that the ends of ctypes' buffers are guarded too
    }
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-x", "-m", "not slow", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", *tests]
    return subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def test_the_cores_own_tests_run_clean_under_address_and_undefined_behaviour_sanitizers(tmp_path):
    preload = runtime_of("libasan.so")
    folder = compile_core(tmp_path, *SANITIZED)
    tests = [str(path) for path in sorted((ROOT / "tests" / "unit").glob("test_core_*.py"))]
    done = run_sanitized(folder, *tests, "tests/integration/test_guardian.py", preload=preload)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.parametrize(
    ("file", "whole", "broken", "found"),
    [
        (
            "modes.c",
            "mode < ERL_MODE_COUNT ? MODE_NAMES",
            "mode <= ERL_MODE_COUNT ? MODE_NAMES",
            "runtime error: index",
        ),
        ("modes.c", "event < ERL_EVENT_COUNT ? EVENT_NAMES", "event <= ERL_EVENT_COUNT ? EVENT_NAMES", "error: index"),
        ("modes.c", "source < ERL_SOURCE_NAMES ?", "source <= ERL_SOURCE_NAMES ?", "runtime error: index"),
        ("envelope.c", COMMIT, COMMIT.replace("<", "<="), "AddressSanitizer"),
        ("modes.c", "TABLE[mode][event];", "TABLE[mode][event + 15u];", "runtime error: index"),
        ("ring.c", "(head % config->ring_capacity)", "head", "heap-buffer-overflow"),
    ],
)
def test_the_sanitizers_would_notice(tmp_path, file, whole, broken, found):
    sources = with_defect(tmp_path, file, whole, broken)
    preload = runtime_of("libasan.so")
    folder = compile_core(tmp_path / "out", *SANITIZED, sources=sources, guardian=False)
    tests = [f"tests/unit/test_core_{name}.py" for name in ("modes", "mailbox", "envelope")]
    done = run_sanitized(folder, *tests, preload=preload)
    assert done.returncode != 0
    assert found in done.stdout + done.stderr


def stress(out: Path, sources: Path, *flags: str, seconds: int = 1) -> subprocess.CompletedProcess[str]:
    units = [str(path) for path in sources.glob("*.c") if path.name != "guardian.c"]
    compile_c(*FLAGS, "-O2", *flags, f"-I{sources}", str(STRESS), *units, "-o", str(out), "-lm", "-lpthread")
    return subprocess.run([out, str(seconds)], check=False, capture_output=True, text=True, timeout=120)


def test_mailboxes_status_ring_and_frames_are_never_mixed_and_never_race(tmp_path):
    for runtime in ("libtsan.so", "libasan.so"):
        runtime_of(runtime)
    for name, flags in {"threads": ["-g", "-fsanitize=thread"], "memory": SANITIZED, "plain": []}.items():
        done = stress(tmp_path / name, SOURCES, *flags, seconds=2)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "whole", "broken"),
    [
        ("mailbox.c", "memory_order_relaxed) != before)", "memory_order_relaxed) != before && to == NULL)"),
        ("ring.c", "- index < capacity ? ERL_OK", "- index < 2 * capacity + index ? ERL_OK"),
        ("frame.c", "return ERL_TORN;", "return ERL_OK;"),
    ],
)
def test_the_stress_would_notice_a_reader_that_looks_once(tmp_path, file, whole, broken):
    done = stress(tmp_path / "stress", with_defect(tmp_path, file, whole, broken))
    assert done.returncode == 1
    assert "MIXED" in done.stdout
