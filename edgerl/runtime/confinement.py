"""What a policy process can still do once it is ready: compute, and write its action mailbox. Nothing undoes it.

From then on the kernel refuses it every file, process, socket, program, priority and limit (``edgerl/core/confine.c``
has the list of what is left). What it has open stays usable, so it is started with little: its mailbox, observations
and frames that cannot be written, and stderr. Loading comes before: an engine is verified, then loaded, then confined.
"""

from __future__ import annotations

import os
import resource

from edgerl.errors import LoopError, PolicyProcessError
from edgerl.runtime import core

_TSYNC, _SPEC_ALLOW = 1, 4
"""``SECCOMP_FILTER_FLAG_*`` of linux/seccomp.h: for all threads; without slowing speculation, as older kernels did."""
_LAST_WORDS_BYTES = 64 * 1024
"""Of stderr from here on: a file of the supervisor's, on a disk that recordings need."""
_STDERR = 2


def unconfined(*, wanted: bool, production: bool) -> str:
    """Return why the policy processes of a run are not confined, as a sentence; empty where they are.

    Args:
        wanted: Whether they are to be, where the kernel can do it.
        production: Whether nothing else will do.

    Raises:
        LoopError: They are not, and the production profile wants it.
    """
    error = core.library().erl_confinement() if wanted else 0
    if wanted and not error:
        return ""
    why = f"this kernel has no seccomp filters ({os.strerror(error)})" if error else "the run was told so"
    what = f"The policy process is not confined: {why}. It could reach files, sockets and the guardian."
    if production:
        raise LoopError(
            f"{what} The production profile refuses that. Boot a kernel with CONFIG_SECCOMP_FILTER=y, and leave "
            "RunOptions.confine as it is."
        )
    return what


def confine() -> None:
    """Leave this process, all its threads, nothing but computing.

    Raises:
        PolicyProcessError: The kernel refuses; nothing has changed.
    """
    limit = os.fstat(_STDERR).st_size + _LAST_WORDS_BYTES
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    error = core.library().erl_confine(_TSYNC | _SPEC_ALLOW)
    if error:
        raise PolicyProcessError(
            f"The policy process could not be confined: {os.strerror(error)}. A sandbox around edgerl may forbid it; "
            "allow it the system call seccomp, or run with RunOptions.confine = False."
        )
