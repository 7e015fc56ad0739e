"""What the machine can do, measured: multiply-adds a second in registers, and bytes a second copied in each level of memory."""

from __future__ import annotations

import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.kernels import Cost
from fastnn.measure import interleaved

ACCUMULATORS = 16  # enough to hide the latency of an FMA on two ports, few enough for 32 registers or, at half width, 16


@dataclass(frozen=True)
class Machine:
    """One machine, with so many threads at work.

    Attributes
    ----------
    processor : str
    threads : int
    peak : float
        FLOP/s of multiply-adds.
    bandwidths : dict
        Bytes of a working set -> bytes read and written a second when it is copied.
    """

    processor: str
    threads: int
    peak: float
    bandwidths: dict[int, float]

    def bandwidth(self, size: int) -> float:
        """Bytes/s of a working set of ``size`` bytes: that of the smallest measured one that is as large."""
        return self.bandwidths[min((known for known in self.bandwidths if known >= size), default=max(self.bandwidths))]

    def limit(self, cost: Cost) -> float:
        """The seconds below which nobody gets: arithmetic at peak or compulsory traffic at full bandwidth, whichever is longer."""
        return max(cost.flops / self.peak, cost.bytes / self.bandwidth(cost.bytes))


def measure_machine(threads: int, dtype: str, budget: float = 0.3) -> Machine:
    """Measure the machine that this runs on."""
    caches = _cache_sizes()
    working_sets = (caches[2] // 2 * threads, 8 * caches[2], 32 * caches[2], 128 * caches[2])
    return Machine(
        processor(), threads, _peak(threads, dtype, budget), {size: _copy_rate(threads, size, budget) for size in working_sets}
    )


def processor() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _cache_sizes() -> dict[int, int]:
    """Bytes of the unified caches by level, or the usual sizes where Linux does not tell."""
    found = {2: 1 << 20}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (folder / "type").read_text().strip() == "Unified":
            found[int((folder / "level").read_text())] = int((folder / "size").read_text().strip().removesuffix("K")) << 10
    return found


def _together(threads: int, function: Callable[[int], object], budget: float) -> float:
    """Seconds in which so many threads each make one call."""
    if threads == 1:
        return interleaved({"one": lambda: function(0)}, budget=budget)["one"].seconds
    with ThreadPoolExecutor(threads) as pool:
        return interleaved({"all": lambda: list(pool.map(function, range(threads)))}, budget=budget)["all"].seconds


def _copy_rate(threads: int, size: int, budget: float) -> float:
    """Bytes/s of np.copyto between two arrays that make up a working set of ``size`` bytes, split over the threads."""
    arrays = [(np.ones(size // 2 // threads, np.uint8), np.zeros(size // 2 // threads, np.uint8)) for _ in range(threads)]
    repeats = max(1, (1 << 25) // size)  # so that handing work to a thread does not count

    def copies(index: int) -> None:
        source, target = arrays[index]
        for _ in range(repeats):
            np.copyto(target, source)

    return repeats * size / _together(threads, copies, budget)


def _peak(threads: int, dtype: str, budget: float) -> float:
    """FLOP/s of independent chains of multiply-adds in vector registers; of a product of matrices where there is no Numba."""
    try:
        loop = _fma_loop(dtype)
    except ModuleNotFoundError:
        a = np.ones((1024, 1024), dtype)
        return 2 * 1024**3 / interleaved({"matmul": lambda: a @ a}, budget=budget)["matmul"].seconds
    count = 100_000
    lanes = _vector_bytes() // np.dtype(dtype).itemsize
    return threads * count * ACCUMULATORS * lanes * 2 / _together(threads, lambda _: loop(count), budget)


def _vector_bytes() -> int:
    """Bytes of the widest vectors of this processor."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


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
