"""Compiled kernels touch nothing around their arrays: each ends, or begins, where a page does, and the pages next to it are closed."""

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest

from fastnn import dispatch
from fastnn.kernels import find
from fastnn.kernels.examples import cases, draw

MOST_BYTES = 200_000  # of the arrays of an example
AROUND = 255  # bytes around an array, which make it NaN


def convolutions():
    """Arguments of convolutions whose rows or planes end in the middle of a vector or a pair of pixels, and what reads them in place."""
    rng = np.random.default_rng(0)
    for x, w, stride, padding in [
        ((2, 17, 21, 19), (20, 17, 1, 1), (1, 3), 0),
        ((3, 20, 8, 13), (33, 20, 1, 1), (1, 2), 0),
        ((1, 20, 3, 15), (33, 20, 1, 1), (2, 3), 0),
        ((1, 20, 4, 25), (33, 20, 1, 1), (2, 3), 0),
        ((9, 20, 33, 1), (33, 20, 1, 1), (2, 1), 0),
        ((1, 64, 9, 11), (64, 64, 3, 3), (1, 1), 1),
        ((2, 3, 19, 21), (3, 1, 3, 3), (1, 1), 1),
        ((1, 6, 12, 12), (16, 6, 5, 5), (1, 1), 0),
    ]:
        geometry = stride, (padding,) * 4, (1, 1), x[1] // w[1]
        for dtype in ("float32", "float64"):
            images, weights = (rng.standard_normal(shape).astype(dtype) for shape in (x, w))
            (y,) = dispatch.run(find("conv2d"), (images, weights, None, *geometry))
            yield find("conv2d"), (images, weights, None, *geometry)
            yield find("conv2d_backward"), (y, images, weights, *geometry)


def examples():
    """All operators' examples but for large ones."""
    for case in cases():
        for dtype in ("float32", "float64"):
            args = draw(case, dtype)
            if sum(value.nbytes for value in args if isinstance(value, np.ndarray)) <= MOST_BYTES:
                yield case.operator, args


class Between:
    """A copy of an array between two pages that nobody may read."""

    def __init__(self, array, at_end):
        page = mmap.PAGESIZE
        inside = max(-(-array.nbytes // page), 1) * page
        self.pages = mmap.mmap(-1, inside + 2 * page)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))
        for closed in (address, address + page + inside):
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(closed), ctypes.c_size_t(page), 0) == 0
        start = inside - array.nbytes if at_end else 0
        self.open = np.frombuffer(self.pages, np.uint8, inside, page)
        self.open[:] = AROUND
        self.around = np.delete(np.arange(inside), slice(start, start + array.nbytes))
        self.array = self.open[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        self.array[...] = array

    def nothing_around_is_changed(self):
        return bool((self.open[self.around] == AROUND).all())


def check(operator, args, at_end):
    """Bits as anywhere else."""
    expected = dispatch.run(operator, args)
    inputs = [Between(value, at_end) if isinstance(value, np.ndarray) else value for value in args]
    outputs = [None if result is None else Between(np.zeros_like(result), at_end) for result in expected]
    dispatch.run(
        operator,
        tuple([value.array if isinstance(value, Between) else value for value in inputs]),
        tuple([None if output is None else output.array for output in outputs]),
    )
    for output, result in zip(outputs, expected, strict=True):
        if output is not None:
            np.testing.assert_array_equal(output.array, result)
            assert output.nothing_around_is_changed()


@pytest.mark.skipif(sys.platform == "win32", reason="pages are closed by POSIX's mprotect")
@pytest.mark.skipif(not dispatch.is_available("cython"), reason="fastnn was installed without compiled kernels")
@pytest.mark.parametrize("calls", ["examples", "convolutions"])
def test_nothing_around_arrays_is_touched(calls):
    """In a process of its own, which a forbidden read ends."""
    done = subprocess.run([sys.executable, __file__, calls], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-300:]}\n{done.stderr[-2000:]}"


if __name__ == "__main__":
    with dispatch.use_backend("cython"):
        for operator, args in globals()[sys.argv[1]]():
            print(operator.name, [value.shape if isinstance(value, np.ndarray) else value for value in args], flush=True)
            for at_end in (False, True):
                check(operator, args, at_end)
