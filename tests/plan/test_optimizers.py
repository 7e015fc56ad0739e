"""What a plan's optimiser has may be changed between steps: parameters, options, state."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.training import train_step

from .networks import assert_same_state, batches, twins

OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9}, "Adagrad": {}, "Adadelta": {}, "RMSprop": {}, "Adam": {"amsgrad": True}, "AdamW": {}, "NAdam": {},
}  # fmt: skip


def arrays(state):
    return {name: value for name, value in state.items() if isinstance(value, np.ndarray)}


def replace(state):
    for name, value in arrays(state).items():
        state[name] = np.full_like(value, 0.01)


def replace_all_at_once(state):
    state.update({name: np.full_like(value, 0.01) for name, value in arrays(state).items()})


def forget(state):
    for name in arrays(state):
        del state[name]


def start_anew(state):
    state.clear()


def merge(state):
    state |= {name: np.full_like(value, 0.01) for name, value in arrays(state).items()}


def forget_from_the_end(state):
    while state:
        state.popitem()


def forget_the_count(state):
    state.pop("step", None)


@pytest.mark.parametrize("plain", [False, True], ids=["", "plain dicts"])
@pytest.mark.parametrize(
    "change", [replace, replace_all_at_once, forget, start_anew, merge, forget_from_the_end, forget_the_count]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_other_arrays_in_the_state_are_seen(name, change, plain, rng):
    x, y = rng.standard_normal((8, 6)).astype(np.float32), rng.integers(0, 3, 8)
    eager, planned = (nn.Sequential(nn.Linear(6, 4, rng=0), nn.Tanh(), nn.Linear(4, 3, rng=1)) for _ in range(2))
    loss = nn.CrossEntropyLoss()
    optimizers = [getattr(optim, name)(model.parameters(), **OPTIMIZERS[name]) for model in (eager, planned)]
    plan = fastnn.compile(planned, loss, optimizers[1])
    for number in range(9):
        optimizers[0].zero_grad()
        loss(eager(x), y).backward()
        optimizers[0].step()
        plan.step(x, y)
        for optimizer in optimizers:
            if number == 1 and plain:
                optimizer.state.update({parameter: dict(state) for parameter, state in optimizer.state.items()})
            if number == 5 and not (plain and change is forget_the_count):
                for state in optimizer.state.values():
                    change(state)
    for parameter, other in zip(eager.parameters(), planned.parameters(), strict=True):
        np.testing.assert_allclose(other.numpy(), parameter.numpy(), rtol=1e-4, atol=1e-6)


def test_a_count_that_was_put_back_is_seen_beside_another_rate():
    model, twin, shape = twins("mlp")
    loss, ours, theirs = nn.CrossEntropyLoss(), optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    plan = fastnn.compile(model, loss, ours)
    ((x, y),) = batches(shape, [5])
    for number in range(30):
        plan.step(x, y)
        train_step(twin, loss, theirs, x, y)
        if number % 3 == 2:
            for optimizer in (ours, theirs):
                optimizer.param_groups[0]["lr"] *= 0.9
                for state in optimizer.state.values():
                    state["step"] = 1
    assert_same_state(model.state_dict(), twin.state_dict())


def test_a_rate_that_is_a_tensor_may_change_in_place(rng):
    x, y = rng.standard_normal((8, 6)).astype(np.float32), rng.standard_normal((8, 2)).astype(np.float32)
    model, rate = nn.Linear(6, 2), fastnn.tensor(0.1)
    plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=rate))
    for _ in range(4):
        plan.step(x, y)
    before = model.state_dict()
    rate.numpy()[...] = 0
    plan.step(x, y)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


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


def test_another_parameter_in_the_place_of_one_is_seen():
    model, _, shape = twins("mlp")
    optimizer = optim.SGD([model[0].weight], lr=0.1)
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optimizer)
    ((x, y),) = batches(shape, [5])
    for _ in range(3):
        plan.step(x, y)
    first, second = (layer.weight.numpy().copy() for layer in (model[0], model[2]))
    optimizer.param_groups[0]["params"][0] = model[2].weight
    plan.step(x, y)
    np.testing.assert_array_equal(model[0].weight.numpy(), first)
    assert (model[2].weight.numpy() != second).any()


def test_an_option_that_is_an_array_may_change_in_place():
    model, _, shape = twins("mlp")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    plan.optimizer.param_groups[0]["lr"] = rate = np.array(0.1)
    ((x, y),) = batches(shape, [5])
    for _ in range(3):
        plan.step(x, y)
    before = model[0].weight.numpy().copy()
    rate[...] = 0
    plan.step(x, y)
    np.testing.assert_array_equal(model[0].weight.numpy(), before)


def test_a_wrong_option_leaves_the_right_one_in_place():
    model, twin, shape = twins("mlp")
    plans = [fastnn.compile(m, nn.CrossEntropyLoss(), optim.SGD(m.parameters(), lr=0.1)) for m in (model, twin)]
    ((x, y),) = batches(shape, [5])
    for _ in range(3):
        assert plans[0].step(x, y) == plans[1].step(x, y)
    (group,) = plans[0].optimizer.param_groups
    rate, group["lr"] = group["lr"], "fast"
    with pytest.raises((TypeError, ValueError)):
        plans[0].step(x, y)
    group["lr"] = rate
    for _ in range(3):
        assert plans[0].step(x, y) == plans[1].step(x, y)
