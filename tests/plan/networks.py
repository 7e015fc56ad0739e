"""Networks, data and comparisons that the tests of plans share."""

import numpy as np

import fastnn
from fastnn import nn, optim


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
