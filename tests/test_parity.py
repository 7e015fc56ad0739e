"""A small network with everything in it, against torch where it is installed and against a golden file where it is not."""

from pathlib import Path

import numpy as np
import pytest

import fastnn.functional as F
from fastnn import nn, optim, tensor

GOLDEN = Path(__file__).parent / "golden" / "network.npz"


def build(library):
    """Convolutions, batch normalisation, pooling, several activations, layer normalisation and linear layers."""
    return library.Sequential(
        library.Conv2d(2, 6, 3, padding=1), library.BatchNorm2d(6), library.ReLU(), library.MaxPool2d(2),
        library.Conv2d(6, 8, (3, 2), stride=(1, 2), padding=(1, 0), groups=2), library.GELU(), library.AvgPool2d(2, ceil_mode=True),
        library.Flatten(), library.Linear(16, 12), library.LayerNorm(12), library.Tanh(), library.Linear(12, 5),
    )  # fmt: skip


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((7, 2, 8, 8)), rng.integers(0, 5, 7)


def weights(model):
    """Start values that do not depend on the library."""
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(tuple(p.shape)) * 0.3 for name, p in model.named_parameters()}


def torch_results(torch):
    """Losses of three training steps, then weights, running statistics and evaluation output, as torch computes them."""
    model = build(torch.nn).double()
    with torch.no_grad():
        for name, value in weights(model).items():
            model.get_parameter(name).copy_(torch.tensor(value))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, t = (torch.tensor(v) for v in data())
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), t, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    return {"losses": np.array(losses), "output": model.eval()(x).detach().numpy(), **state}


def results():
    model = build(nn).double()
    for name, parameter in model.named_parameters():
        parameter.numpy()[...] = weights(model)[name]
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, t = data()
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tensor(x)), t, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": np.array(losses), "output": model.eval()(x).numpy(), **model.state_dict()}


def check(expected):
    actual = results()
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype
        np.testing.assert_allclose(actual[name], value, rtol=1e-9, atol=1e-11, err_msg=name)


def test_against_torch():
    check(torch_results(pytest.importorskip("torch")))


def test_against_the_golden_file():
    with np.load(GOLDEN) as golden:
        check(dict(golden))


def test_a_state_dict_goes_both_ways():
    torch = pytest.importorskip("torch")
    ours, theirs = build(nn), build(torch.nn)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    x = data()[0].astype(np.float32)
    np.testing.assert_allclose(ours.eval()(x).numpy(), theirs.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    other = build(nn)
    other.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    np.testing.assert_array_equal(other.eval()(x).numpy(), ours(x).numpy())
