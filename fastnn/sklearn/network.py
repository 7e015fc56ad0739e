"""The network of an estimator: linear maps with an activation after each but the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import dispatch, nn
from fastnn import functional as F
from fastnn.kernels.dropout import operators as dropout_operators

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


def predict(x: Any, weights: Sequence[Any], biases: Sequence[Any], activations: Sequence[Any], silence: Any = None) -> Any:
    """What stands before the output activation, for rows ``x``.

    Parameters
    ----------
    x : array, shape (rows, inputs)
    weights, biases : sequence of array, shapes (outputs, inputs) and (outputs,)
    activations : sequence of callable
        Of the hidden layers.
    silence : callable, optional
        ``silence(layer, x)`` is applied to the output of each hidden layer.
    """
    for layer, activation in enumerate(activations):
        x = activation(F.linear(x, weights[layer], biases[layer]))
        x = x if silence is None else silence(layer, x)
    return F.linear(x, weights[-1], biases[-1])


class Network(nn.Module):
    """A multi-layer perceptron over scikit-learn's weights, to be trained.

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
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            setattr(self, f"weight{layer}", weight)
            setattr(self, f"bias{layer}", bias)
        self.activations = [HIDDEN[name] for name in activations]
        self.dropout = list(dropout)
        # One key a layer for whatever programs a plan makes of this: the masks depend on the number of the step alone.
        self.keys = [np.array([key]) for key in np.random.default_rng(seed).integers(2**62, size=len(self.dropout))]

    def forward(self, x: Any) -> Any:
        """(rows, inputs) -> (rows, outputs)"""
        return predict(x, self.weights, self.biases, self.activations, self._silence if self.dropout else None)

    def _silence(self, layer: int, x: Any) -> Any:
        dispatch.count(self.keys[layer])
        return dispatch.call(dropout_operators.dropout, x, self.keys[layer], self.dropout[layer])

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
