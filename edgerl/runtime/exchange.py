"""Bundles that come to a run that is going on: verified, and refused where they could not take over in it.

Guardian and robot stay as they were started. So a newcomer must read the same observation, speak of the same command at
the same rate, and be packed with the same envelope: the guardian goes on with the one that it has. How it gets from one
to the other is its own affair. That it reproduces its golden set, its own process proves before it says ready.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

from edgerl import canonical
from edgerl.bundle.archive import MAX_BYTES
from edgerl.bundle.load import read_bundle
from edgerl.errors import PolicyProcessError, UnreadableFile
from edgerl.runtime.load import Load, check_machine, load_of

MOST_NAMED = 8
"""Differences that one message names."""
_WHERE = "the bundle that was sent"
_NOT_OBEYED = ("origin", "schema")
"""Of an envelope: what the guardian does not act on."""


def newcomer_in(file: int, incumbent: Load) -> Load:
    """Return what the loop needs of the bundle in an open file, where it can take over from the incumbent.

    Raises:
        UnreadableFile: It cannot be read.
        DamagedBundle: It is not as it was packed.
        BundleError: It has no engine of the run's backend.
        PlatformError: It is for another processor.
        PolicyProcessError: It cannot take over; the message says in what they differ.
    """
    bundle = read_bundle(_content(file), _WHERE)
    check_machine(bundle.manifest.target)
    newcomer = load_of(bundle, incumbent.engine.backend)
    check_newcomer(newcomer, incumbent)
    return newcomer


def check_newcomer(newcomer: Load, incumbent: Load) -> None:
    """Refuse a policy that cannot take over from another one while a robot is run.

    Raises:
        PolicyProcessError: It cannot; the message says in what they differ.
    """
    own, its = dict(_facts(incumbent)), dict(_facts(newcomer))
    differences = [
        f"{where} is {_text(its, where)}, the run's {_text(own, where)}"
        for where in sorted(own.keys() | its.keys())
        if own.get(where, ...) != its.get(where, ...)
    ]
    if differences:
        more = len(differences) - MOST_NAMED
        listed = "; ".join(differences[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise PolicyProcessError(
            f"This policy cannot take over: {listed}. End the run and start it with this bundle instead."
        )


def _facts(load: Load) -> Iterator[tuple[str, object]]:
    spec, action = load.engine.spec, load.engine.spec.action
    facts = {
        "period_ns": spec.period_ns,
        "policy_divider": spec.robot.policy_divider,
        "joints": spec.robot.joints,
        "inputs": spec.inputs,
        "action": {
            "kind": action.kind,
            "names": action.names,
            "size": action.size,
            "unit": action.unit,
            "meaning": action.meaning,
            "raw": action.raw,
        },
        "envelope": {
            key: value for key, value in canonical.to_plain(load.envelope).items() if key not in _NOT_OBEYED
        },
    }  # fmt: skip
    yield from _leaves(canonical.to_plain(facts), "")


def _leaves(plain: Any, where: str) -> Iterator[tuple[str, object]]:  # noqa: ANN401  JSON has no narrower type
    if isinstance(plain, dict) and plain:
        for key, value in plain.items():
            yield from _leaves(value, f"{where}.{key}" if where else key)
    elif isinstance(plain, list) and plain:
        for index, value in enumerate(plain):
            yield from _leaves(value, f"{where}[{index}]")
    else:
        yield where, plain


def _text(facts: dict[str, object], where: str) -> str:
    return repr(facts[where]) if where in facts else "missing"


def _content(file: int) -> bytes:
    """From the descriptor and not by name: whether it may be read was decided when the client opened it."""
    parts, size = [], 0
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise UnreadableFile(_WHERE, "it is no regular file")
        while size <= MAX_BYTES and (part := os.pread(file, 1 << 20, size)):
            parts.append(part)
            size += len(part)
    except OSError as error:  # such as one that is open for writing only
        raise UnreadableFile(_WHERE, error.strerror or str(error)) from error
    return b"".join(parts)
