"""What can be traced, and what is refused."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import nn, optim
from fastnn.plan import TraceError
from fastnn.training import train_step

from .networks import batches, multilayer_perceptron, twins


class DependsOnNumbers(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return x * 2


def test_what_depends_on_numbers_is_refused_with_its_line():
    with pytest.raises(TraceError, match=r"test_trace.py:\d+: if x.sum\(\) > 0:"):
        fastnn.compile(DependsOnNumbers()).predict(np.ones(3, np.float32))


def test_symbols_know_their_shape_and_views():
    class Shapes(nn.Module):
        def forward(self, x):
            assert (len(x), x.numel(), x.ndim, x.dim(), x.size(1)) == (4, 24, 2, 2, 6)
            return F.cat([x.reshape(4, 2, 3)[:, 0], x.T[:3].T], 1)

    x = np.random.default_rng(0).standard_normal((4, 6))
    plan = fastnn.compile(Shapes())
    np.testing.assert_array_equal(plan.predict(x.astype(np.float32)), np.concatenate((x[:, :3], x[:, :3]), 1).astype(np.float32))


@pytest.mark.parametrize("pool", [F.max_pool2d, F.adaptive_max_pool2d])
def test_indices_of_maxima_are_values_too(pool):
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 16, 3)

        def forward(self, x):
            y, indices = pool(self.convolution(x), 2, return_indices=True)
            return fastnn.where(indices > 20, y, -y)  # those in the lower half of the plane

    class Places(nn.Module):
        def forward(self, x):
            return pool(x, 2, return_indices=True)[1]

    x = np.random.default_rng(0).standard_normal((2, 3, 9, 8))
    late, places = Late().double(), Places()
    found = fastnn.compile(late).predict(x)
    np.testing.assert_allclose(found, late(x).numpy(), atol=1e-12)
    indices = fastnn.compile(places).predict(x)
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(indices, places(x))


def test_one_output_is_expected():
    class Two(nn.Module):
        def forward(self, x):
            return x + 1, x * 2

    with pytest.raises(TypeError, match="one Tensor"):
        fastnn.compile(Two()).predict(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="scalar"):
        fastnn.compile(multilayer_perceptron(), lambda p, y: p - y).gradients(
            np.ones((2, 6), np.float32), np.ones((2, 3), np.float32)
        )


def test_wrong_input_changes_nothing():
    model, _, shape = twins("mlp")
    optimizer = optim.Adam(model.parameters())
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optimizer)
    ((x, y),) = batches(shape, [5])
    plan.step(x, y)
    before, state = model.state_dict(), optimizer.state_dict()
    for wrong_x, wrong_y, argument in (
        (x, y + 3, "y"), (x[:, :5], y, "input"), (x, y[:4], "target"), (x.astype(complex), y, "x"), (None, y, "x"),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=argument):
            plan.step(wrong_x, wrong_y)
    with pytest.raises(ValueError, match="Y"):
        plan.epoch(np.tile(x, (3, 1)), np.concatenate((y, y, y + 3)), batch_size=5, shuffle=False)
    assert optimizer.state_dict()["state"][0]["step"] - state["state"][0]["step"] in (0, 1)
    model.load_state_dict(before)
    assert np.isfinite(plan.step(x, y))
    for arguments, name in (((3,), "model"), ((model, 3), "loss"), ((model, None, 3), "optimizer")):
        with pytest.raises(TypeError, match=name):
            fastnn.compile(*arguments)


def test_a_plan_in_its_own_loss_does_not_hang():
    model = multilayer_perceptron()
    plan = fastnn.compile(
        model, lambda p, y: (p - plan.predict(np.ones((2, 6), np.float32))).sum(), optim.SGD(model.parameters())
    )
    with pytest.raises(ValueError, match="its own model"):
        plan.step(np.ones((2, 6), np.float32), np.ones((2, 3), np.float32))


LOSSES_OF_INTEGERS = {
    "a column": (lambda p, y: F.cross_entropy(p, y[:, 1]), (0, 3, (8, 2)), None),
    "a column of one": (lambda p, y: F.cross_entropy(p, y.flatten()), (0, 3, (8, 1)), None),
    "another shape": (lambda p, y: F.cross_entropy(p, y.reshape(-1)), (0, 3, (8, 1)), None),
    "a mask": (lambda p, y: fastnn.where(y, p, 0.0).mean(), (0, 2, (8, 3)), bool),
    "numbers of booleans": (lambda p, y: ((p - y.double()) ** 2).mean(), (0, 2, (8, 3)), bool),
    "a comparison": (lambda p, y: fastnn.where(y == 1, p, 0.0).mean(), (0, 2, (8, 3)), None),
    "a comparison of floats": (lambda p, y: fastnn.where(p > 0, p * p, 0.0).mean(), (0, 2, (8, 3)), None),
}


@pytest.mark.parametrize("loss, drawn, dtype", LOSSES_OF_INTEGERS.values(), ids=LOSSES_OF_INTEGERS)
def test_integers_and_booleans(loss, drawn, dtype):
    model, twin, _ = twins("mlp")
    ours, theirs = optim.SGD(model.parameters(), lr=0.1), optim.SGD(twin.parameters(), lr=0.1)
    plan, rng = fastnn.compile(model, loss, ours), np.random.default_rng(0)
    for _ in range(4):
        x, y = rng.standard_normal((8, 6)), rng.integers(*drawn).astype(dtype or np.int64)
        assert plan.step(x, y) == pytest.approx(train_step(twin, loss, theirs, x, y)[0], abs=1e-12)


def test_classes_in_a_part_of_the_target_are_checked():
    model, _, _ = twins("mlp")
    plan = fastnn.compile(model, lambda p, y: F.cross_entropy(p, y[:, 1]), optim.SGD(model.parameters(), lr=0.1))
    x, y = np.ones((8, 6)), np.zeros((8, 2), int)
    y[:, 0] = 7  # nobody reads it
    plan.step(x, y)
    plan.epoch(x, y, batch_size=3)
    y[5, 1] = 3
    with pytest.raises(ValueError, match="y: expected classes in \\[0, 2\\].* got 3"):
        plan.step(x, y)
    with pytest.raises(ValueError, match="got 3"):
        plan.epoch(x, y, batch_size=3)


def test_an_optimiser_of_another_model_is_refused():
    model, other, _ = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(other.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="optimizer: none of its parameters"):
        plan.step(np.ones((2, 6)), np.zeros(2, int))
