"""A plan's predictions are the model's in evaluation mode."""

import weakref

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


def test_predictions_that_somebody_has_stay_as_they_are():
    """Memory of small predictions is used again once nobody can see it."""
    model, _, shape = twins("mlp", np.float32)
    plan = fastnn.compile(model)
    inputs = [x for x, _ in batches(shape, [5] * 8, np.float32)]
    expected = [model.eval()(fastnn.tensor(x)).numpy() for x in inputs]
    for _ in range(2):
        found = [plan.predict(x) for x in inputs]
        assert len({y.ctypes.data for y in found}) == len(found)
        for y, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(y, wanted)
        view, number, exported = found[0].T, found[1], memoryview(found[2])
        del found, y
        for x in inputs:
            plan.predict(x)
        for kept, wanted in zip((view.T, number, exported), expected, strict=False):
            np.testing.assert_array_equal(kept, wanted)
        del view, number, exported, kept


def test_a_prediction_that_was_changed_is_not_given_again():
    plan = fastnn.compile(nn.Linear(3, 4))
    x = np.ones((2, 3), np.float32)
    expected = plan.predict(x).copy()
    changes = (
        lambda y: setattr(y, "shape", (8,)), lambda y: setattr(y, "dtype", np.int32), lambda y: setattr(y.flags, "writeable", False),
    )  # fmt: skip
    for change in changes:
        for _ in range(3):
            change(plan.predict(x))
        y = plan.predict(x)
        np.testing.assert_array_equal(y, expected)
        assert y.flags.writeable and y.dtype == np.float32
        del y
    watched = weakref.ref(plan.predict(x))
    for _ in range(4):
        assert plan.predict(x) is not watched()


class Branches(nn.Module):
    """Values that outlive others, views of them, and operators that may work in place."""

    def forward(self, x):
        a = x * 2
        b = a.reshape(2, -1) + 1
        c = F.relu(a) + b.reshape(a.shape)
        d = c * c
        return F.cat([d.sum(1, keepdim=True) - a, (d / (1 + c * c)).T.T, F.softmax(a, 1)], 1)


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("rows", [4, 4096])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Of(F.relu),
        lambda: Of(lambda x: x.reshape(-1)),
        lambda: Of(lambda x: F.cat([F.relu(x) * x, x.reshape(x.shape)], 1)),
        Branches,
        lambda: nn.Linear(6, 3),
    ],
)
def test_inputs_are_read_where_they_are_and_never_changed(make, rows):
    """Whether they begin at a cache line or not, and whether they are still there at the next call."""
    model = make()
    plan = fastnn.compile(model)
    rng = np.random.default_rng(0)
    for turn in range(8):
        room = np.empty((rows * 6 + 32) * 4, np.uint8)
        start = -room.ctypes.data % 64 + (16 if turn % 2 else 0)
        x = room[start : start + rows * 24].view(np.float32).reshape(rows, 6)
        x[...] = rng.standard_normal((rows, 6))
        before = x.copy()
        np.testing.assert_array_equal(plan.predict(x), model(fastnn.tensor(before)).numpy())
        np.testing.assert_array_equal(x, before)
        room[:] = 255  # NaN, for whoever reads it later
        other = rng.standard_normal((6, rows)).astype(np.float32).T  # a call that takes no shortcut
        np.testing.assert_allclose(plan.predict(other), model(fastnn.tensor(other)).numpy(), rtol=1e-5, atol=1e-6)


def test_memory_is_not_written_to_too_early():
    x = np.random.default_rng(0).standard_normal((4, 6))
    expected = Branches()(fastnn.tensor(x)).numpy()
    plan = fastnn.compile(nn.Sequential(Branches()).double())
    for _ in range(3):
        np.testing.assert_allclose(plan.predict(x.astype(np.float32)), expected, rtol=1e-5)
