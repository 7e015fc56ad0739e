"""Whole networks on every backend: a step of training, and prediction. A wrong step is not timed."""

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim
from fastnn.kernels import BACKENDS, Cost
from fastnn.measure.costs import call_cost
from fastnn.training import predict, train_step


def mlp():
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip


NETWORKS = {"mlp": (mlp, (128, 784)), "cnn": (cnn, (32, 1, 28, 28))}


def network(name):
    """The network with its seeded weights, an optimiser and one batch."""
    build, shape = NETWORKS[name]
    rng = np.random.default_rng(0)
    fastnn.manual_seed(0)
    model = build()
    x, y = rng.standard_normal(shape).astype(np.float32), rng.integers(0, 10, shape[0])
    return model, optim.SGD(model.parameters(), lr=0.01), x, y


def cost_of(function):
    """What the cost model says of every kernel call in ``function()``."""
    costs = []
    with dispatch.observe(lambda call: costs.append(call_cost(call))):
        function()
    return Cost(*map(sum, zip(*costs, strict=True)))


@pytest.fixture(params=BACKENDS)
def backend(request):
    if not dispatch.is_available(request.param):
        pytest.skip(f"backend {request.param} is not installed")
    with dispatch.use_backend(request.param):
        yield request.param


@pytest.mark.parametrize("name", NETWORKS)
def test_training_step(name, backend, measure, benchmark):
    loss = nn.CrossEntropyLoss()
    weights = {}
    for order in ("reference", backend):
        model, optimizer, x, y = network(name)
        with dispatch.use_backend(order):
            train_step(model, loss, optimizer, x, y)
        weights[order] = model.state_dict()
    for key, expected in weights["reference"].items():
        np.testing.assert_allclose(weights[backend][key], expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    def step():
        train_step(model, loss, optimizer, x, y)

    benchmark.group = f"{name}, training step"
    measure(step, cost_of(step), network=name, backend=backend, batch=len(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_prediction(name, backend, measure, benchmark):
    model, _, x, _ = network(name)
    with dispatch.use_backend("reference"):
        expected = predict(model, x)
    np.testing.assert_allclose(predict(model, x), expected, rtol=0, atol=3e-5 * np.abs(expected).max())

    def run():
        predict(model, x)

    benchmark.group = f"{name}, prediction"
    measure(run, cost_of(run), network=name, backend=backend, batch=len(x))
