"""The state of optimisers: saved, loaded, exchanged with PyTorch, converted."""

import copy

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim

NAMES = ["SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW", "NAdam"]


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_goes_on_where_it_stopped(name, rng):
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {"amsgrad": True} if name == "Adam" else {}
    start, *gradients = rng.standard_normal((11, 3, 4))
    first = nn.Parameter(start.copy())
    old = getattr(optim, name)([first], **options)

    def steps(p, optimizer, some):
        for gradient in some:
            p.grad = gradient
            optimizer.step()

    steps(first, old, gradients[:5])
    state, at = copy.deepcopy(old.state_dict()), first.numpy().copy()
    kept = old.state_dict()
    steps(first, old, gradients[5:])
    for key, value in kept["state"][0].items():  # a snapshot does not follow the optimiser
        np.testing.assert_array_equal(value, state["state"][0][key])
    second = nn.Parameter(at)
    new = getattr(optim, name)([second], lr=9.0)
    new.load_state_dict(state)
    steps(second, new, gradients[5:])
    np.testing.assert_array_equal(second.numpy(), first.numpy())
    assert new.param_groups[0]["lr"] == old.param_groups[0]["lr"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_state_dict_comes_from_torch_and_goes_there(name, dtype, rng):
    torch = pytest.importorskip("torch")
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    starts, *gradients = ([rng.standard_normal(shape).astype(dtype) for shape in ((3, 4), (5,))] for _ in range(7))
    ours, theirs = (
        [kind(value) for value in starts]
        for kind in (lambda a: nn.Parameter(a.copy()), lambda a: torch.nn.Parameter(torch.tensor(a)))
    )
    mine, other = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)

    def step(parameters, optimizer, convert, gradients):
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = convert(gradient)
        optimizer.step()

    step(theirs, other, torch.tensor, gradients[0])
    step(theirs, other, torch.tensor, gradients[1])
    for p, q in zip(ours, theirs, strict=True):
        p.numpy()[...] = q.detach().numpy()
    mine.load_state_dict(other.state_dict())
    for gradient in gradients[2:4]:
        step(ours, mine, np.asarray, gradient)
        step(theirs, other, torch.tensor, gradient)
    tensors = mine.state_dict()
    for values in tensors["state"].values():
        values.update({key: torch.tensor(value) for key, value in values.items() if isinstance(value, np.ndarray)})
    other.load_state_dict(tensors)
    for gradient in gradients[4:]:
        step(ours, mine, np.asarray, gradient)
        step(theirs, other, torch.tensor, gradient)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-12 if dtype == np.float64 else 1e-6)


def test_load_state_dict_refuses_what_does_not_fit_and_changes_nothing():
    p = nn.Parameter(np.array([1.0, 2.0], np.float32))
    optimizer = optim.SGD([p], lr=0.5, momentum=0.9)
    p.grad = np.ones(2, np.float32)
    optimizer.step()
    before = optimizer.state_dict()
    group = {**before["param_groups"][0]}
    wrong = [
        {}, None, {"state": {}, "param_groups": []},
        {"state": {}, "param_groups": [{**group, "params": [0, 1]}]},
        {"state": {7: {}}, "param_groups": [group]},
        {"state": {0: {"momentum_buffer": np.ones(3)}}, "param_groups": [group]},
        {"state": {0: {"momentum_buffer": "x"}}, "param_groups": [group]},
        {"state": {}, "param_groups": [{**group, "lr": -1.0}]},
    ]  # fmt: skip
    for state in wrong:
        with pytest.raises((ValueError, TypeError)):
            optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    np.testing.assert_array_equal(after["state"][0]["momentum_buffer"], before["state"][0]["momentum_buffer"])


@pytest.mark.parametrize("name", NAMES)
def test_state_follows_a_model_that_is_converted(name):
    model = nn.Linear(3, 2)
    optimizer = getattr(optim, name)(model.parameters(), **({"momentum": 0.9} if name == "SGD" else {}))

    def step(dtype):
        optimizer.zero_grad()
        model(fastnn.tensor(np.ones((4, 3), dtype))).sum().backward()
        optimizer.step()

    step(np.float32)
    model.double()
    step(np.float64)
    assert model.weight.dtype == np.float64
    assert np.isfinite(model.weight.numpy()).all()
    arrays = [value for value in optimizer.state[model.weight].values() if isinstance(value, np.ndarray)]
    assert all(value.dtype == np.float64 for value in arrays)
