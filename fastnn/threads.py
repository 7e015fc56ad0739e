"""How many threads the kernels may use. The result never depends on it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from fastnn.functional import checks
from fastnn.kernels import isa

MOST = 1024  # where a thread cannot be started, OpenMP ends the process

# Threads that wait for work spin for a few microseconds and then sleep. GNU OpenMP's own default of some milliseconds makes a busy
# machine crawl: a training run of 3 s took 24 to 46 s beside other work. It is read once, when the library is loaded.
_SPIN = {} if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys() else {"GOMP_SPINCOUNT": "2000"}

os.environ.update(_SPIN)
try:
    (parallel,) = isa.helpers("parallel")  # without compiled kernels there is nothing to set
finally:
    for _name in _SPIN:  # child processes shall not inherit it
        del os.environ[_name]


def _control_groups(text: str) -> Iterator[Path]:
    """Folders whose limits hold for this process, from what /proc/self/cgroup says.

    A group and all above it count. In a container the path may be the host's and not exist; the root is then the container's own.
    """
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = Path("sys/fs/cgroup", "cpu" if controllers else "")
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            yield root / folder


def _quota(folder: Path) -> float:
    """Processors that one control group grants, by the files of version 2 or 1; infinity where it sets no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # no such files, or "max"
        return math.inf


def _cgroup_limit(root: Path = Path("/")) -> float:
    """Processors that the control groups of this process grant; infinity where there is no limit."""
    try:
        groups = (root / "proc/self/cgroup").read_text()
    except OSError:
        return math.inf
    return min((_quota(root / folder) for folder in _control_groups(groups)), default=math.inf)


def _default() -> int:
    """Processors of this process's affinity and control group, or fewer where OMP_NUM_THREADS says so."""
    limit: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = min(limit, _cgroup_limit())
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        limit = min(limit, int(asked))
    return min(math.ceil(limit), MOST)


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
    if count > MOST:
        raise ValueError(f"n: expected at most {MOST} threads, got {count}")
    _threads = count
    if parallel is not None:
        parallel.set_threads(count)


def get_num_threads() -> int:
    """Threads that the kernels may use; always 1 in a forked child, whose thread pool stayed with the parent."""
    return 1 if _forked else _threads


def set_flush_denormal(mode: bool) -> bool:
    """Compute with zero in place of denormals (faster where they abound), or keep them, which is the default.

    Acts in the calling Python thread and the threads that compute for it.

    Parameters
    ----------
    mode : bool

    Returns
    -------
    bool
        Whether this processor, with these kernels, can do it; where not, nothing is changed.

    Raises
    ------
    TypeError
        Where ``mode`` is not a bool.

    Examples
    --------
    >>> import fastnn
    >>> supported = fastnn.set_flush_denormal(False)
    """
    if not isinstance(mode, bool):
        raise TypeError(f"mode: expected a bool, got {mode!r}")
    return parallel is not None and parallel.set_flush_denormal(mode)


def _after_fork() -> None:
    global _forked
    _forked = True
    if parallel is not None:
        parallel.become_serial()


if parallel is not None:
    parallel.start(_threads)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
