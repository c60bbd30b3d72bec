"""What a Python process does to keep its time: no collector, real-time priority where the machine gives it.

A refusal is no error: what it cost shows in the measured times.
"""

from __future__ import annotations

import gc
import os
import resource


def be_realtime(priority: int, limit_us: int) -> int:
    """Freeze the collector and try to get SCHED_FIFO; return the priority that the machine gave, 0 for none.

    Args:
        priority: 0 asks for none.
        limit_us: The kernel ends this process when it computes this long at real-time priority without waiting, so that
            it cannot take the machine away; 0: no limit.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    if priority <= 0:
        return 0
    if limit_us > 0:
        most_us = resource.getrlimit(resource.RLIMIT_RTTIME)[1]  # nobody may raise it, and a lower one is as good
        limit_us = limit_us if most_us == resource.RLIM_INFINITY else min(limit_us, most_us)
        resource.setrlimit(resource.RLIMIT_RTTIME, (limit_us, limit_us))
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        return 0
    return priority


def be_ordinary() -> None:
    """Undo :func:`be_realtime`."""
    gc.enable()
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
