"""Pooling of drawn shapes: every backend equals the reference, and that is PyTorch's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
import fastnn.functional as F
from fastnn import dispatch
from fastnn.kernels.examples import backward_args
from fastnn.kernels.pooling import operators

BACKENDS = [name for name in ("reference", "cython", "numba") if dispatch.is_available(name)]
NAN, INF = np.nan, np.inf


@st.composite
def axes(draw, dilated):
    """One dimension: size, kernel, stride, padding, dilation; small values, so that edges are frequent."""
    kernel = draw(st.integers(1, 4))
    padding = draw(st.integers(0, kernel // 2))
    dilation = draw(st.integers(1, 3)) if dilated else 1
    least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    return draw(st.integers(least, least + 7)), kernel, draw(st.integers(1, 5)), padding, dilation


def _compare(forward, args):
    """All backends against the reference, forward and backward."""
    with fastnn.use_backend("reference"):
        expected = dispatch.run(forward, args)
        back = backward_args(forward, args, np.random.default_rng(1))
        gradients = dispatch.run(forward.backward, back)
    for name in BACKENDS:
        with fastnn.use_backend(name):
            for results, wanted in ((dispatch.run(forward, args), expected), (dispatch.run(forward.backward, back), gradients)):
                for result, value in zip(results, wanted, strict=True):
                    np.testing.assert_allclose(result, value, rtol=0, atol=1e-12)


def _tied(shape, seed):
    """Few different values, so that ties are frequent, and some of them special."""
    return np.random.default_rng(seed).choice([-INF, -1.0, -0.0, 0.0, 2.0, NAN], shape, p=[0.3, 0.2, 0.1, 0.1, 0.2, 0.1])


@settings(deadline=None, max_examples=60)
@given(rows=axes(True), columns=axes(True), ceil_mode=st.booleans(), seed=st.integers(0, 99))
def test_max_pool_on_every_backend(rows, columns, ceil_mode, seed):
    x = _tied((2, 1, rows[0], columns[0]), seed)
    _compare(operators.max_pool2d, (x, *zip(rows[1:], columns[1:], strict=True), ceil_mode, False))


@settings(deadline=None, max_examples=60)
@given(
    rows=axes(False), columns=axes(False), ceil_mode=st.booleans(), include=st.booleans(),
    divisor=st.sampled_from([None, 1, 3, -2]), seed=st.integers(0, 99),
)  # fmt: skip
def test_avg_pool_on_every_backend(rows, columns, ceil_mode, include, divisor, seed):
    x = np.random.default_rng(seed).standard_normal((2, 1, rows[0], columns[0]))
    parameters = list(zip(rows[1:4], columns[1:4], strict=True))
    _compare(operators.avg_pool2d, (x, *parameters, ceil_mode, include, divisor))


@settings(deadline=None, max_examples=40)
@given(size=st.tuples(st.integers(1, 9), st.integers(1, 9)), output_size=st.tuples(st.integers(0, 11), st.integers(0, 11)))
def test_adaptive_pools_on_every_backend(size, output_size):
    _compare(operators.adaptive_max_pool2d, (_tied((1, 2, *size), 0), output_size, False))
    _compare(operators.adaptive_avg_pool2d, (np.random.default_rng(0).standard_normal((1, 2, *size)), output_size))


@settings(deadline=None, max_examples=30)
@given(
    rows=axes(False), columns=axes(False), dilation=st.integers(1, 2), ceil_mode=st.booleans(), include=st.booleans(),
    divisor=st.sampled_from([None, 3]),
)  # fmt: skip
def test_agrees_with_torch(rows, columns, dilation, ceil_mode, include, divisor):
    torch = pytest.importorskip("torch")
    G = torch.nn.functional
    sizes = [axis[0] + axis[1] for axis in (rows, columns)]  # room for the dilation
    kernel, stride, padding = zip(rows[1:4], columns[1:4], strict=True)
    x = np.random.default_rng(0).standard_normal((2, 3, *sizes))
    pairs = [
        (lambda L, v: L.max_pool2d(v, kernel, stride, padding, dilation, ceil_mode)),
        (lambda L, v: L.avg_pool2d(v, kernel, stride, padding, ceil_mode, include, divisor)),
        (lambda L, v: L.adaptive_avg_pool2d(v, (kernel[0], None))),
        (lambda L, v: L.adaptive_max_pool2d(v, kernel)),
        (lambda L, v: L.max_pool1d(v[:, :, 0], kernel[1], stride[1], padding[1], dilation, ceil_mode)),
        (lambda L, v: L.avg_pool1d(v[:, 0], kernel[1], stride[1], padding[1], ceil_mode, include)),
        (lambda L, v: L.adaptive_avg_pool1d(v[0, 0], kernel[1])),
        (lambda L, v: L.adaptive_max_pool1d(v[0], kernel[1])),
    ]
    for pool in pairs:
        theirs = torch.tensor(x, requires_grad=True)
        expected = pool(G, theirs)
        expected.square().sum().backward()
        ours = fastnn.tensor(x, requires_grad=True)
        y = pool(F, ours)
        np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-13)
        F.sum(y * y).backward()
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("backend")
def test_indices_agree_with_torch():
    torch = pytest.importorskip("torch")
    x = _tied((2, 3, 9, 11), 3)
    for ours, theirs in (
        (
            F.max_pool2d(x, 3, 2, 1, return_indices=True),
            torch.nn.functional.max_pool2d(torch.tensor(x), 3, 2, 1, return_indices=True),
        ),
        (F.adaptive_max_pool2d(x, 4, True), torch.nn.functional.adaptive_max_pool2d(torch.tensor(x), 4, True)),
    ):
        np.testing.assert_array_equal(ours[0], theirs[0].numpy())
        np.testing.assert_array_equal(ours[1], theirs[1].numpy())
