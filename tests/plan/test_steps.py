"""A plan's steps are those that the model's own Python makes."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch, nn, optim
from fastnn.training import train_step

from .networks import MODELS, OPTIMIZERS, assert_same_state, batches, twins


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_steps_equal_eager_ones(name, optimizer):
    model, twin, shape = twins(name)
    loss = nn.CrossEntropyLoss()
    ours, theirs = OPTIMIZERS[optimizer](model.parameters()), OPTIMIZERS[optimizer](twin.parameters())
    plan = fastnn.compile(model, loss, ours)
    for number, (x, y) in enumerate(batches(shape, [5, 4, 5, 5, 1 if name != "cnn" else 2, 5, 5, 4, 5, 5])):
        if number == 5:
            ours.param_groups[0]["lr"] = theirs.param_groups[0]["lr"] = 0.03
        value = plan.step(x, y)
        expected, _ = train_step(twin.train(), loss, theirs, x, y)
        assert isinstance(value, float) and value == pytest.approx(expected, abs=1e-12)
    assert_same_state(model.state_dict(), twin.state_dict())
    assert_same_state(ours.state_dict()["state"], theirs.state_dict()["state"])
    np.testing.assert_allclose(plan.predict(x), twin.eval()(fastnn.tensor(x)).numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ["step", "epoch"])
def test_steps_of_one_shape(optimizer, method):
    model, twin, shape = twins("mlp")
    loss, ours, theirs = (
        nn.CrossEntropyLoss(),
        OPTIMIZERS[optimizer](model.parameters()),
        OPTIMIZERS[optimizer](twin.parameters()),
    )
    plan = fastnn.compile(model, loss, ours)
    for x, y in batches(shape, [5] * 7):
        plan.step(x, y) if method == "step" else plan.epoch(x, y, batch_size=5, shuffle=False)
        train_step(twin, loss, theirs, x, y)
    assert_same_state(model.state_dict(), twin.state_dict())
    assert_same_state(ours.state_dict()["state"], theirs.state_dict()["state"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "nadam"])
def test_an_epoch_is_its_steps(optimizer):
    model, twin, shape = twins("mlp")
    loss, ours, theirs = (
        nn.CrossEntropyLoss(),
        OPTIMIZERS[optimizer](model.parameters()),
        OPTIMIZERS[optimizer](twin.parameters()),
    )
    plan, steps = fastnn.compile(model, loss, ours), fastnn.compile(twin, loss, theirs)
    ((x, y),) = batches(shape, [23])
    for seed in range(3):
        mean = plan.epoch(x, y, batch_size=5, seed=seed)
        order = np.random.default_rng(seed).permutation(23)
        total = sum(len(rows) * steps.step(x[rows], y[rows]) for rows in np.split(order, [5, 10, 15, 20]))
        assert mean == pytest.approx(total / 23, abs=1e-12)
    assert_same_state(model.state_dict(), twin.state_dict())
    assert_same_state(ours.state_dict()["state"], theirs.state_dict()["state"])


def test_an_epoch_takes_the_rows_that_it_is_told():
    model, twin, shape = twins("mlp")
    ours, theirs = optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    plan, steps = fastnn.compile(model, nn.CrossEntropyLoss(), ours), fastnn.compile(twin, nn.CrossEntropyLoss(), theirs)
    ((x, y),) = batches(shape, [23])
    order = np.array([3, 3, 22, 0, 7, 1, 19])
    mean = plan.epoch(x, y, batch_size=3, order=order)
    total = sum(len(rows) * steps.step(x[rows], y[rows]) for rows in np.split(order, [3, 6]))
    assert mean == pytest.approx(total / 7, abs=1e-12)
    assert_same_state(model.state_dict(), twin.state_dict())
    for wrong, error in ((23, IndexError), (-1, IndexError), (0.5, TypeError)):
        with pytest.raises(error, match="order"):
            plan.epoch(x, y, order=np.array([0, wrong]))
    for wrong in (np.zeros(0, int), np.zeros((1, 1), int)):
        with pytest.raises(ValueError, match="order"):
            plan.epoch(x, y, order=wrong)


def test_gradients():
    model, twin, shape = twins("skip")
    ((x, y),) = batches(shape, [5])
    before = model.state_dict()
    gradients = fastnn.compile(model, nn.CrossEntropyLoss()).gradients(x, y)
    nn.CrossEntropyLoss()(twin(fastnn.tensor(x)), y).backward()
    for name, parameter in twin.named_parameters():
        np.testing.assert_allclose(gradients[name], parameter.grad.numpy(), rtol=0, atol=1e-12)
    assert_same_state(before, model.state_dict(), 0)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_backends_agree(backend):
    if not dispatch.is_available(backend):
        pytest.skip(f"{backend} is not installed")
    model, twin, shape = twins("cnn")
    plan, other = (fastnn.compile(m, nn.CrossEntropyLoss(), optim.Adam(m.parameters())) for m in (model, twin))
    for x, y in batches(shape, [5, 5]):
        value = plan.step(x, y)
        with fastnn.use_backend(backend):
            assert other.step(x, y) == pytest.approx(value, abs=1e-10)


def test_detached_parts_get_no_gradient():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.last(self.first(x).detach())

    model = Detached()
    gradients = fastnn.compile(model, nn.CrossEntropyLoss()).gradients(*batches((6,), [5], np.float32)[0])
    assert set(gradients) == {"last.weight", "last.bias"}


class Tied(nn.Module):
    """One layer used twice, and a parameter whose memory is no block."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)
        self.last.weight = nn.Parameter(np.asfortranarray(np.random.default_rng(5).standard_normal((3, 6)).astype(np.float32)))

    def forward(self, x):
        return self.last(F.relu(self.layer(F.relu(self.layer(x)))))


def test_a_layer_used_twice_and_strided_weights():
    fastnn.manual_seed(0)
    model, twin = Tied(), Tied()
    twin.load_state_dict(model.state_dict())
    loss, ours, theirs = nn.CrossEntropyLoss(), optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    plan = fastnn.compile(model, loss, ours)
    for x, y in batches((6,), [5, 5, 5, 5], np.float32):
        assert plan.step(x, y) == pytest.approx(train_step(twin, loss, theirs, x, y)[0], abs=1e-6)
    assert not model.last.weight.numpy().flags.c_contiguous
    assert_same_state(model.state_dict(), twin.state_dict(), 1e-6)


def test_an_empty_batch():
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.MSELoss(reduction="sum"), optim.SGD(model.parameters(), lr=0.1))
    before = model.state_dict()
    assert plan.step(np.zeros((0, 6)), np.zeros((0, 3))) == 0
    assert_same_state(before, model.state_dict(), 0)
    assert plan.predict(np.zeros((0, 6))).shape == (0, 3)


def test_dropout_has_a_new_mask_at_each_step_and_repeats_from_a_seed():
    x, y = np.ones((64, 10), np.float32), np.zeros((64, 10), np.float32)

    def losses():
        fastnn.manual_seed(3)
        model = nn.Sequential(nn.Linear(10, 10), nn.Dropout(0.5))
        plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.0))
        return [plan.step(x, y) for _ in range(5)]

    first = losses()
    assert len(set(first)) == 5
    assert first == losses()


def test_the_mean_of_an_epoch_of_sums():
    model, _, shape = twins("mlp")
    ((x, y),) = batches(shape, [23])
    means = [
        fastnn.compile(model, nn.CrossEntropyLoss(reduction=reduction), optim.SGD(model.parameters(), lr=0.0)).epoch(
            x, y, batch_size=5
        )
        for reduction in ("mean", "sum")
    ]
    assert means[0] == pytest.approx(means[1], abs=1e-12)
    history = fastnn.fit(
        model, (x, y), validation=(x, y), loss=nn.CrossEntropyLoss(reduction="sum"), optimizer=optim.SGD(model.parameters(), lr=0.0),
        epochs=1, batch_size=5, progress=False,
    )  # fmt: skip
    assert history["loss"][0] == pytest.approx(means[0], abs=1e-12) == pytest.approx(history["val_loss"][0], abs=1e-12)


@pytest.mark.parametrize("frozen", [False, True])  # then the prediction may lie where the input was
@pytest.mark.parametrize("given", ["x", "y"])
def test_a_prediction_in_the_memory_of_the_plan_is_an_input_of_its_next_step(given, frozen):
    def losses(keep):
        fastnn.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
        for parameter in model[0].parameters():
            parameter.requires_grad = not frozen
        plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        arrays = dict(zip("xy", np.random.default_rng(0).standard_normal((2, 32, 16)).astype(np.float32), strict=True))
        found = []
        for _ in range(6):
            loss, prediction = plan.train_batch(**arrays)
            found += [loss, plan.step(**arrays | {given: keep(prediction)})]
        return found

    assert losses(lambda prediction: prediction) == losses(np.copy)
