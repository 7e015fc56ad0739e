"""What SciPy's L-BFGS minimises: the loss over all rows and its gradient, computed by a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn.autograd import Tensor
from fastnn.optim import Optimizer

from .objective import Objective
from .trainer import chunks


class Gradients(Optimizer):
    """Keeps the gradients instead of making a step.

    Parameters
    ----------
    params : iterable of Tensors
    """

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})
        self.found: dict[Tensor, np.ndarray] = {}

    def update(self, parameter: Tensor, gradient: np.ndarray, group: dict[str, Any]) -> None:
        """Keep the gradient."""
        self.found[parameter] = gradient


def penalised_loss(
    objective: Objective, X: Any, y: np.ndarray, sample_weight: np.ndarray | None, alpha: float
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The loss with its penalty, and the gradient, as a function of all weights in one array; in float64, as SciPy's solver computes.

    Parameters
    ----------
    objective : Objective
        Without penalty.
    X : array or sparse matrix, shape (rows, inputs)
    y : array, shape (rows, outputs)
    sample_weight : array, shape (rows,), optional
    alpha : float
        Of the penalty.

    Returns
    -------
    callable
        Of scikit-learn's ``coefs_`` and then ``intercepts_``, each row by row.
    """
    network = objective.network
    parameters = [*network.weights, *network.biases]
    ends = np.cumsum([parameter.numel() for parameter in parameters])[:-1]
    table = objective.table(y, sample_weight, np.float64)
    plan = fastnn.compile(network, objective, Gradients(parameters))
    alpha = alpha / (X.shape[0] if sample_weight is None else sample_weight.sum())

    def function(packed: np.ndarray) -> tuple[float, np.ndarray]:
        parts = np.split(packed, ends)
        coefs = [part.reshape(weight.shape[::-1]) for part, weight in zip(parts, network.weights, strict=False)]
        network.load(coefs, parts[len(coefs) :])
        loss, gradient = _loss_and_gradient(plan, X, table, sample_weight)
        for coef, slope in zip(coefs, gradient, strict=False):
            loss += 0.5 * alpha * np.vdot(coef, coef)
            slope += alpha * coef
        return loss, np.hstack([slope.ravel() for slope in gradient])

    return function


def _loss_and_gradient(plan: Any, X: Any, table: np.ndarray, weight: np.ndarray | None) -> tuple[float, list[np.ndarray]]:
    """The loss over all rows and its gradient for the weights and biases, in scikit-learn's shapes.

    Parameters
    ----------
    plan : Plan
        Of a Network, an Objective without penalty, and :class:`Gradients`.
    X : array or sparse matrix, shape (rows, inputs)
    table : array
        What :meth:`Objective.table` gives.
    weight : array, shape (rows,), optional
    """
    network, gradients = plan.model, plan.optimizer
    parameters = [*network.weights, *network.biases]
    loss, totals = 0.0, [np.zeros(p.shape, p.dtype) for p in parameters]
    whole = X.shape[0] if weight is None else weight.sum()
    for rows, x in chunks(X, network.weights[0].dtype):
        share = (len(x) if weight is None else weight[rows].sum()) / whole
        if share == 0:  # its mean is not defined
            continue
        loss += share * plan.step(x, table[rows])
        for total, parameter in zip(totals, parameters, strict=True):
            total += share * gradients.found[parameter]
    return loss, [total.T for total in totals]
