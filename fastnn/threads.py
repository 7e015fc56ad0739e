"""How many threads the kernels may use. The result never depends on it."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import Any

from fastnn.functional import checks

parallel: Any = None
try:
    parallel = importlib.import_module("fastnn.kernels.parallel")
except ModuleNotFoundError as error:  # installed without compiled kernels: there is nothing to set
    if error.name != "fastnn.kernels.parallel":
        raise


def _cgroup_limit() -> float:
    """Processors that the control group grants (version 2, then 1); infinity where there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 and period > 0 else math.inf
    except (OSError, ValueError):
        return math.inf


def _default() -> int:
    """Processors of this process's affinity and control group, or fewer where OMP_NUM_THREADS says so."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = min(available, math.ceil(_cgroup_limit()) if _cgroup_limit() < math.inf else available)
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        limit = min(limit, int(asked))
    return max(limit, 1)


_threads = _default()
_forked = False


def set_num_threads(n: int) -> None:
    """Let the kernels use up to ``n`` threads, whatever Python thread calls them. Small work stays on one.

    Raises
    ------
    TypeError, ValueError
        Where ``n`` is not a positive int.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.set_num_threads(1)
    >>> fastnn.get_num_threads()
    1
    """
    global _threads
    count = checks.integer("n", n, 1)
    if count > 2**15:
        raise ValueError(f"n: expected at most {2**15} threads, got {count}")
    _threads = count
    if parallel is not None:
        parallel.set_threads(count)


def get_num_threads() -> int:
    """Threads that the kernels may use; always 1 in a forked child, whose thread pool stayed with the parent."""
    return 1 if _forked else _threads


def _after_fork() -> None:
    global _forked
    _forked = True
    if parallel is not None:
        parallel.become_serial()


set_num_threads(_threads)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
