"""Limits on gradients inside a plan."""

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim
from fastnn.training import train_step

from .networks import assert_same_state, batches, twins

LIMITS = [
    {"clip_grad_norm": 0.1}, {"clip_grad_norm": 1e6}, {"clip_grad_norm": 0.0}, {"clip_grad_value": 0.01},
    {"clip_grad_norm": 0.05, "clip_grad_value": 0.02},
]  # fmt: skip


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-6)])
@pytest.mark.parametrize("clipping", LIMITS, ids=str)
@pytest.mark.parametrize("name", ["mlp", "cnn", "skip"])
def test_steps_equal_eager_ones(name, clipping, dtype, tolerance):
    model, twin, shape = twins(name, dtype)
    loss, ours, theirs = nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), optim.SGD(twin.parameters(), lr=0.1)
    plan = fastnn.compile(model, loss, ours, **clipping)
    for x, y in batches(shape, [5, 5, 5, 4], dtype):
        plan.step(x, y)
        train_step(twin.train(), loss, theirs, x, y, **clipping)
    assert_same_state(model.state_dict(), twin.state_dict(), tolerance)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_clipping_is_a_part_of_the_program():
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), clip_grad_norm=0.1)
    ((x, y),) = batches(shape, [5])
    plan.step(x, y)
    calls = []
    with dispatch.observe(calls.append):
        plan.step(x, y)
    names = [call.operator.name for call in calls]
    assert names.count("joint_norm") == names.count("limited") == names.count("sgd") == 4


def test_the_norm_is_of_what_the_optimiser_trains():
    model, twin, shape = twins("mlp")
    loss = nn.CrossEntropyLoss()
    plan = fastnn.compile(model, loss, optim.SGD(model[2].parameters(), lr=1.0), clip_grad_norm=0.1)
    theirs = optim.SGD(twin[2].parameters(), lr=1.0)
    before = model.state_dict()
    for x, y in batches(shape, [5, 5]):
        plan.step(x, y)
        train_step(twin, loss, theirs, x, y, clip_grad_norm=0.1)
    assert_same_state(model.state_dict(), twin.state_dict())
    np.testing.assert_array_equal(model[0].weight.numpy(), before["0.weight"])


def test_gradients_that_are_no_numbers_spread():
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), clip_grad_norm=0.1)
    ((x, y),) = batches(shape, [5])
    plan.step(np.full_like(x, np.inf), y)
    assert all(np.isnan(value).all() for value in model.state_dict().values())


def test_clipping_of_gradients_that_are_one_array():
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Parameter(np.full(3, v)) for v in (0.1, 0.2))

        def forward(self, x):
            return x + (self.a + self.b)

    model, twin = Sums(), Sums()
    ours, theirs = optim.SGD(model.parameters(), lr=0.1), optim.SGD(twin.parameters(), lr=0.1)
    plan = fastnn.compile(model, nn.MSELoss(), ours, clip_grad_norm=0.01)
    for _ in range(3):
        plan.step(np.ones((2, 3)), np.zeros((2, 3)))
        train_step(twin, nn.MSELoss(), theirs, np.ones((2, 3)), np.zeros((2, 3)), clip_grad_norm=0.01)
    assert_same_state(model.state_dict(), twin.state_dict())
