"""What the machine can do, as calls to time: multiply-adds in registers, moving memory, and the traffic that nobody avoids."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastnn.dispatch import is_available
from fastnn.kernels import isa

ROUNDS = 50_000  # of multiply-adds in one call of the probe: some 0.1 ms
READ = 1 << 24  # bytes that the probe of a memory reads, or all of it once
HANDED = 16  # times as much work where it is handed to threads, which takes some microseconds
LEAST = 1 << 17  # bytes that the traffic probe moves: less, and calling would count more than moving
ASSUMED = {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20}  # sizes of caches, where the system does not tell
MOST = 512 << 20  # bytes of the main memory that are moved

Probe = tuple[Callable[[], object], float]  # a call, and how many operations it makes or bytes it moves


class Work(NamedTuple):
    """What one operator has to do: floating-point operations, and bytes that it reads, writes, and updates in place."""

    flops: int
    read: int
    written: int
    updated: int


def processor() -> str:
    """The processor's name, where Linux tells it.

    Examples
    --------
    >>> from fastnn.measure.machine import processor
    >>> isinstance(processor(), str)
    True
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def caches(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> dict[str, int]:
    """Bytes of each cache for data, "L1" first; common sizes where the system does not tell."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    found = {}
    try:
        for folder in sorted(root.glob("index*")):
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                found[f"L{level}"] = int(size.rstrip("KMG")) * units.get(size[-1], 1)
    except (OSError, ValueError):
        return dict(ASSUMED)
    return found or dict(ASSUMED)


def compiled() -> Any:
    """The compiled loops, or None where they are not installed."""
    if not is_available("cython"):
        return None
    return importlib.import_module(f"fastnn.kernels.machine.cython_kernels_{isa.level()}")


@contextmanager
def _on_threads(loops: Sequence[Callable[[], object]]) -> Iterator[Callable[[], object]]:
    """A call that runs all loops, each in a thread of its own."""
    if len(loops) == 1:
        yield loops[0]
        return
    with ThreadPoolExecutor(len(loops)) as pool:
        yield lambda: list(pool.map(lambda loop: loop(), loops))


@contextmanager
def peak_probe(threads: int, dtype: str) -> Iterator[Probe]:
    """A call that computes in registers, in each of so many threads, and how many operations it makes.

    Without compiled kernels it is a product of matrices by NumPy, on as many threads as its BLAS is held to.

    Examples
    --------
    >>> from fastnn.measure.machine import peak_probe
    >>> with peak_probe(1, "float32") as (call, operations):
    ...     call() is not None, operations > 1e6
    (True, True)
    """
    kernels = compiled()
    if kernels is None:
        a = np.ones((512, 512), dtype)
        yield lambda: a @ a, 2.0 * 512**3
        return
    rounds, itemsize = ROUNDS * (1 if threads == 1 else HANDED), np.dtype(dtype).itemsize
    loops = [lambda: kernels.multiply_adds(rounds, itemsize == 8)] * threads
    with _on_threads(loops) as call:
        yield call, threads * rounds * 2.0 * kernels.CHAINS * kernels.VECTOR_BYTES / itemsize


@contextmanager
def memory_probe(nbytes: int, threads: int, kind: str) -> Iterator[Probe]:
    """A call that moves memory again and again, ``nbytes`` of its own in each of so many threads, and how many bytes it moves.

    ``kind`` is "read", or "update": reading and writing back in place, which counts twice. Without compiled kernels NumPy does it.
    """
    kernels, times = compiled(), max(1, READ * (1 if threads == 1 else HANDED) // nbytes)
    memory = [np.ones(nbytes // 4, np.float32).view(np.uint8) for _ in range(threads)]
    move = {"read": _read_by_numpy, "update": _update_by_numpy}[kind] if kernels is None else getattr(kernels, kind)
    with _on_threads([partial(move, a, times) for a in memory]) as call:
        yield call, float(threads * times * nbytes) * (2 if kind == "update" else 1)


def _read_by_numpy(memory: np.ndarray, times: int) -> None:
    a = memory.view(np.float32)
    for _ in range(times):
        np.dot(a, a)


def _update_by_numpy(memory: np.ndarray, times: int) -> None:
    a = memory.view(np.float32)
    for _ in range(times):
        np.negative(a, out=a)


def traffic_probe(works: Sequence[Work]) -> Probe:
    """A call that moves compulsory bytes, and which share of it counts, since it never moves less than LEAST.

    What is written is copied from what is read, the rest is read, and what is updated is negated in place.
    """
    steps: list[Callable[[], object]] = []
    times = max(1.0, LEAST / max(1, sum(work.read + work.written + work.updated for work in works)))
    for _, read, written, updated in works:
        copied = min(read, written)
        for size, make in ((copied, _copying), (read + written - 2 * copied, _reading), (updated, _updating)):
            if size:
                steps.append(make(int(size * times)))

    def call() -> None:
        for step in steps:
            step()

    return call, 1 / times


def _copying(size: int) -> Callable[[], object]:
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return lambda: np.copyto(target, source)


def _reading(size: int) -> Callable[[], object]:
    a, b = np.ones((2, -(-size // 8)), np.float32)
    return lambda: np.dot(a, b)


def _updating(size: int) -> Callable[[], object]:
    a = np.ones(-(-size // 4), np.float32)
    return lambda: np.negative(a, out=a)
