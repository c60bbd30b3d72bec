"""Builds the C core with the compiler at hand, with flags of a test's choice."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "edgerl" / "core"
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror", "-ffp-contract=off"]


def compile_core(out: Path, *flags: str, sources: Path = SOURCES, guardian: bool = True) -> Path:
    """Compile library and guardian of ``sources`` into ``out``; the flags come after the usual ones."""
    out.mkdir(parents=True, exist_ok=True)
    units = sorted(path for path in sources.glob("*.c") if path.name != "guardian.c")
    library = ["-fPIC", "-shared", *map(str, units), "-o", str(out / "libedgerl_core.so"), "-lm"]
    compile_c(*FLAGS, *flags, "-fvisibility=hidden", *library)
    if guardian:
        compile_c(
            *FLAGS, *flags, *map(str, units), str(sources / "guardian.c"), "-o", str(out / "edgerl-guardian"), "-lm"
        )
    return out


def compile_c(*arguments: str) -> None:
    """Run the C compiler; its messages are the failure's."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    done = subprocess.run([*compiler, *arguments], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
