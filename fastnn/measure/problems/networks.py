"""The networks of the training table, as data: layers, batch, optimiser, and the ratios to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn import nn, optim
from fastnn.random import manual_seed
from fastnn.training import TrainingPlan, compile

Layer = tuple[Any, ...]
Stages = tuple[Callable[[], Any], ...]  # forward to the loss, which it returns, backward, update

_LENET: tuple[Layer, ...] = (
    ("conv", 1, 6, 5, 0), ("relu",), ("pool",), ("conv", 6, 16, 5, 0), ("relu",), ("pool",), ("flatten",),
    ("linear", 256, 120), ("relu",), ("linear", 120, 84), ("relu",), ("linear", 84, 10),
)  # fmt: skip
_CIFAR: tuple[Layer, ...] = (
    ("conv", 3, 32, 3, 1), ("relu",), ("conv", 32, 32, 3, 1), ("relu",), ("pool",),
    ("conv", 32, 64, 3, 1), ("relu",), ("conv", 64, 64, 3, 1), ("relu",), ("pool",), ("flatten",),
    ("linear", 4096, 256), ("relu",), ("linear", 256, 10),
)  # fmt: skip


def _dense(*sizes: int, activation: str = "relu") -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for inputs, outputs in pairwise(sizes):
        layers += [("linear", inputs, outputs), (activation,)]
    return tuple(layers[:-1])


@dataclass(frozen=True)
class Network:
    """One network and how it is trained.

    Attributes
    ----------
    name : str
    layers : tuple
    shape : tuple of int
        Of one example.
    batch : int
    optimizer : "sgd", "momentum" or "adam"
    classes : int
        0 for a regression by the mean squared error.
    batches : int
        In an epoch.
    outputs : tuple of int
        Shape of one prediction of a regression.
    goals : dict
        Contest ("step", "epoch", "predict") -> the ratio to reach; a second thread's under "step on 2 threads".
    """

    name: str
    layers: tuple[Layer, ...]
    shape: tuple[int, ...]
    batch: int
    optimizer: str
    classes: int
    batches: int
    goals: dict[str, float] = field(default_factory=dict)
    outputs: tuple[int, ...] = (1,)

    @property
    def is_dense(self) -> bool:
        """Whether there is nothing but linear layers and activations."""
        return len(self.shape) == 1


NETWORKS = (
    Network("2-3-1, batch 4, SGD", _dense(2, 3, 1, activation="tanh"), (2,), 4, "sgd", 0, 500,
            {"step": 20, "epoch": 3, "predict": 15}),
    Network("64-32-10, batch 32, Adam", _dense(64, 32, 10), (64,), 32, "adam", 10, 100, {"step": 10, "epoch": 2.5, "predict": 15}),
    Network("784-128-10, batch 64, Adam", _dense(784, 128, 10), (784,), 64, "adam", 10, 50,
            {"step": 1.35, "epoch": 1.3, "predict": 3}),
    Network("784-512-512-10, batch 128, Adam", _dense(784, 512, 512, 10), (784,), 128, "adam", 10, 8, {"step": 1.0, "epoch": 1.0}),
    Network("LeNet-5, batch 64, SGD momentum", _LENET, (1, 28, 28), 64, "momentum", 10, 8,
            {"step": 4, "epoch": 4, "predict": 2, "step on 2 threads": 3.5}),
    Network("CIFAR CNN, batch 64, Adam", _CIFAR, (3, 32, 32), 64, "adam", 10, 2,
            {"step": 1.3, "predict": 1.3, "step on 2 threads": 1.2}),
)  # fmt: skip


def layers_of(model: nn.Module) -> tuple[Layer, ...]:
    """A chain of layers as data, for libraries that build it themselves.

    Raises
    ------
    ValueError
        Where the model is no ``Sequential``, or one of its layers has no counterpart here.

    Examples
    --------
    >>> from fastnn import nn
    >>> from fastnn.measure.problems.networks import layers_of
    >>> layers_of(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    (('linear', 3, 4), ('relu',))
    """
    if not isinstance(model, nn.Sequential):
        raise ValueError(f"model: other libraries can build a Sequential alone, got {type(model).__name__}")
    found: list[Layer] = []
    for layer in model:
        match layer:
            case nn.Linear(bias=bias) if bias is not None:
                found.append(("linear", layer.in_features, layer.out_features))
            case nn.Conv2d(bias=bias) if bias is not None and _is_plain(layer):
                found.append(("conv", layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.padding[0]))
            case nn.MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, return_indices=False, ceil_mode=False):
                found.append(("pool",))
            case nn.ReLU() | nn.Tanh():
                found.append((type(layer).__name__.lower(),))
            case nn.Flatten(start_dim=1, end_dim=-1):
                found.append(("flatten",))
            case _:
                raise ValueError(f"model: other libraries cannot be given this layer here: {layer!r}")
    return tuple(found)


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether a convolution has nothing but a square kernel and equal zeros around the image."""
    square = len(set(layer.kernel_size)) == 1 and not isinstance(layer.padding, str) and len(set(layer.padding)) == 1
    plain = layer.groups == 1 and set(layer.stride) == {1} and set(layer.dilation) == {1}
    return square and plain and layer.padding_mode == "zeros"


RATES = {"sgd": 0.01, "momentum": 0.01, "adam": 1e-3}


class Problem:
    """A network with data and the weights from which everybody starts: by default fresh ones, from a seed.

    Attributes
    ----------
    network : Network
    x, y : array
        One batch.
    X, Y : array
        The rows of an epoch.
    dtype : dtype
        Of rows and weights.
    weights : dict of str to array
        As ``fastnn.nn.Sequential`` names them: "0.weight", "0.bias", ...
    """

    def __init__(self, network: Network, weights: dict[str, np.ndarray] | None = None, dtype: Any = np.float32) -> None:
        rng = np.random.default_rng(0)
        rows = network.batch * network.batches
        self.network = network
        self.X = rng.standard_normal((rows, *network.shape)).astype(dtype)
        shape = (rows, *network.outputs)
        self.Y = rng.integers(0, network.classes, rows) if network.classes else rng.standard_normal(shape).astype(dtype)
        self.x, self.y = self.X[: network.batch].copy(), self.Y[: network.batch].copy()
        self.dtype = np.dtype(dtype)
        if weights is None:
            manual_seed(0)
            weights = self.model().state_dict()
        self.weights = weights

    def model(self) -> nn.Sequential:
        """The network in fastnn, with fresh weights."""
        makers: dict[str, Any] = {
            "linear": nn.Linear, "relu": nn.ReLU, "tanh": nn.Tanh, "flatten": nn.Flatten,
            "conv": lambda i, o, k, p: nn.Conv2d(i, o, k, padding=p), "pool": lambda: nn.MaxPool2d(2),
        }  # fmt: skip
        model = nn.Sequential(*[makers[kind](*sizes) for kind, *sizes in self.network.layers])
        model.to(self.dtype)
        return model

    def trainer(self) -> tuple[nn.Sequential, nn.Module, optim.Optimizer]:
        """The network with the common weights, its loss and its optimiser."""
        model = self.model()
        model.load_state_dict(self.weights)
        lr = RATES[self.network.optimizer]
        optimizers: dict[str, Any] = {
            "sgd": lambda p: optim.SGD(p, lr),
            "momentum": lambda p: optim.SGD(p, lr, momentum=0.9),
            "adam": lambda p: optim.Adam(p, lr),
        }
        loss = nn.CrossEntropyLoss() if self.network.classes else nn.MSELoss()
        return model, loss, optimizers[self.network.optimizer](model.parameters())

    def plan(self) -> TrainingPlan:
        """The network compiled, with the common weights."""
        return compile(*self.trainer())
