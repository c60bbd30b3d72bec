"""Target: a board or machine that engines are built for, described by data.

A target is one folder under ``targets/`` with a ``target.toml``; adding one needs no Python (``targets/README.md``).
What a backend does with it is the backend's code; nothing here asks for a target by its name. The folder travels in
the wheel; in a source checkout the checkout's own is read.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from edgerl.data import data_folder
from edgerl.errors import TargetError, UnknownTarget
from edgerl.toml import Table, read_toml

SCHEMA = 1
"""Version of ``target.toml``."""
FILE_NAME = "target.toml"

Architecture = Literal["x86_64", "aarch64"]
System = Literal["linux"]
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class Target:
    """What an engine may count on."""

    schema: int
    name: str
    """Name of its folder."""
    description: str
    arch: Architecture
    os: System
    cpu_flags: tuple[str, ...]
    """Options of the C compiler for this CPU; empty: what every CPU of the architecture can do."""
    backends: Mapping[str, tuple[Precision, ...]]
    """By the name of each backend that has engines for this target: the precisions of the ``core`` region that run
    natively there. Anything else is refused, never emulated."""
    min_period_ns: int
    """Shortest control period that anybody may ask of it, in [ns]."""
    max_period_ns: int
    notes: str
    """What was tried on it and what was not."""

    def precisions(self, backend: str) -> tuple[Precision, ...]:
        """Return the precisions in which a backend's engines run here.

        Raises:
            TargetError: It has none for this target; the message lists the backends that do.
        """
        if backend not in self.backends:
            raise TargetError(
                f"Target '{self.name}' does not take backend '{backend}'. Valid: {', '.join(sorted(self.backends))}."
            )
        return self.backends[backend]

    def check_engine(self, backend: str, precision: str) -> None:
        """Refuse an engine that this target does not take.

        Raises:
            TargetError: Of another backend or precision; the message lists those that it takes.
        """
        valid = self.precisions(backend)
        if precision not in valid:
            raise TargetError(
                f"Target '{self.name}' does not take {precision} engines of backend '{backend}'. "
                f"Valid: {', '.join(valid)}."
            )

    def check_period(self, period_ns: int) -> None:
        """Refuse a control period that the target does not promise.

        Raises:
            TargetError: Shorter or longer than its limits.
        """
        if not self.min_period_ns <= period_ns <= self.max_period_ns:
            raise TargetError(
                f"Target '{self.name}' is good for control periods from {self.min_period_ns / 1e9:g} s to "
                f"{self.max_period_ns / 1e9:g} s; this policy has {period_ns / 1e9:g} s. Choose another target."
            )


def load_target(name: str | Path) -> Target:
    """Return an installed target by its name, or one from a path to its folder or ``target.toml``.

    A text with a path separator, or ending in ``.toml``, is a path; everything else is a name.

    Raises:
        UnknownTarget: No installed target has this name.
        TargetError: The file is not valid; the message names file and key.
    """
    text = os.fspath(name)
    if isinstance(name, Path) or "/" in text or os.sep in text or text.endswith(".toml"):
        path = Path(text)
        return read_target(path / FILE_NAME if path.is_dir() else path)
    folder = data_folder("targets")
    if text not in known_targets():
        raise UnknownTarget(text, known_targets())
    return read_target(folder / text / FILE_NAME)


def host_target() -> str:
    """Return the name of this machine's generic target; :func:`load_target` refuses one that is not known."""
    return f"{platform.system().lower()}-{platform.machine()}"


def known_targets() -> tuple[str, ...]:
    """Return the names of the installed targets, sorted."""
    return tuple(sorted(path.parent.name for path in data_folder("targets").glob(f"*/{FILE_NAME}")))


def read_target(path: Path) -> Target:
    """Return the target in a ``target.toml``.

    Raises:
        TargetError: Not readable or not valid; an unknown key is refused with the list of known ones.
    """
    table = read_toml(path, ("schema", "name", "description", "cpu", "period", "backends", "notes"), TargetError)
    schema = table.integer("schema")
    if schema != SCHEMA:
        raise TargetError(f"{path}: schema is {schema}. This edgerl reads {SCHEMA}.")
    cpu = table.table("cpu", ("arch", "os", "flags"))
    period = table.table("period", ("min_s", "max_s"))
    low, high = (_nanoseconds(period, key) for key in ("min_s", "max_s"))
    if low > high:
        raise TargetError(f"{path}: [period] min_s {low / 1e9:g} is above max_s {high / 1e9:g}.")
    target = Target(
        schema=schema,
        name=table.text("name"),
        description=table.text("description"),
        arch=cpu.choice("arch", get_args(Architecture)),
        os=cpu.choice("os", get_args(System)),
        cpu_flags=cpu.texts("flags"),
        backends=_read_backends(table),
        min_period_ns=low,
        max_period_ns=high,
        notes=table.text("notes"),
    )
    folder = path.resolve().parent.name
    if path.name == FILE_NAME and target.name != folder:
        raise TargetError(f"{path}: name is {target.name!r}, its folder is {folder!r}. Both must be the same.")
    return target


def _read_backends(table: Table) -> dict[str, tuple[Precision, ...]]:
    names = table.keys("backends")
    if not names:
        raise TargetError(f"{table.where}: no backend is given. Expected a table such as [backends.onnxruntime].")
    backends = table.table("backends", names)
    return {name: _read_precisions(backends.table(name, ("precisions",))) for name in sorted(names)}


def _read_precisions(table: Table) -> tuple[Precision, ...]:
    precisions = table.texts("precisions")
    for precision in precisions:
        if precision not in get_args(Precision):
            raise TargetError(
                f"{table.where}: precision {precision!r} is unknown. Valid: {', '.join(get_args(Precision))}."
            )
    if not precisions:
        raise TargetError(f"{table.where}: precisions is empty. Valid: {', '.join(get_args(Precision))}.")
    return cast("tuple[Precision, ...]", precisions)


def _nanoseconds(table: Table, key: str) -> int:
    seconds = table.number(key)
    if not 0 < seconds < 1e6:
        raise TargetError(f"{table.where}: {key} is {seconds:g}. Expected seconds, more than 0.")
    return round(seconds * 1e9)
