"""Every operator on every backend and example. A kernel whose result is wrong is not timed."""

import numpy as np
import pytest

from fastnn import dispatch
from fastnn.kernels.examples import cases, draw

TOLERANCE = {"float32": 3e-5, "float64": 1e-10}  # of the tensor's largest value

CASES = [(backend, case) for case in cases() for backend in (*case.operator.needs, "reference")]


def check(results, expected, dtype):
    for result, wanted in zip(results, expected, strict=True):
        assert (result is None) == (wanted is None)
        if wanted is None:
            continue
        wanted = np.asarray(wanted)
        finite = np.abs(wanted[np.isfinite(wanted)])
        scale = max(finite.max(), 1e-3) if finite.size else 1.0
        np.testing.assert_allclose(result, wanted, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("backend", "case"), CASES, ids=str)
def test_operator(backend, case, dtype, measure, benchmark):
    if not dispatch.is_available(backend):
        pytest.skip(f"backend {backend} is not installed")
    args = draw(case, dtype)
    arrays, attributes = case.operator.split(args)
    shapes = [None if a is None else a.shape for a in arrays]
    cost = case.operator.cost(np.dtype(dtype).itemsize, *shapes, *attributes)
    wide = tuple(a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args)
    with np.errstate(all="ignore"):
        expected = case.operator.kernel("reference")(*wide)
    benchmark.group = f"{case} {dtype}"
    with dispatch.use_backend(backend):
        out = dispatch.run(case.operator, args)
        check(out, expected, dtype)
        described = {"operator": case.operator.name, "backend": backend, "dtype": dtype, "shapes": repr(shapes)}
        measure(lambda: dispatch.run(case.operator, args, out), cost, **described)
