"""Plans: what is compiled computes what the model's own Python computes, and keeps the promises of its own."""

import copy
import os
import pickle
import signal
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch, nn, optim
from fastnn.plan import TraceError
from fastnn.training import Callback, train_step


class Skip(nn.Module):
    """Uses an input twice, a constant, and broadcasting."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x):
        return self.last(x + self.scale * self.first(x).tanh() * 2)


def multilayer_perceptron():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def convolutional():
    return nn.Sequential(  # no bias before the normalization: its gradient would be rounding noise, which Adam makes large
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )


MODELS = {"mlp": (multilayer_perceptron, (6,)), "cnn": (convolutional, (1, 6, 6)), "skip": (Skip, (6,))}
OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
    "nadam": lambda p: optim.NAdam(p),
    "adagrad": lambda p: optim.Adagrad(p, lr_decay=0.1),
    "adadelta": lambda p: optim.Adadelta(p),
    "rmsprop": lambda p: optim.RMSprop(p, momentum=0.5, centered=True),
}


def twins(name, dtype=np.float64):
    """Two equal models and the shape of one example."""
    make, shape = MODELS[name]
    fastnn.manual_seed(1)
    first, second = make().to(dtype), make().to(dtype)
    second.load_state_dict(first.state_dict())
    return first, second, shape


def batches(shape, sizes, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((n, *shape)).astype(dtype), rng.integers(0, 3, n)) for n in sizes]


def assert_same_state(first, second, tolerance=1e-12):
    for (name, a), b in zip(first.items(), second.values(), strict=True):
        if isinstance(a, dict):
            assert_same_state(a, b, tolerance)
        else:
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=str(name))


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


@pytest.mark.parametrize("clipping", [{"clip_grad_norm": 0.1}, {"clip_grad_value": 0.01}])
def test_clipping(clipping):
    model, twin, shape = twins("mlp")
    loss, ours, theirs = nn.CrossEntropyLoss(), optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    plan = fastnn.compile(model, loss, ours, **clipping)
    for x, y in batches(shape, [5, 5, 5]):
        plan.step(x, y)
        train_step(twin, loss, theirs, x, y, **clipping)
    assert_same_state(model.state_dict(), twin.state_dict())
    assert all(parameter.grad is None for parameter in model.parameters())


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


def test_weights_are_the_models():
    model, twin, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    ((x, y),) = batches(shape, [5])
    plan.step(x, y)
    model.load_state_dict(twin.state_dict())
    np.testing.assert_allclose(plan.predict(x), twin(fastnn.tensor(x)).numpy(), atol=1e-12)
    model.float()
    assert plan.predict(x).dtype == np.float32
    plan.step(x, y)


def test_a_parameter_that_is_frozen_stays():
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    ((x, y),) = batches(shape, [5])
    plan.step(x, y)
    model[0].weight.requires_grad = False
    before = model[0].weight.numpy().copy(), model[2].weight.numpy().copy()
    plan.step(x, y)
    np.testing.assert_array_equal(model[0].weight.numpy(), before[0])
    assert (model[2].weight.numpy() != before[1]).any()


def test_optimizer_state_that_is_loaded_is_used():
    model, twin, shape = twins("mlp")
    ours, theirs = optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    plan, other = (fastnn.compile(m, nn.CrossEntropyLoss(), o) for m, o in ((model, ours), (twin, theirs)))
    first, second, third = batches(shape, [5, 5, 5])
    plan.step(*first)
    plan.step(*second)
    other.step(*first)
    ours.load_state_dict(theirs.state_dict())
    model.load_state_dict(twin.state_dict())
    plan.step(*third)
    other.step(*third)
    assert_same_state(model.state_dict(), twin.state_dict())


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


class DependsOnNumbers(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return x * 2


def test_what_depends_on_numbers_is_refused_with_its_line():
    with pytest.raises(TraceError, match=r"test_plan.py:\d+: if x.sum\(\) > 0:"):
        fastnn.compile(DependsOnNumbers()).predict(np.ones(3, np.float32))


def test_fit_goes_on_without_a_plan():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x):
            y = self.layer(x)
            return y if float(y.sum()) > 0 else -y

    ((x, y),) = batches((6,), [8], np.float32)
    with pytest.warns(RuntimeWarning, match=r"test_plan.py:\d+: return y if float"):
        history = fastnn.fit(Branching(), (x, y), epochs=2, batch_size=4, progress=False)
    assert history.epochs == 2


@pytest.mark.parametrize("name", MODELS)
def test_fit_by_plan_equals_eager(name):
    model, twin, shape = twins(name)
    ((x, y),) = batches(shape, [22])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = fastnn.fit(model, (x, y), epochs=3, batch_size=5, rng=0, progress=False, validation=(x, y))
        second = fastnn.fit(twin, (x, y), epochs=3, batch_size=5, rng=0, progress=False, validation=(x, y), eager=True)
    assert_same_state(first.logs, second.logs)
    assert_same_state(model.state_dict(), twin.state_dict())


def test_plan_fit():
    class Count(Callback):
        steps = 0

        def on_batch_end(self, run):
            self.steps += 1

    model, _, shape = twins("mlp")
    ((x, y),) = batches(shape, [22])
    plan, count = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.05)), Count()
    history = plan.fit(x, y, epochs=20, batch_size=5, validation=(x, y), callbacks=[count], progress=False)
    assert count.steps == 100
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert {"val_loss", "accuracy", "val_accuracy"} <= history.logs.keys()


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


@pytest.mark.skipif(not dispatch.is_available("cython"), reason="only compiled kernels write without allocating")
def test_nothing_is_allocated_after_the_first_step():
    model = nn.Sequential(nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 3))
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    ((x, y),) = batches((300,), [200], np.float32)
    for _ in range(3):
        plan.step(x, y)
    tracemalloc.start()
    try:
        plan.step(x, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000, f"{peak} bytes"


@pytest.mark.parametrize("name", MODELS)
def test_the_arena_is_little_larger_than_what_lives_in_it(name):
    model, _, shape = twins(name)
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    ((x, y),) = batches(shape, [50])
    plan.step(x, y)
    (compiled,) = plan._compiled.values()
    layout = compiled.program.layout
    assert layout.live <= layout.size <= 1.3 * layout.live


def test_two_plans_in_two_threads():
    results = {}

    def train(seed):
        rng = np.random.default_rng(seed)
        model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 2)).double()
        model.load_state_dict({k: np.full_like(v, 0.01) for k, v in model.state_dict().items()})
        plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        x, y = rng.standard_normal((40, 20)), rng.standard_normal((40, 2))
        results[threading.current_thread().name, seed] = [plan.step(x, y) for _ in range(50)]

    train(0)
    train(1)
    threads = [threading.Thread(target=train, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, thread in enumerate(threads):
        assert results[thread.name, seed] == results["MainThread", seed]


def test_bits_do_not_depend_on_threads(shared_work):
    losses = []
    for count in (1, 3):
        fastnn.manual_seed(0)
        model = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 3))
        plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
        ((x, y),) = batches((300,), [256], np.float32)
        before = fastnn.get_num_threads()
        fastnn.set_num_threads(count)
        try:
            losses.append([plan.step(x, y) for _ in range(5)])
        finally:
            fastnn.set_num_threads(before)
    assert losses[0] == losses[1]


def test_explain_and_graph():
    model, _, shape = twins("skip")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    with pytest.raises(ValueError, match="graph"):
        plan.graph()
    plan.step(*batches(shape, [5])[0])
    text = plan.explain()
    for word in (
        "step(float64[5, 6], int64[5])",
        "traced: linear, tanh",
        "linear_backward",
        "adam",
        "dead code",
        "memory: an arena",
    ):
        assert word in text
    graph = plan.graph()
    assert graph.startswith("digraph") and graph.count("->") > 10 and graph.endswith("}")


def test_observers_see_the_calls_of_a_plan():
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    ((x, y),) = batches(shape, [5])
    plan.step(x, y)
    calls = []
    with dispatch.observe(calls.append):
        plan.step(x, y)
    assert [call.phase for call in calls if call.operator.name == "adam"] == ["update"] * 4
    assert calls[0].owner is model[0] and calls[0].phase == "forward"
    assert any(call.owner is model[0] and call.phase == "backward" for call in calls)


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


def test_symbols_know_their_shape_and_views():
    class Shapes(nn.Module):
        def forward(self, x):
            assert (len(x), x.numel(), x.ndim, x.dim(), x.size(1)) == (4, 24, 2, 2, 6)
            return F.cat([x.reshape(4, 2, 3)[:, 0], x.T[:3].T], 1)

    x = np.random.default_rng(0).standard_normal((4, 6))
    plan = fastnn.compile(Shapes())
    np.testing.assert_array_equal(plan.predict(x.astype(np.float32)), np.concatenate((x[:, :3], x[:, :3]), 1).astype(np.float32))


def test_a_call_like_the_last_one_takes_a_shortcut(monkeypatch):
    """It must not overlook anything that changed in between."""
    if not dispatch.is_available("cython"):
        pytest.skip("compiled kernels are not installed")
    model, twin, shape = twins("mlp", np.float32)
    loss, ours, theirs = nn.CrossEntropyLoss(), optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    plan = fastnn.compile(model, loss, ours)
    slow = []
    monkeypatch.setattr(plan, "train_batch", lambda *a, f=plan.train_batch: slow.append(1) or f(*a))
    ((x, y),) = batches(shape, [5], np.float32)

    def both():
        slow.clear()
        ours_loss = plan.step(x, y)
        assert ours_loss == pytest.approx(train_step(twin, loss, theirs, x, y)[0], abs=1e-6)

    for _ in range(3):
        both()
    assert not slow
    ours.param_groups[0]["lr"] = theirs.param_groups[0]["lr"] = 0.1
    both()
    assert slow
    both()
    both()
    assert not slow
    for m in (model, twin):
        m[0].weight.requires_grad = False
    both()
    for m, o in ((model, ours), (twin, theirs)):
        m[2] = nn.Linear(8, 3)
        m[2].weight.numpy()[...] = 0.1
        m[2].bias.numpy()[...] = 0.2
        o.add_param_group({"params": [m[2].weight, m[2].bias], "lr": 0.05})
    both()
    both()
    both()
    assert not slow
    assert_same_state(model.state_dict(), twin.state_dict(), 1e-6)
    assert ours.state[model[0].bias]["step"] == theirs.state[twin[0].bias]["step"]
    with pytest.raises(ValueError, match="y"):
        plan.step(x, y + 3)


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


def test_an_activation_joins_the_linear_map_before_it():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3))
    plan = fastnn.compile(model.double(), nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    ((x, y),) = batches((6,), [7])
    nn.CrossEntropyLoss()(model(fastnn.tensor(x)), y).backward()
    for name, gradient in plan.gradients(x, y).items():
        np.testing.assert_allclose(gradient, dict(model.named_parameters())[name].grad.numpy(), rtol=0, atol=1e-12)
    assert "epilogues: 3 activations" in plan.explain() and plan.explain().count("linear_activated ") == 3
    assert not any(f"  {name} " in plan.explain() for name in ("relu", "tanh", "sigmoid"))


def test_an_activation_stays_where_more_reads_its_input():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            y = self.layer(x)
            return F.relu(y) + y

    model = Both()
    ((x, _),) = batches((6,), [7], np.float32)
    plan = fastnn.compile(model)
    np.testing.assert_array_equal(plan.predict(x), model(fastnn.tensor(x)).numpy())
    assert "epilogues: 0 activations" in plan.explain()


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


def turn_on_momentum(model, optimizer):
    optimizer.param_groups[0]["momentum"] = 0.9


def turn_on_nesterov(model, optimizer):
    optimizer.param_groups[0].update(momentum=0.5, nesterov=True)


def forget_state(model, optimizer):
    optimizer.state.clear()


def take_a_parameter_out(model, optimizer):
    optimizer.param_groups[0]["params"] = optimizer.param_groups[0]["params"][:-1]


def append_a_parameter(model, optimizer):
    optimizer.param_groups[0]["params"].pop(0)
    optimizer.param_groups[0]["params"].append(model[0].weight)


def drop_more(model, optimizer):
    model[1].p = 1.0


@pytest.mark.parametrize(
    "change", [turn_on_momentum, turn_on_nesterov, forget_state, take_a_parameter_out, append_a_parameter, drop_more]
)
@pytest.mark.parametrize("momentum", [0.0, 0.3])
def test_changes_between_steps_are_seen(change, momentum):
    def make():
        fastnn.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.0), nn.Linear(8, 3)).double()

    model, twin = make(), make()
    ours, theirs = (optim.SGD(m.parameters(), lr=0.1, momentum=momentum) for m in (model, twin))
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), ours)
    for number, (x, y) in enumerate(batches((6,), [5] * 9)):
        if number == 4:
            change(model, ours)
            change(twin, theirs)
        assert plan.step(x, y) == pytest.approx(train_step(twin, nn.CrossEntropyLoss(), theirs, x, y)[0], abs=1e-12)
    assert_same_state(model.state_dict(), twin.state_dict())


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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_an_interrupted_epoch_counts_its_steps():
    model = nn.Linear(64, 64)
    optimizer = optim.Adam(model.parameters())
    plan = fastnn.compile(model, nn.MSELoss(), optimizer)
    x = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
    plan.step(x[:1], x[:1])
    plan.step(x[:1], x[:1])

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            for _ in range(1000):
                plan.epoch(x, x, batch_size=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    count = optimizer.state[model.weight]["step"]
    plan.step(x[:1], x[:1])
    assert optimizer.state[model.weight]["step"] == count + 1 > 50


def test_targets_from_outside_are_checked_at_each_step():
    target = np.array([0, 1, 2])
    model = multilayer_perceptron()
    plan = fastnn.compile(model, lambda p, _: F.cross_entropy(p, target), optim.SGD(model.parameters(), lr=0.1))
    x = np.ones((3, 6), np.float32)
    for _ in range(3):
        plan.step(x, x)
    target[1] = 10**7
    with pytest.raises(ValueError, match="10000000"):
        plan.step(x, x)


def test_a_plan_in_its_own_loss_does_not_hang():
    model = multilayer_perceptron()
    plan = fastnn.compile(
        model, lambda p, y: (p - plan.predict(np.ones((2, 6), np.float32))).sum(), optim.SGD(model.parameters())
    )
    with pytest.raises(ValueError, match="its own model"):
        plan.step(np.ones((2, 6), np.float32), np.ones((2, 3), np.float32))


def test_copies_are_plans_of_their_own():
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    ((x, y),) = batches(shape, [5])
    plan.step(x, y)
    for other in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        before = plan.predict(x)
        np.testing.assert_array_equal(other.predict(x), before)
        other.step(x, y)
        np.testing.assert_array_equal(plan.predict(x), before)
        assert (other.predict(x) != before).any()


def test_fit_falls_back_for_batch_norm_without_momentum():
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, momentum=None))
    ((x, y),) = batches((6,), [8], np.float32)
    with pytest.warns(RuntimeWarning, match="momentum"):
        fastnn.fit(model, (x, y), epochs=1, batch_size=4, progress=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_born_while_a_plan_runs_can_use_it():
    model = nn.Linear(400, 400)
    plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1e-3))
    x = np.random.default_rng(0).standard_normal((2000, 400)).astype(np.float32)
    plan.predict(x[:3])
    running = threading.Thread(target=lambda: [plan.epoch(x, x, batch_size=50) for _ in range(5)])
    running.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks beside threads
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if np.isfinite(plan.predict(x[:3])).all() else 1)
    running.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
