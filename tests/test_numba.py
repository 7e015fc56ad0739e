"""What Numba's kernels are compiled to: explicit vectors of the level in use, kept from one process to the next."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn.kernels import isa

pytest.importorskip("numba")

SCRIPT = """
import numpy as np
from fastnn.kernels.linear import numba_kernels as linear
x, w, b, y = np.ones((1, 3), "f4"), np.ones((2, 3), "f4"), np.zeros(2, "f4"), np.empty((1, 2), "f4")
linear.linear(x, w, b, y)
assert y.tolist() == [[3, 3]]
print(sum(linear._dot_rows.stats.cache_hits.values()), sum(linear._dot_rows.stats.cache_misses.values()))
"""


def _run(script: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=300
    )
    return result.stdout.strip()


def test_a_second_process_compiles_nothing(tmp_path):
    assert _run(SCRIPT, NUMBA_CACHE_DIR=str(tmp_path)) == "0 1"
    assert _run(SCRIPT, NUMBA_CACHE_DIR=str(tmp_path)) == "1 0"


@pytest.mark.parametrize("level", isa.built())
def test_vectors_are_as_wide_as_the_level_and_cached_apart(level):
    if level not in isa.supported():
        pytest.skip("this processor lacks the level")
    script = "from fastnn.kernels import numba_support as s; print(s.VECTOR_BYTES, s.cache_folder())"
    width, folder = _run(script, FASTNN_ISA=level).split(maxsplit=1)
    assert {"v2": 16, "v3": 32, "v4": 64}.get(level, int(width)) == int(width)
    other = next((name for name in isa.built() if name != level and name in isa.supported()), None)
    if other is not None:
        assert _run(script, FASTNN_ISA=other).split(maxsplit=1)[1] != folder


@pytest.fixture(autouse=True)
def _on_numba():
    with fastnn.use_backend("numba"):
        yield


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 3, 4, 13, 14, 15, 29, 43])
@pytest.mark.parametrize("inputs, outputs", [(1, 1), (15, 17), (16, 32), (129, 33), (385, 65), (400, 513)])
def test_products_at_the_edges_of_tiles_and_blocks(dtype, rows, inputs, outputs):
    rng = np.random.default_rng(rows)
    x, w, b = rng.standard_normal((rows, inputs)), rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs)
    dy = rng.standard_normal((rows, outputs))
    x, w, b, dy = (a.astype(dtype) for a in (x, w, b, dy))
    y, pullback = fastnn.vjp(F.linear, x, w, b)
    dx, dw, db = pullback(dy)
    eps, wide = np.finfo(dtype).eps, np.longdouble
    for got, left, right, start in ((y, x, w.T, b), (dx, dy, w, 0), (dw, dy.T, x, 0), (db, np.ones_like(dy[:, 0]), dy, 0)):
        bound = 16 * eps * (np.abs(left).astype(wide) @ np.abs(right) + np.abs(start))
        assert (np.abs(got - (left.astype(wide) @ right + start)) <= bound).all()


@pytest.mark.parametrize("rows", [1, 5, 20])
def test_a_nan_stays_in_its_row(rows):
    x, w = np.ones((rows, 40), np.float32), np.ones((35, 40), np.float32)
    x[0, 39] = np.nan
    w[34, 0] = np.inf
    y = F.linear(x, w)
    assert np.isnan(y[0]).all()
    assert (y[1:, :34] == 40).all() and np.isinf(y[1:, 34]).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_taps_beyond_the_image_need_no_room(groups):
    far = 10**6
    x, w = np.ones((1, 2, 5, 4), np.float32), np.ones((4, 2 // groups, 3, 3), np.float32)
    y, pullback = fastnn.vjp(F.conv2d, x, w, padding=far, dilation=far, groups=groups)
    assert y.shape == (1, 4, 5, 4) and (y == 2 // groups).all()
    dx, dw = pullback(np.ones_like(y))
    assert (dx == 4 // groups).all()
    assert (dw[:, :, 1, 1] == 20).all() and dw.sum() == 20 * w[:, :, 1, 1].size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride, width", [(1, 2), (2, 2), (2, 3), (3, 2), (2, 5)])
@pytest.mark.parametrize("columns", [5, 31, 32, 33, 70])
def test_pooling_at_the_edges_of_vectors(dtype, stride, width, columns):
    x = np.random.default_rng(columns).standard_normal((1, 2, 9, columns)).astype(dtype)
    dy = None
    for pool in (F.max_pool2d, F.avg_pool2d):
        found = []
        for backend in ("numba", "reference"):
            with fastnn.use_backend(backend):
                y, pullback = fastnn.vjp(pool, x, kernel_size=width, stride=stride, padding=width // 2)
                dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
                found.append((y, *pullback(dy)))
        for got, wanted in zip(*found, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=16 * np.finfo(dtype).eps)
