"""What the machine can do: multiply-adds in registers, and the traffic that a row cannot avoid, as calls to time beside the row."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastnn.dispatch import has_numba

ACCUMULATORS = 16  # enough to hide the latency of an FMA on two ports, few enough for 32 registers or, at half width, 16
ROUNDS = 100_000  # of multiply-adds in one call of the probe: some 0.2 ms; ten times as many where it is handed to threads
LEAST = 1 << 17  # bytes that the traffic probe moves: less, and calling would count more than moving


class Work(NamedTuple):
    """What one operator has to do: floating-point operations, and bytes that it reads, writes, and updates in place."""

    flops: int
    read: int
    written: int
    updated: int


def processor() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def traffic_probe(works: Sequence[Work]) -> tuple[Callable[[], object], float]:
    """A call that moves a row's compulsory bytes, and which share of it counts, since it never moves less than LEAST.

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


@contextmanager
def peak_probe(threads: int, dtype: str) -> Iterator[tuple[Callable[[], object], float]]:
    """A call that computes in registers, in each of so many threads, and how many operations it makes.

    Without Numba it is a product of matrices by NumPy, on as many threads as its BLAS is held to.
    """
    if not has_numba():
        a = np.ones((512, 512), dtype)
        yield lambda: a @ a, 2.0 * 512**3
        return
    loop, rounds = _fma_loop(dtype), ROUNDS if threads == 1 else 10 * ROUNDS
    operations = threads * rounds * 2.0 * ACCUMULATORS * _vector_bytes() / np.dtype(dtype).itemsize
    if threads == 1:
        yield lambda: loop(rounds), operations
        return
    with ThreadPoolExecutor(threads) as pool:
        yield lambda: list(pool.map(loop, [rounds] * threads)), operations


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
