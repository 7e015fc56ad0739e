"""What the machine can do, measured: multiply-adds a second in registers, and bytes a second in each level of memory."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from fastnn.dispatch import has_numba
from fastnn.measure import interleaved

ACCUMULATORS = 16  # enough to hide the latency of an FMA on two ports, few enough for 32 registers or, at half width, 16
ROUNDS = 100_000  # of multiply-adds in one call of the probe: some 0.2 ms
WORKING_SETS = tuple(1 << power for power in range(17, 29))  # 128 KiB to 256 MiB; below, calling counts more than copying


class Work(NamedTuple):
    """What one operator has to do: floating-point operations, and bytes that it reads, writes, and updates in place."""

    flops: int
    read: int
    written: int
    updated: int


@dataclass(frozen=True)
class Machine:
    """One machine, with so many threads at work.

    Attributes
    ----------
    processor : str
    threads : int
    dtype : str
    peak : float
        FLOP/s of multiply-adds.
    copying, reading, updating : dict
        Bytes of a working set -> bytes a second. What is copied counts as read and as written, and so does what is updated in place.
    """

    processor: str
    threads: int
    dtype: str
    peak: float
    copying: Mapping[int, float]
    reading: Mapping[int, float]
    updating: Mapping[int, float]

    def arithmetic(self, work: Work) -> float:
        """The seconds that the operations take at peak."""
        return work.flops / self.peak

    def traffic(self, work: Work) -> float:
        """The seconds that the compulsory traffic takes: what is written is copied, the rest is read (or as fast as that).

        Working sets smaller than the measured ones count as the smallest of these.
        """
        size = work.read + work.written + work.updated
        copied = 2 * min(work.read, work.written)
        seconds = copied / _rate(self.copying, size) + 2 * work.updated / _rate(self.updating, size)
        return seconds + (work.read + work.written - copied) / _rate(self.reading, size)

    def limit(self, works: Sequence[Work]) -> float:
        """The seconds below which nobody gets, unless by fewer operations than the textbook's."""
        return sum(max(self.arithmetic(work), self.traffic(work)) for work in works)

    def is_arithmetic(self, works: Sequence[Work]) -> bool:
        """Whether the operations take longer than the traffic."""
        return sum(map(self.arithmetic, works)) > sum(map(self.traffic, works))


def _rate(rates: Mapping[int, float], size: int) -> float:
    """The rate at a working set, between those measured; a small one's is never below a large one's."""
    sizes = sorted(rates)
    falling = [max(rates[other] for other in sizes if other >= known) for known in sizes]
    return float(np.interp(np.log(size or 1), np.log(sizes), falling))


def measure_machine(threads: int, dtype: str, budget: float) -> Machine:
    """Measure the machine that this runs on, in about ``budget`` seconds."""
    share = budget / (3 * len(WORKING_SETS) + 3)
    with peak_probe(threads, dtype) as (probe, operations):
        peak = operations / interleaved({"peak": probe}, budget=3 * share)["peak"].seconds
    with threadpool_limits(1, "blas"):  # each thread has its own part to read
        rates = [{size: _rate_of(make, threads, size, share) for size in WORKING_SETS} for make in (_copies, _reads, _updates)]
    return Machine(processor(), threads, dtype, peak, *rates)


def processor() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


@contextmanager
def _together(threads: int, function: Callable[[], object]) -> Iterator[Callable[[], object]]:
    """A function that makes one call in each of so many threads."""
    if threads == 1:
        yield function
        return
    with ThreadPoolExecutor(threads) as pool:

        def all_of_them() -> None:
            for running in [pool.submit(function) for _ in range(threads)]:
                running.result()

        yield all_of_them


def _rate_of(make: Callable[[int], tuple[Callable[[], object], int]], threads: int, size: int, budget: float) -> float:
    """Bytes/s of a working set of ``size`` bytes that is split over the threads."""
    step, moved = make(size // threads)
    repeats = max(1, (1 << 22) // size)  # so that handing work to a thread counts little

    def steps() -> None:
        for _ in range(repeats):
            step()

    with _together(threads, steps) as call:
        return repeats * threads * moved / interleaved({"steps": call}, budget=budget, rounds=3)["steps"].seconds


def _copies(size: int) -> tuple[Callable[[], object], int]:
    source, target = np.ones(size // 2, np.uint8), np.zeros(size // 2, np.uint8)
    return lambda: np.copyto(target, source), size


def _reads(size: int) -> tuple[Callable[[], object], int]:
    a, b = np.ones((2, size // 8), np.float32)
    return lambda: np.dot(a, b), size


def _updates(size: int) -> tuple[Callable[[], object], int]:
    a = np.ones(size // 4, np.float32)
    return lambda: np.negative(a, out=a), 2 * size


@contextmanager
def peak_probe(threads: int, dtype: str) -> Iterator[tuple[Callable[[], object], float]]:
    """A call that computes in registers, all threads at it, and how many operations it makes.

    Without Numba it is a product of matrices by NumPy, on as many threads as its BLAS is held to.
    """
    if not has_numba():
        a = np.ones((512, 512), dtype)
        yield lambda: a @ a, 2.0 * 512**3
        return
    loop = _fma_loop(dtype)
    with _together(threads, lambda: loop(ROUNDS)) as call:
        yield call, threads * ROUNDS * 2.0 * ACCUMULATORS * _vector_bytes() / np.dtype(dtype).itemsize


def _vector_bytes() -> int:
    """Bytes of the widest vectors of this processor."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


@cache
def _fma_loop(dtype: str) -> Callable[[int], float]:
    """A compiled function that makes ``count`` rounds of one multiply-add in each of ACCUMULATORS vectors."""
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic

    scalar: Any = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    lanes = _vector_bytes() // np.dtype(dtype).itemsize
    vector = ir.VectorType(scalar, lanes)
    number_type = types.float32 if dtype == "float32" else types.float64

    @intrinsic
    def rounds(typing_context, count):
        def generate(context, builder, signature, args):
            start = builder.block
            body, done = builder.append_basic_block("body"), builder.append_basic_block("done")
            factor = ir.Constant(vector, [0.999] * lanes)
            name = f"llvm.fma.v{lanes}{scalar.intrinsic_name}"
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
            builder.branch(body)
            builder.position_at_end(body)
            index = builder.phi(args[0].type)
            sums = [builder.phi(vector) for _ in range(ACCUMULATORS)]
            following = builder.add(index, ir.Constant(index.type, 1))
            index.add_incoming(ir.Constant(index.type, 0), start)
            index.add_incoming(following, body)
            for number, total in enumerate(sums):
                total.add_incoming(ir.Constant(vector, [1.0 + number] * lanes), start)
                total.add_incoming(builder.call(fma, [total, factor, factor]), body)
            builder.cbranch(builder.icmp_signed("<", following, args[0]), body, done)
            builder.position_at_end(done)
            result = sums[0]
            for total in sums[1:]:
                result = builder.fadd(result, total)
            return builder.extract_element(result, ir.Constant(ir.IntType(32), 0))

        return number_type(types.int64), generate

    return njit(number_type(types.int64), nogil=True)(lambda count: rounds(count))
