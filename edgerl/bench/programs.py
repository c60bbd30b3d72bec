"""The C programs that a benchmark needs beside the product: compiled when it runs, from sources in the package.

They are fixtures: a robot that writes down what arrives, a policy process in C to compare with, a neighbour that keeps
a processor busy, a loop on a faked clock. None of them is part of the core, and none is in the wheel as a program.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from importlib import resources
from pathlib import Path

import edgerl
from edgerl.errors import PlatformError
from edgerl.runtime import core

_FLAGS = ("-std=c11", "-O3", "-march=native", "-Wall", "-Wextra", "-ffp-contract=off")
_TIMEOUT_S = 120.0


def compile_program(name: str, folder: Path, *, with_core: bool = False, flags: tuple[str, ...] = ()) -> Path:
    """Compile ``fixtures/<name>.c`` into ``folder`` and return the program.

    Args:
        name: Of the source, without its ending.
        folder: Where the program goes.
        with_core: Whether it includes the core's header and is linked with the core's library.
        flags: Further ones.

    Raises:
        PlatformError: There is no C compiler, or it refused.
    """
    source = Path(str(resources.files("edgerl.bench") / "fixtures" / f"{name}.c"))
    program = folder / name
    arguments = [*shlex.split(os.environ.get("CC", "cc")), *_FLAGS, *flags, str(source), "-o", str(program)]
    if with_core:
        library = core.core_dir()
        arguments += [f"-I{_headers()}", f"-L{library}", "-ledgerl_core", f"-Wl,-rpath,{library}"]
    try:
        done = subprocess.run([*arguments, "-lm"], check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PlatformError(
            f"The benchmark compiles programs of its own, and '{arguments[0]}' does not run here ({error}). "
            "Install a C compiler (Debian: gcc and libc6-dev), or name yours in CC."
        ) from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise PlatformError(
            f"The C compiler '{arguments[0]}' refused {source.name} of the benchmark: {reason}. "
            "Expected gcc or clang with the headers of the C library and of Linux."
        )
    return program


def _headers() -> Path:
    """Return the folder of the core's public header: in a checkout the sources', else inside the installed package."""
    for folder in edgerl.__path__:
        if (Path(folder) / "core" / "edgerl_core.h").is_file():
            return Path(folder) / "core"
    raise PlatformError("edgerl_core.h is not in the installed package. Install edgerl again.")
