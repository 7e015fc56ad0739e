"""scikit-learn's losses of a multi-layer perceptron, as functions that a plan traces."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import xlogy

from fastnn import functional as F

from .network import Network


class Objective:
    """The loss of a batch, weighted over its rows, with scikit-learn's value and scikit-learn's gradient.

    The two differ in three places. The logarithm of a probability is limited in the value alone, by the machine epsilon. The squared
    error is divided by the number of outputs in the value alone. And the L2 penalty, ``alpha / 2 |weights|^2 / rows``, is part of the
    value, while its gradient may come from the optimiser's weight decay.

    Parameters
    ----------
    network : Network
    loss : "log_loss" | "binary_log_loss" | "squared_error" | "poisson"
        Of classes, of independent labels, of numbers, and of counts whose logarithm the network gives.
    alpha : float
    weighted : bool
        Whether the rows have weights.
    decays : bool
        Whether the optimiser decays the weights.
    epsilon : float
        The least probability in the value of a logarithmic loss.
    """

    def __init__(self, network: Network, loss: str, *, alpha: float, weighted: bool, decays: bool, epsilon: float) -> None:
        self.network, self.loss, self.alpha = network, loss, alpha
        self.weighted, self.decays, self.epsilon = weighted, decays, epsilon

    def table(self, y: np.ndarray, sample_weight: np.ndarray | None, dtype: Any) -> np.ndarray:
        """What the loss wants to know of each row: the targets, of counts a term of the loss that is constant, and the weight."""
        if self.loss == "log_loss" and not self.weighted:
            return y.argmax(axis=1)
        columns = [y.astype(dtype, copy=False)]
        if self.loss == "poisson":
            columns.append((xlogy(y, y) - y).astype(dtype))
        if sample_weight is not None:
            columns.append(sample_weight.reshape(-1, 1).astype(dtype))
        return np.hstack(columns) if len(columns) > 1 else np.ascontiguousarray(columns[0])

    def weight_decay(self, rows: int) -> float:
        """The penalty of a batch in its gradient: scikit-learn divides it by the number of rows."""
        return self.alpha / rows

    def __call__(self, z: Any, table: Any) -> Any:
        """The loss of a batch.

        Parameters
        ----------
        z : Tensor, shape (rows, outputs)
            Before the output activation.
        table : Tensor, shape (rows,) or (rows, columns)
            Rows of :meth:`table`.
        """
        weight = table[:, -1] if self.weighted else None
        rows = self._rows(z, table[:, :-1] if self.weighted else table)
        total = z.shape[0] if weight is None else F.sum(weight)
        loss = value = _average(rows, weight, total)
        if self.loss.endswith("log_loss"):
            limits = -np.log1p(-self.epsilon), -np.log(self.epsilon)
            value = _average(F.clamp(rows.detach(), *limits), weight, total)
        elif self.loss == "squared_error" and z.shape[1] > 1:
            value = loss / z.shape[1]
        if self.alpha:
            squares = F.reshape(_squares(self.network.weights), ())
            penalty = squares * (0.5 * self.alpha / total) if weight is None else squares * (0.5 * self.alpha) / total
            value = value + penalty
            loss = loss if self.decays else loss + penalty
        return loss if value is loss else loss + (value - loss).detach()

    def _rows(self, z: Any, table: Any) -> Any:
        """The loss of each row, or of each output of each row."""
        if self.loss == "log_loss":
            return F.cross_entropy(z, table, reduction="none")
        if self.loss == "binary_log_loss":
            return F.binary_cross_entropy_with_logits(z, table, reduction="none")
        if self.loss == "squared_error":
            return F.mse_loss(z, table, reduction="none") * 0.5
        outputs = z.shape[1]
        return F.exp(z) - table[:, :outputs] * z + table[:, outputs:]


def _average(losses: Any, weight: Any, total: Any) -> Any:
    """The sum over outputs, averaged over rows."""
    if losses.ndim > 1:
        losses = F.reshape(losses, (-1,)) if losses.shape[1] == 1 else F.sum(losses, 1)
    return F.mean(losses) if weight is None else F.sum(losses * weight) / total


def _squares(weights: list[Any]) -> Any:
    """The sum of all squares, shape (1, 1)."""
    flat = [F.reshape(weight, (1, -1)) for weight in weights]
    return sum((F.linear(w, w) for w in flat[1:]), F.linear(flat[0], flat[0]))
