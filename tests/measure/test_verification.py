"""Verification of the kernels of a network: no side effects, and an error that is found."""

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim
from fastnn.kernels.operator import find
from fastnn.measure import verify
from fastnn.measure.verification import KernelCheck


@pytest.fixture
def network(rng):
    """A small CNN with its optimiser and one batch."""
    fastnn.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3)
    )
    x = rng.standard_normal((7, 1, 6, 6)).astype(np.float32)
    y = rng.integers(0, 3, 7)
    return model, x, y, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.1)


def test_verify_covers_forward_backward_and_update(network):
    checks = verify(*network)
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
    names = {check.operator for check in checks}
    assert {"conv2d", "conv2d_backward", "linear", "linear_backward"} <= names
    assert any(check.shapes[0] == (4, 1, 3, 3) for check in checks if find(check.operator).family == "update")
    assert any(check.shapes[0] == (7, 1, 6, 6) for check in checks)
    assert len(set(checks)) == len(checks)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_verify_checks_the_backend_in_use(rng, backend):
    if not dispatch.is_available(backend):
        pytest.skip(f"{backend} is not installed")
    model = nn.Linear(5, 2)
    x, y = rng.standard_normal((4, 5)).astype(np.float32), rng.standard_normal((4, 2)).astype(np.float32)
    with fastnn.use_backend(backend):
        checks = verify(model, x, y, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    assert all(check.ok for check in checks)
    assert {check.backend for check in checks if check.operator == "linear"} == {backend}


def test_nothing_is_changed(network):
    model, *_, optimizer = network
    model.eval()
    before = model.state_dict()
    verify(*network)
    assert not model.training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("wrong", [lambda y: y.__imul__(1.001), lambda y: y.__setitem__(0, np.nan)])
def test_a_wrong_kernel_is_found(network, monkeypatch, wrong):
    operator = find("linear")
    with fastnn.use_backend("reference"):
        right = operator.kernel("reference")

        def broken(x, w, b):
            (y,) = right(x, w, b)
            if x.dtype == np.float32:
                wrong(y)
            return (y,)

        monkeypatch.setattr(dispatch, "_chosen", {(operator, ("reference",)): ("reference", broken)})
        checks = verify(*network)
    assert "linear" in {check.operator for check in checks if not check.ok}
    assert "conv2d" not in {check.operator for check in checks if not check.ok}


def test_an_error_that_is_no_number_does_not_agree():
    assert not KernelCheck("linear", "cython", ((1,),), np.nan, 1.0).ok
