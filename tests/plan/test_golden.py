"""Ten steps of a plan, epochs among them, against PyTorch's: a golden file, and PyTorch itself where it is installed."""

from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim

GOLDEN = Path(__file__).parents[1] / "golden" / "plan.npz"
ROWS = 9


def skip(library):
    """A network around whose middle its input goes, in either library."""

    class Skip(library.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = library.Linear(6, 6), library.Linear(6, 6), library.Linear(6, 4)

        def forward(self, x):
            h = x + self.second(self.first(x).tanh()).relu()
            return self.last(h * h.sigmoid() + x)

    return Skip()


def convolutional(library):
    """Batch normalisation and both kinds of pooling."""
    return library.Sequential(
        library.Conv2d(2, 5, 3, padding=1), library.BatchNorm2d(5), library.ReLU(), library.MaxPool2d(2),
        library.Conv2d(5, 6, 3, padding=1), library.ReLU(), library.AvgPool2d(2), library.Flatten(), library.Linear(24, 4),
    )  # fmt: skip


def perceptron(library):
    """Two hidden layers."""
    return library.Sequential(library.Linear(6, 16), library.ReLU(), library.Linear(16, 8), library.Tanh(), library.Linear(8, 4))


NETWORKS = {
    "perceptron": (perceptron, (6,), lambda o, p: o.Adam(p, lr=0.01, weight_decay=0.01)),
    "convolutional": (convolutional, (2, 8, 8), lambda o, p: o.SGD(p, lr=0.05, momentum=0.9, nesterov=True)),
    "skip": (skip, (6,), lambda o, p: o.AdamW(p, lr=0.02)),
}
LIMIT = 0.7  # of the norm of the gradients


def data(shape):
    rng = np.random.default_rng(0)
    return rng.standard_normal((10, ROWS, *shape)), rng.integers(0, 4, (10, ROWS))


def weights(model):
    """Start values that do not depend on the library."""
    rng = np.random.default_rng(1)
    return {name: 0.4 * rng.standard_normal(tuple(parameter.shape)) for name, parameter in model.named_parameters()}


def torch_results(torch):
    """Losses and last state of each network, as PyTorch computes them."""
    found = {}
    for name, (make, shape, optimizer_of) in NETWORKS.items():
        model = make(torch.nn).double()
        with torch.no_grad():
            for key, value in weights(model).items():
                model.get_parameter(key).copy_(torch.tensor(value))
        optimizer, losses = optimizer_of(torch.optim, model.parameters()), []
        for x, y in zip(*map(torch.tensor, data(shape)), strict=True):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LIMIT)
            optimizer.step()
            losses.append(loss.item())
        found[f"{name} losses"] = np.array(losses)
        found |= {f"{name} {key}": value.numpy() for key, value in model.state_dict().items()}
    return found


def results(by_epoch):
    """The same by plans: step by step, or the last eight in one call."""
    found = {}
    for name, (make, shape, optimizer_of) in NETWORKS.items():
        model = make(nn).double()
        for key, parameter in model.named_parameters():
            parameter.numpy()[...] = weights(model)[key]
        plan = fastnn.compile(model, nn.CrossEntropyLoss(), optimizer_of(optim, model.parameters()), clip_grad_norm=LIMIT)
        x, y = data(shape)
        if by_epoch:
            losses = [plan.step(x[0], y[0]), plan.step(x[1], y[1])]
            losses += [plan.epoch(x[2:].reshape(-1, *shape), y[2:].reshape(-1), batch_size=ROWS, shuffle=False)] * 8
        else:
            losses = [plan.step(*batch) for batch in zip(x, y, strict=True)]
        found[f"{name} losses"] = np.array(losses)
        found |= {f"{name} {key}": value for key, value in model.state_dict().items()}
    return found


def assert_same(found, expected):
    assert found.keys() == set(expected)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-9, err_msg=name)


def test_ten_steps_are_the_golden_ones():
    with np.load(GOLDEN) as golden:
        assert_same(results(by_epoch=False), golden)


def test_epochs_lead_where_the_golden_steps_do():
    with np.load(GOLDEN) as golden:
        expected = dict(golden)
    for name in NETWORKS:
        losses = expected[f"{name} losses"]
        expected[f"{name} losses"] = np.append(losses[:2], np.full(8, losses[2:].mean()))
    assert_same(results(by_epoch=True), expected)


def test_the_golden_file_is_torchs():
    torch = pytest.importorskip("torch")
    with np.load(GOLDEN) as golden:
        assert_same(torch_results(torch), golden)
