"""A plan's predictions are the model's in evaluation mode."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import nn

from .networks import assert_same_state, batches, twins


def test_predict_leaves_training_alone_and_writes_to_out():
    model, _, shape = twins("cnn")
    plan = fastnn.compile(model)
    ((x, _),) = batches(shape, [4])
    model.train()
    model[1].eval()
    before = model.state_dict()
    first = plan.predict(x)
    out = np.full_like(first, np.nan)
    assert plan.predict(x, out=out) is out
    np.testing.assert_array_equal(out, first)
    assert first is not plan.predict(x)
    assert model.training and not model[1].training
    assert_same_state(before, model.state_dict(), 0)
    with pytest.raises(ValueError, match="out"):
        plan.predict(x, out=out[:2])
    with pytest.raises(ValueError, match="loss"):
        plan.step(x, np.zeros(4, int))


def test_predict_follows_the_weights():
    model, twin, shape = twins("mlp", np.float32)
    plan = fastnn.compile(model)
    ((x, _),) = batches(shape, [5], np.float32)
    for _ in range(3):
        plan.predict(x)
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
    np.testing.assert_array_equal(plan.predict(x), model(fastnn.tensor(x)).numpy())
    model.double()
    assert plan.predict(x).dtype == np.float64
    with fastnn.use_backend("reference"):
        np.testing.assert_allclose(plan.predict(x), model(fastnn.tensor(x.astype(np.float64))).numpy(), atol=1e-12)


class Branches(nn.Module):
    """Values that outlive others, views of them, and operators that may work in place."""

    def forward(self, x):
        a = x * 2
        b = a.reshape(2, -1) + 1
        c = F.relu(a) + b.reshape(a.shape)
        d = c * c
        return F.cat([d.sum(1, keepdim=True) - a, (d / (1 + c * c)).T.T, F.softmax(a, 1)], 1)


def test_memory_is_not_written_to_too_early():
    x = np.random.default_rng(0).standard_normal((4, 6))
    expected = Branches()(fastnn.tensor(x)).numpy()
    plan = fastnn.compile(nn.Sequential(Branches()).double())
    for _ in range(3):
        np.testing.assert_allclose(plan.predict(x.astype(np.float32)), expected, rtol=1e-5)
