"""The network of an estimator: linear maps with an activation after each but the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import functional as F
from fastnn import nn

HIDDEN = {
    "identity": F.identity,
    "logistic": F.sigmoid,
    "tanh": F.tanh,
    "relu": F.relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "softplus": F.softplus,
}
OUTPUT = {"identity": F.identity, "logistic": F.sigmoid, "exp": F.exp, "softmax": lambda z: F.softmax(z, dim=1)}


class Network(nn.Module):
    """A multi-layer perceptron over scikit-learn's weights; it gives what stands before the output activation.

    Parameters
    ----------
    coefs, intercepts : sequence of array
        scikit-learn's ``coefs_``, shapes (inputs, outputs), and ``intercepts_``; copied.
    activations : sequence of str
        Of the hidden layers.
    dtype : dtype
        In which it computes.
    dropout : sequence of float, optional
        After each hidden layer.
    seed : int, optional
        Of the dropout.
    """

    def __init__(
        self,
        coefs: Sequence[np.ndarray],
        intercepts: Sequence[np.ndarray],
        activations: Sequence[str],
        dtype: Any,
        dropout: Sequence[float] = (),
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.weights = [nn.Parameter(np.ascontiguousarray(coef.T, dtype)) for coef in coefs]
        self.biases = [nn.Parameter(np.array(intercept, dtype)) for intercept in intercepts]
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            setattr(self, f"weight{index}", weight)
            setattr(self, f"bias{index}", bias)
        rng = None if seed is None else np.random.default_rng(seed)
        self.dropouts = nn.ModuleList([nn.Dropout(p, rng=rng) for p in dropout])
        self.activations = [HIDDEN[name] for name in activations]

    def forward(self, x: Any) -> Any:
        """(rows, inputs) -> (rows, outputs)"""
        for index, activation in enumerate(self.activations):
            x = activation(F.linear(x, self.weights[index], self.biases[index]))
            if len(self.dropouts):
                x = self.dropouts[index](x)
        return F.linear(x, self.weights[-1], self.biases[-1])

    def load(self, coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> None:
        """Take over other values of the same shapes."""
        for weight, coef in zip(self.weights, coefs, strict=True):
            weight.numpy()[...] = coef.T
        for bias, intercept in zip(self.biases, intercepts, strict=True):
            bias.numpy()[...] = intercept

    def coefs(self, dtype: Any) -> list[np.ndarray]:
        """Copies of the weights as scikit-learn keeps them."""
        return [np.array(weight.numpy().T, dtype, order="C") for weight in self.weights]

    def intercepts(self, dtype: Any) -> list[np.ndarray]:
        """Copies of the biases."""
        return [np.array(bias.numpy(), dtype) for bias in self.biases]
