"""A plan's prediction and the gradients pulled back through it."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import nn


def network():
    fastnn.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(12, 4),
    ).double()


@pytest.mark.parametrize("rows", [1, 5])
def test_same_as_the_tape(rows, rng):
    model = network().eval()
    plan = fastnn.compile(model)
    x, dy = rng.standard_normal((rows, 2, 4, 4)), rng.standard_normal((rows, 4))
    y, pullback = plan.vjp(x)
    dx, gradients = pullback(dy)
    leaf = fastnn.tensor(x, requires_grad=True)
    expected = model(leaf)
    expected.backward(dy)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-12)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-10, atol=1e-14)
    assert set(gradients) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(gradients[name], parameter.grad.numpy(), rtol=1e-10, atol=1e-14, err_msg=name)


def test_evaluation_mode_leaves_the_model_alone(rng):
    model = network()
    x = rng.standard_normal((3, 2, 4, 4))
    before = model.state_dict()
    y, pullback = fastnn.compile(model).vjp(x)
    once, again = pullback(np.ones_like(y)), pullback(np.ones_like(y))
    np.testing.assert_array_equal(once[0], again[0])
    assert not np.shares_memory(once[0], again[0])
    assert model.training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_frozen_parameters_and_integers(rng):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.frozen = nn.Parameter(np.ones(3)), nn.Parameter(np.ones(3), requires_grad=False)

        def forward(self, x):
            return F.relu(self.scale * self.frozen + x)

    plan = fastnn.compile(Rows())
    y, pullback = plan.vjp(np.array([[1.0, -5.0, 2.0]]))
    dx, gradients = pullback(np.array([[1.0, 1.0, 3.0]]))
    assert dx.tolist() == [[1, 0, 3]]
    assert {name: value.tolist() for name, value in gradients.items()} == {"scale": [1, 0, 3]}


def test_errors(rng):
    _, pullback = fastnn.compile(nn.Linear(3, 2)).vjp(np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match=r"dy: expected shape \(4, 2\), got \(2,\)"):
        pullback(np.ones(2, np.float32))
    with pytest.raises(TypeError, match="dy: expected dtype float32"):
        pullback(np.ones((4, 2)))
