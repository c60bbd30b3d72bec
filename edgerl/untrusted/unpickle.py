"""A pickle reader that executes nothing.

It interprets the opcodes itself (decoded by :func:`pickletools.genops`, which never acts on them) on a stack of plain
values. Python's own unpickler is not used even with a restricted ``find_class``: its C code would still call what
``REDUCE`` names, allocate what a length field claims, and recurse as deep as a file likes.

* A global on the allow-list of :mod:`edgerl.untrusted.rebuild` is rebuilt; every other one becomes an inert
  :class:`~edgerl.untrusted.foreign.Foreign` record, and its name is reported.
* Protocols 0 to 5. Extension codes, persistent ids without a reader for them, and out-of-band buffers are refused.
* Work, depth and memory are counted against :class:`edgerl.untrusted.limits.Limits`.

Reference: Lib/pickletools.py of CPython, which documents every opcode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgerl.untrusted.limits import Budget, Limits
from edgerl.untrusted.pickle_machine import Machine
from edgerl.untrusted.rebuild import Rebuilders


@dataclass(frozen=True)
class Pickled:
    """What a pickle held."""

    value: object
    foreign_globals: tuple[str, ...]
    """``module.name`` of everything that the pickle asked to import beyond the allow-list, sorted, each once."""


def read_pickle(
    data: bytes,
    where: str,
    limits: Limits | Budget | None = None,
    *,
    rebuilders: Rebuilders | None = None,
    persistent: Callable[[object], object] | None = None,
) -> Pickled:
    """Read one pickle without executing anything in it.

    Args:
        data: The pickle; what follows its end is not looked at.
        where: Names the pickle in errors.
        limits: What is accepted; a budget is shared by all pickles of one file.
        rebuilders: Additions to the allow-list, by module and name.
        persistent: Resolves persistent ids; they are refused without it.

    Raises:
        DamagedCheckpoint: Not a complete, valid pickle.
        UnsafeCheckpoint: It needs something that would have to be executed or looked up.
        CheckpointTooLarge: Past a limit.
    """
    budget = limits if isinstance(limits, Budget) else Budget(limits or Limits(), where, len(data))
    machine = Machine(where, budget, rebuilders or {}, persistent)
    value = machine.run(data)
    return Pickled(value, tuple(sorted(machine.foreign)))
