"""What changes between calls is seen by the next one."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch, nn, optim
from fastnn.plan.compiled import Compiled
from fastnn.training import train_step

from .networks import assert_same_state, batches, multilayer_perceptron, twins


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


def read_only(model):
    for parameter in model.parameters():
        parameter.numpy().flags.writeable = False


@pytest.mark.parametrize("steps", [1, 3])
def test_parameters_that_were_made_read_only_stay(steps):
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    ((x, y),) = batches(shape, [5])
    for _ in range(steps):
        plan.step(x, y)
    before = model.state_dict()
    read_only(model)
    for call in (lambda: plan.step(x, y), lambda: plan.epoch(x, y, batch_size=5)):
        with pytest.raises(ValueError, match="read-only"):
            call()
    assert_same_state(model.state_dict(), before, 0)
    np.testing.assert_allclose(plan.predict(x), model(fastnn.tensor(x)).numpy(), atol=1e-12)


def test_what_a_plan_is_made_of_may_be_assigned():
    model, twin, shape = twins("mlp")
    loss = nn.CrossEntropyLoss()
    plan = fastnn.compile(model, loss, optim.SGD(model.parameters(), lr=0.1))
    ((x, y),) = batches(shape, [5])
    for _ in range(3):
        plan.step(x, y)
        plan.predict(x)
    twin.load_state_dict(model.state_dict())
    plan.optimizer, theirs = optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    plan.loss = lambda p, t: 3 * loss(p, t)
    plan.clip_grad_norm, plan.clip_grad_value = 0.1, 0.05
    for _ in range(3):
        expected, _ = train_step(twin, plan.loss, theirs, x, y, clip_grad_norm=0.1, clip_grad_value=0.05)
        assert plan.step(x, y) == pytest.approx(expected, abs=1e-12)
    assert_same_state(model.state_dict(), twin.state_dict())
    plan.model = other = twins("mlp")[0]
    np.testing.assert_allclose(plan.predict(x), other(fastnn.tensor(x)).numpy(), atol=1e-12)
    for name, wrong, error in (
        ("model", 3, TypeError), ("loss", 3, TypeError), ("optimizer", 3, TypeError), ("clip_grad_norm", -1.0, ValueError),
    ):  # fmt: skip
        with pytest.raises(error, match=name):
            setattr(plan, name, wrong)


def test_a_seed_after_compiling_repeats_dropout():
    model = nn.Sequential(nn.Linear(6, 64), nn.Dropout(0.5), nn.Linear(64, 3))
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.0))
    ((x, y),) = batches((6,), [5], np.float32)

    def losses():
        fastnn.manual_seed(7)
        return [plan.step(x, y) for _ in range(4)]

    first = losses()
    assert len(set(first)) == 4
    assert losses() == first


class Scaled(nn.Module):
    """Reads a setting of a module that it does not call."""

    def __init__(self):
        super().__init__()
        self.layer, self.settings = nn.Linear(6, 3), nn.Identity()
        self.settings.factor = 1.0

    def forward(self, x):
        return self.layer(x) * self.settings.factor


def test_settings_of_modules_are_seen():
    model, loss = Scaled().double(), nn.CrossEntropyLoss()
    plan = fastnn.compile(model, lambda p, y: loss(p, y), optim.SGD(model.parameters(), lr=0.0))
    ((x, y),) = batches((6,), [5])

    def value():
        return F.cross_entropy(model(fastnn.tensor(x)), y, label_smoothing=loss.label_smoothing).item()

    for change in (lambda: None, lambda: setattr(model.settings, "factor", 3.0), lambda: setattr(loss, "label_smoothing", 0.3)):
        change()
        for _ in range(3):
            assert plan.step(x, y) == pytest.approx(value(), abs=1e-12)


def test_a_module_that_is_made_meanwhile_changes_no_plan():
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    ((x, y),) = batches(shape, [5])
    plan.step(x, y)
    (before,) = plan._compiled.values()
    nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.3))
    plan.step(x, y)
    assert list(plan._compiled.values()) == [before]


def test_what_another_thread_changes_while_a_plan_runs_is_seen(monkeypatch):
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model)
    ((x, _),) = batches(shape, [5])
    plan.predict(x)
    run = Compiled.run

    def run_and_change(compiled):
        likely = run(compiled)
        model[0].weight = nn.Parameter(np.ones_like(model[0].weight.numpy()))
        return likely

    with monkeypatch.context() as patch:
        patch.setattr(Compiled, "run", run_and_change)
        plan.predict(np.asfortranarray(x))
    np.testing.assert_allclose(plan.predict(x), model(fastnn.tensor(x)).numpy(), atol=1e-12)


def test_many_epochs_see_another_model_and_loss():
    model, twin, shape = twins("mlp")
    ((x, y),) = batches(shape, [12])
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    run, order = plan.epochs(x, y, batch_size=5), np.arange(12)
    first = run(order)
    trained = {name: value.copy() for name, value in model.state_dict().items()}
    plan.model, plan.optimizer = twin, optim.SGD(twin.parameters(), lr=0.1)
    assert run(order) == first
    assert_same_state(model.state_dict(), trained)
    assert_same_state(twin.state_dict(), trained)
    plan.loss = None
    with pytest.raises(ValueError, match="loss"):
        run(order)
