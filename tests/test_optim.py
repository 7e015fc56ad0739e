"""Optimisers: torch's trajectories, groups, state, errors."""

from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.autograd import tensor

SETTINGS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "maximize": True}),
    ("Adagrad", {"lr": 0.3, "lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adagrad", {"weight_decay": 0.1, "maximize": True}),
    ("Adadelta", {"lr": 0.7, "rho": 0.8, "weight_decay": 0.1}),
    ("Adadelta", {"maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True, "alpha": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "momentum": 0.9, "maximize": True}),
    ("RMSprop", {"momentum": 0.5, "eps": 1e-3}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "maximize": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.3, "maximize": True}),
    ("NAdam", {"lr": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.01}),
    ("NAdam", {"weight_decay": 0.1, "maximize": True}),
]
GOLDEN = Path(__file__).parent / "golden" / "optim.npz"
STEPS = 40


def tolerance(name):
    """torch keeps NAdam's product of momenta in float32 alone."""
    return {"rtol": 1e-8, "atol": 1e-8} if name == "NAdam" else {"rtol": 1e-11, "atol": 1e-12}


def gradients(shape):
    """The same gradients for everybody; some elements are zero all the time, as behind a dead unit."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((STEPS, *shape))
    values[:, 0] = 0
    return values


def start(shape):
    return np.random.default_rng(1).standard_normal(shape)


def trajectory(name, options, dtype=np.float64):
    p = nn.Parameter(start((5, 3)).astype(dtype))
    optimizer = getattr(optim, name)([p], **options)
    steps = []
    for gradient in gradients((5, 3)):
        p.grad = gradient.astype(dtype)
        optimizer.step()
        steps.append(p.numpy().copy())
    return np.array(steps)


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_trajectory_equals_torch(name, options):
    torch = pytest.importorskip("torch")
    p = torch.tensor(start((5, 3)), requires_grad=True)
    optimizer = getattr(torch.optim, name)([p], **options)
    expected = []
    for gradient in gradients((5, 3)):
        p.grad = torch.tensor(gradient)
        optimizer.step()
        expected.append(p.detach().numpy().copy())
    np.testing.assert_allclose(trajectory(name, options), expected, **tolerance(name))


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_trajectory_equals_the_golden_one(name, options):
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(trajectory(name, options)[-1], golden[f"{name} {options}"], **tolerance(name))


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_float32_stays_and_follows(name, options):
    narrow = trajectory(name, options, np.float32)
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, trajectory(name, options), rtol=2e-3, atol=2e-3)


def test_learns_a_minimum():
    w = tensor([3.0, -2.0], requires_grad=True)
    optimizer = optim.Adam([w], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
    assert np.abs(w.numpy()).max() < 1e-2


def test_groups_edited_rates_and_parameters_without_gradient():
    a, b, c = (nn.Parameter(np.ones(2)) for _ in range(3))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.5)
    optimizer.add_param_group({"params": [c]})
    a.grad, b.grad = np.ones(2), np.ones(2)
    optimizer.step()
    np.testing.assert_array_equal(a.numpy(), [0.5, 0.5])
    np.testing.assert_array_equal(b.numpy(), [0.0, 0.0])
    np.testing.assert_array_equal(c.numpy(), [1.0, 1.0])
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    np.testing.assert_allclose(a.numpy(), [0.4, 0.4])
    optimizer.zero_grad()
    assert a.grad is None and b.grad is None


def test_step_with_a_closure():
    w = tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with fastnn.no_grad():
        assert optimizer.step(closure).item() == 1
    assert w.item() == 0.5


def test_a_graph_from_before_the_step_is_refused():
    w = tensor([1.0], requires_grad=True)
    loss = (w * w).sum()
    w.grad = np.ones(1, np.float32)
    optim.SGD([w], lr=0.1).step()
    with pytest.raises(ValueError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_state_dict_continues_the_trajectory(name, options):
    whole = trajectory(name, options)
    p = nn.Parameter(start((5, 3)))
    first = getattr(optim, name)([p], **options)
    for gradient in gradients((5, 3))[:20]:
        p.grad = gradient
        first.step()
    second = getattr(optim, name)([p], **{**options, "lr": 123.0})
    second.load_state_dict(first.state_dict())
    for gradient in gradients((5, 3))[20:]:
        p.grad = gradient
        second.step()
    np.testing.assert_array_equal(p.numpy(), whole[-1])


def one():
    return [nn.Parameter(np.ones(2))]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: optim.SGD([], lr=0.1), ValueError, "params"),
        (lambda: optim.SGD(3, lr=0.1), TypeError, "params"),
        (lambda: optim.SGD([np.ones(2)], lr=0.1), TypeError, r"params\[0\]"),
        (lambda: optim.SGD(one()[0], lr=0.1), TypeError, "params"),
        (lambda: optim.SGD(one() * 2, lr=0.1), ValueError, "more than one"),
        (lambda: optim.SGD([one()[0] * 2], lr=0.1), ValueError, "computed"),
        (lambda: optim.SGD(one(), lr=-1), ValueError, "lr"),
        (lambda: optim.SGD(one(), lr=float("nan")), ValueError, "lr"),
        (lambda: optim.SGD(one(), lr="a"), TypeError, "lr"),
        (lambda: optim.SGD(one(), lr=0.1, momentum=-1), ValueError, "momentum"),
        (lambda: optim.SGD(one(), lr=0.1, nesterov=True), ValueError, "nesterov"),
        (lambda: optim.SGD(one(), lr=0.1, fused=True), ValueError, "fused"),
        (lambda: optim.Adam(one(), betas=(1.0, 0.9)), ValueError, "betas"),
        (lambda: optim.Adam(one(), betas=0.9), ValueError, "betas"),
        (lambda: optim.Adam(one(), eps=-1), ValueError, "eps"),
        (lambda: optim.Adam(one(), capturable=True), ValueError, "capturable"),
        (lambda: optim.RMSprop(one(), alpha=-1), ValueError, "alpha"),
        (lambda: optim.Adadelta(one(), rho=2), ValueError, "rho"),
        (lambda: optim.Adagrad(one(), lr_decay=-1), ValueError, "lr_decay"),
        (lambda: optim.NAdam(one(), momentum_decay=-1), ValueError, "momentum_decay"),
    ],
)
def test_errors(make, error, words):
    with pytest.raises(error, match=words):
        make()
