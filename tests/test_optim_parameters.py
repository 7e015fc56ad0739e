"""Optimisers: parameters, groups, options and errors."""

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim

NAMES = ["SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW", "NAdam"]
BACKENDS = [name for name in ("reference", "cython", "numba") if dispatch.is_available(name)]


def parameter(*values, dtype=np.float32):
    return nn.Parameter(np.array(values, dtype))


@pytest.mark.parametrize("name", NAMES)
def test_parameter_without_gradient_stays(name):
    moved, still = parameter(1.0, 2.0), parameter(3.0)
    optimizer = getattr(optim, name)([moved, still], weight_decay=0.1)
    moved.grad = np.ones(2, np.float32)
    optimizer.step()
    assert (moved.numpy() != [1.0, 2.0]).all()
    assert still.numpy() == 3.0
    assert still not in optimizer.state


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_dtype_and_object_stay(name, dtype):
    p = parameter(1.0, 2.0, dtype=dtype)
    memory = p.numpy()
    optimizer = getattr(optim, name)([p])
    p.grad = np.array([1.0, -1.0], dtype)
    for _ in range(2):
        optimizer.step()
    assert p.numpy() is memory
    assert all(value.dtype == dtype for value in optimizer.state.get(p, {}).values() if isinstance(value, np.ndarray))
    np.testing.assert_array_equal(p.grad.numpy(), [1.0, -1.0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_infinite_parameter_without_decay_stays(backend):
    for name in NAMES:
        p = parameter(np.inf, -np.inf)
        p.grad = np.ones(2, np.float32)
        options = {"momentum": 0.9} if name == "SGD" else {"weight_decay": 0}
        with fastnn.use_backend(backend):
            getattr(optim, name)([p], **options).step()
        np.testing.assert_array_equal(p.numpy(), [np.inf, -np.inf])


def test_strided_parameter_and_gradient():
    memory = np.arange(12, dtype=np.float32).reshape(3, 4)
    p = nn.Parameter(memory.T[::2])
    p.grad = np.ones((3, 2), np.float32).T
    optim.Adam([p], lr=1.0).step()
    np.testing.assert_allclose(memory[:, ::2], np.arange(12).reshape(3, 4)[:, ::2] - 1, atol=1e-6)
    np.testing.assert_array_equal(memory[:, 1::2], np.arange(12).reshape(3, 4)[:, 1::2])


def test_gradient_that_is_the_parameter():
    expected = {name: run_once(name, shared=False) for name in NAMES}
    for backend in BACKENDS:
        with fastnn.use_backend(backend):
            for name in NAMES:
                np.testing.assert_allclose(run_once(name, shared=True), expected[name], atol=1e-6)


def run_once(name, shared):
    p = nn.Parameter(np.linspace(1, 2, 101, dtype=np.float32))
    p.grad = p.numpy() if shared else p.numpy().copy()
    getattr(optim, name)([p], lr=0.1).step()
    return p.numpy()


def test_groups_have_their_own_options_and_follow_edits():
    first, second = parameter(1.0), parameter(1.0)
    optimizer = optim.SGD([{"params": [first]}, {"params": second, "lr": 0.5}], lr=0.25)
    for p in (first, second):
        p.grad = np.ones(1, np.float32)
    optimizer.step()
    assert (first.item(), second.item()) == (0.75, 0.5)
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    assert (first.item(), second.item()) == (0.25, 0.0)
    third = parameter(1.0)
    third.grad = np.ones(1, np.float32)
    optimizer.add_param_group({"params": third, "lr": 1.0})
    optimizer.step()
    assert third.item() == 0.0


def test_group_given_by_the_user_is_not_changed():
    group = {"params": [parameter(1.0)]}
    optim.SGD([group], lr=0.25)
    assert list(group) == ["params"]


def test_group_without_momentum_beside_nesterov_groups():
    p = parameter(1.0)
    p.grad = np.ones(1, np.float32)
    optim.SGD([{"params": [p], "momentum": 0}], lr=0.5, momentum=0.9, nesterov=True).step()
    assert p.item() == 0.5


def test_named_parameters():
    model = nn.Linear(2, 3)
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["params"][1] is model.bias
    with pytest.raises(ValueError, match="params"):
        optim.SGD([("weight", model.weight), model.bias])


def test_zero_grad():
    p = parameter(1.0)
    optimizer = optim.SGD([p])
    optimizer.zero_grad()
    gradient = np.ones(1, np.float32)
    p.grad = gradient
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.numpy() is gradient
    assert gradient == 0
    optimizer.zero_grad()
    assert p.grad is None


def test_closure_computes_loss_and_gradients_even_under_no_grad():
    w = fastnn.tensor([3.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with fastnn.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert w.item() == 0.0


def test_graph_of_the_old_values_is_refused():
    w = fastnn.tensor([3.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)
    loss = (w * w).sum()
    w.grad = np.ones(1, w.dtype)
    optimizer.step()
    with pytest.raises(ValueError):
        loss.backward()


def test_updates_are_seen_as_updates():
    p = parameter(1.0)
    p.grad = np.ones(1, np.float32)
    calls = []
    with dispatch.observe(calls.append):
        optim.Adam([p]).step()
    assert [(call.operator.name, call.phase) for call in calls] == [("adam", "update")]


def test_a_users_own_optimizer():
    class SignDescent(optim.Optimizer):
        def __init__(self, params, lr=0.5):
            super().__init__(params, {"lr": lr})

        def update(self, parameter, gradient, group):
            parameter.numpy()[...] -= group["lr"] * np.sign(gradient)

    p = parameter(1.0, 1.0)
    p.grad = np.array([3.0, -3.0], np.float32)
    SignDescent([p]).step()
    np.testing.assert_array_equal(p.numpy(), [0.5, 1.5])


def test_repr_shows_the_options():
    assert repr(optim.SGD([parameter(1.0)], lr=0.5)).startswith("SGD(lr=0.5, momentum=0")


BAD_PARAMS = [
    ([], ValueError), (iter(()), ValueError), (None, TypeError), (3, TypeError), ("w", TypeError), ({}, TypeError), ([1.0], TypeError),
    ([np.ones(2)], TypeError), (np.ones(2), TypeError), (parameter(1.0), TypeError), ({parameter(1.0)}, TypeError),
    ([{"params": 1}], TypeError), ([{}], TypeError), ([{"params": [parameter(1.0)]}, parameter(1.0)], TypeError),
    ([parameter(1.0) * 2], ValueError), ([parameter(1.0)] * 2, ValueError), ([fastnn.tensor([1, 2])], TypeError),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("params, error", BAD_PARAMS, ids=lambda value: type(value).__name__)
def test_wrong_params(name, params, error):
    with pytest.raises(error, match="param"):
        getattr(optim, name)(params)


NEGATIVE = {
    "SGD": ["lr", "momentum", "weight_decay"],
    "Adagrad": ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"],
    "Adadelta": ["lr", "rho", "eps", "weight_decay"],
    "RMSprop": ["lr", "alpha", "eps", "weight_decay", "momentum"],
    "Adam": ["lr", "eps", "weight_decay"],
    "AdamW": ["lr", "eps", "weight_decay"],
    "NAdam": ["lr", "eps", "weight_decay", "momentum_decay"],
}
BAD_OPTIONS = [
    *[
        (name, {option: value}, ValueError)
        for name, options in NEGATIVE.items()
        for option in options
        for value in (-0.1, np.nan)
    ],
    *[(name, {option: "0.1"}, TypeError) for name, options in NEGATIVE.items() for option in options],
    *[
        (name, {"betas": value}, ValueError)
        for name in ("Adam", "AdamW", "NAdam")
        for value in ((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), 0.9, (0.9,))
    ],
    ("Adadelta", {"rho": 1.1}, ValueError),
    ("SGD", {"nesterov": True}, ValueError),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError),
    ("SGD", {"dampening": None}, TypeError),
    *[(name, {"foreach": True}, ValueError) for name in NAMES],
    *[(name, {"differentiable": True}, ValueError) for name in NAMES],
    *[(name, {"fused": True}, ValueError) for name in ("SGD", "Adagrad", "Adam", "AdamW")],
    *[(name, {"capturable": True}, ValueError) for name in ("Adadelta", "RMSprop", "Adam", "AdamW", "NAdam")],
]


@pytest.mark.parametrize("name, options, error", BAD_OPTIONS, ids=str)
def test_wrong_option_is_named(name, options, error):
    with pytest.raises(error, match=next(iter(options))):
        getattr(optim, name)([parameter(1.0)], **options)


def test_wrong_option_of_a_group_and_of_unused_defaults():
    with pytest.raises(ValueError, match="lr"):
        optim.SGD([{"params": [parameter(1.0)], "lr": -1}])
    with pytest.raises(ValueError, match="lr"):
        optim.SGD([{"params": [parameter(1.0)], "lr": 1}], lr=-1)


def test_read_only_parameter_is_refused():
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    p = nn.Parameter(array)
    p.grad = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="read-only"):
        optim.SGD([p]).step()
    assert (array == 1).all()
