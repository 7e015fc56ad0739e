"""fastnn models inside torch programs."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim

torch = pytest.importorskip("torch")
bridge = pytest.importorskip("fastnn.torch")


def network(dtype=np.float64):
    fastnn.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4), nn.Sigmoid()
    )
    return model.to(dtype)


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: fastnn.compile(model)], ids=["model", "plan"])
def test_gradcheck_of_inputs_and_parameters(wrap):
    block = bridge.as_function(wrap(network()))
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *parameters: block(x), (x, *block.parameters()))


def test_same_as_torch():
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.BatchNorm2d(3), torch.nn.Tanh(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(12, 4), torch.nn.Sigmoid(),
    ).double()  # fmt: skip
    block = bridge.as_function(network())
    twin.load_state_dict(block.state_dict())
    assert list(twin.state_dict()) == list(block.state_dict())
    for step in range(3):
        x = torch.randn(5, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        for model in (twin, block):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            optimizer.zero_grad()
            torch.log1p(model(x) ** 2).sum().backward()
            optimizer.step()
    for name, value in twin.state_dict().items():
        np.testing.assert_allclose(block.state_dict()[name], value, rtol=1e-10, err_msg=name)
    twin.eval(), block.eval()
    np.testing.assert_allclose(block(x).detach(), twin(x).detach(), rtol=1e-10)


def test_a_plan_gives_what_its_model_gives():
    model = network().eval()
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    results = []
    for block in (bridge.as_function(model), bridge.as_function(fastnn.compile(model))):
        given = x.clone().requires_grad_()
        y = block(given)
        (y**2).sum().backward()
        results.append([y.detach(), given.grad, *[parameter.grad for parameter in block.parameters()]])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14)
    with pytest.raises(TypeError, match="inputs: expected one tensor"):
        block(x, x)


def test_memory_is_shared():
    model = network(np.float32)
    block = bridge.as_function(model)
    names = [name for name, _ in model.named_parameters()]
    assert [name for name, _ in block.named_parameters()] == names
    with torch.no_grad():
        next(iter(block.parameters())).fill_(2.0)
    assert (next(iter(model.parameters())).numpy() == 2).all()
    x = torch.rand(4, 3)
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x.numpy())
            result = x * 2
            seen.append(result.numpy())
            return result

    y = bridge.as_function(Spy())(x)
    assert np.shares_memory(seen[0], x.numpy())
    assert np.shares_memory(seen[1], y.numpy())


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: fastnn.compile(model)], ids=["model", "plan"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda block: pickle.loads(pickle.dumps(block))], ids=["deepcopy", "pickle"])
def test_a_copy_mirrors_a_model_of_its_own(wrap, copied):
    block = torch.nn.Sequential(bridge.as_function(wrap(network())).eval())
    block[0].get_parameter("0.bias").requires_grad = False
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    other, before = copied(block), block(x)
    assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in block.parameters()]
    np.testing.assert_array_equal(other(x).detach(), before.detach())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(other(x).detach(), 0.5)  # sigmoid(0)
    np.testing.assert_array_equal(block(x).detach(), before.detach())


@pytest.mark.parametrize(
    "change",
    [
        lambda block: block.load_state_dict({name: value.clone() for name, value in block.state_dict().items()}, assign=True),
        lambda block: setattr(block.model, "weight", nn.Parameter(np.zeros((2, 3), np.float32))),
        lambda block: block.model.double(),
        lambda block: setattr(block.bias, "data", torch.zeros(2)),
    ],
    ids=["load_state_dict(assign=True)", "a parameter replaced", "converted", "data replaced"],
)
def test_memory_that_is_no_longer_shared_is_refused(change):
    block = bridge.as_function(nn.Linear(3, 2))
    change(block)
    with pytest.raises(ValueError, match="no longer share memory"):
        block(torch.ones(1, 3))


def test_a_fastnn_optimiser_trains_the_block_from_torch_gradients():
    model = nn.Linear(3, 1)
    block = bridge.as_function(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    before = block.state_dict()["weight"].clone()
    block(torch.ones(2, 3)).sum().backward()
    for parameter, mirrored in zip(model.parameters(), block.parameters(), strict=True):
        parameter.grad = mirrored.grad.numpy()
    optimizer.step()
    np.testing.assert_allclose(block.state_dict()["weight"], before - 0.2, rtol=1e-6)


def test_two_backward_passes_and_changes_between():
    block = bridge.as_function(nn.Linear(3, 2))
    y = block(torch.ones(2, 3)).sum()
    y.backward(retain_graph=True)
    once = next(iter(block.parameters())).grad.clone()
    y.backward()
    np.testing.assert_array_equal(next(iter(block.parameters())).grad, 2 * once)
    y = block(torch.ones(2, 3)).sum()
    with torch.no_grad():
        next(iter(block.parameters())).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_modes_frozen_parameters_and_no_grad():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    model[0].bias.requires_grad_(False) if hasattr(model[0].bias, "requires_grad_") else setattr(
        model[0].bias, "requires_grad", False
    )
    block = bridge.as_function(model)
    block.eval()
    assert not model.training
    block.train()
    assert model.training
    with torch.no_grad():
        assert not block(torch.ones(2, 3)).requires_grad
    block(torch.ones(2, 3)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    assert gradients["0.weight"] is not None
    assert gradients["0.bias"] is None


def test_integers_go_in():
    block = bridge.as_function(Picked())
    y = block(torch.eye(4, dtype=torch.float32), torch.tensor([2, 0]))
    np.testing.assert_array_equal(y, np.eye(4, dtype=np.float32)[[2, 0]])


class Picked(nn.Module):
    def forward(self, x, rows):
        return x[rows.numpy()]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda block: bridge.as_function(len), "model: expected a fastnn Module or plan"),
        (lambda block: block(np.ones((2, 3))), r"inputs\[0\]: expected a torch Tensor"),
        (lambda block: block(torch.ones(2, 3).to_sparse()), r"inputs\[0\]: expected a dense tensor"),
        (lambda block: block(torch.ones(2, 3, device="meta")), r"inputs\[0\]: expected a dense tensor on the CPU"),
        (lambda block: block(torch.ones(2, 3, dtype=torch.float16)), "float16"),
        (lambda block: block.double(), "make a new block"),
        (lambda block: bridge.as_function(Pair())(torch.ones(2)), "model: expected one Tensor"),
    ],
)
def test_errors(call, match):
    with pytest.raises(TypeError, match=match):
        call(bridge.as_function(nn.Linear(3, 2)))


class Pair(nn.Module):
    def forward(self, x):
        return x, x
