"""Training of an estimator's network by a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse

import fastnn
from fastnn import optim
from fastnn.autograd import Tensor
from fastnn.optim import Optimizer
from fastnn.optim.optimizer import Rule

from .network import Network

CHUNK = 1024  # rows whose activations stay in the cache


def dense(X: Any, dtype: Any) -> np.ndarray:
    """Rows of a table as a plain array."""
    return np.ascontiguousarray(X.toarray() if issparse(X) else X, dtype)


def chunks(X: Any, dtype: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """The rows of a table in pieces, each a plain array."""
    for first in range(0, X.shape[0], CHUNK):
        rows = slice(first, min(first + CHUNK, X.shape[0]))
        yield rows, dense(X[rows], dtype)


class Trainer:
    """A network, its loss and its optimiser as a plan that trains whole epochs.

    Parameters
    ----------
    network : Network
    objective : Objective, or another loss with ``weighted``, ``decays`` and ``weight_decay``
    optimizer : Optimizer
        Its first group has the weights, which are penalised.
    """

    def __init__(self, network: Network, objective: Any, optimizer: Optimizer) -> None:
        self.network, self.objective, self.optimizer = network, objective, optimizer
        self.plan = fastnn.compile(network, objective, optimizer)

    def epochs(self, X: Any, table: np.ndarray, batch_size: int) -> Callable[[np.ndarray], float]:
        """What trains on all rows once, in an order that it is given, and returns the mean loss.

        Parameters
        ----------
        X : array or sparse matrix, shape (rows, inputs)
            An array in the dtype of the network.
        table : array
            What the objective has to know of each row.
        batch_size : int
        """
        batches = self._sparse_batches(X, table, batch_size) if issparse(X) else self.plan.epochs(X, table, batch_size=batch_size)

        def run(order: np.ndarray) -> float:
            if self.objective.weighted and not np.add.reduceat(table[order, -1], np.arange(0, len(order), batch_size)).all():
                raise ZeroDivisionError("Weights sum to zero, can't be normalized")  # what numpy.average says
            whole = len(order) // batch_size * batch_size
            total = 0.0
            for rows in (order[:whole], order[whole:]):
                if len(rows):
                    self._decay(min(batch_size, len(rows)))
                    total += len(rows) * batches(rows)
            return total / len(order)

        return run

    def _sparse_batches(self, X: Any, table: np.ndarray, batch_size: int) -> Callable[[np.ndarray], float]:
        """The same as ``plan.epochs``, with one batch at a time as a plain array."""
        dtype = self.network.weights[0].dtype

        def run(order: np.ndarray) -> float:
            batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
            losses = [self.plan.step(dense(X[rows], dtype), table[rows]) for rows in batches]
            summed = getattr(self.objective, "reduction", "mean") == "sum"
            return sum(loss * (1 if summed else len(rows)) for loss, rows in zip(losses, batches, strict=True)) / len(order)

        return run

    def _decay(self, rows: int) -> None:
        """Set the penalty of a batch where the optimiser has to do with it."""
        if self.objective.decays:
            self.optimizer.param_groups[0]["weight_decay"] = self.objective.weight_decay(rows)

    def set_learning_rate(self, rate: float) -> None:
        """Change the learning rate of SGD.

        scikit-learn's velocity holds the rate at which a gradient came in; the momentum here is multiplied by the rate of the step.
        """
        for group in self.optimizer.param_groups:
            if group["lr"] != rate and rate > 0:
                for parameter in group["params"]:
                    if "momentum_buffer" in self.optimizer.state.get(parameter, {}):
                        self.optimizer.state[parameter]["momentum_buffer"] *= group["lr"] / rate
            group["lr"] = rate


class Adam(optim.Adam):
    """Adam in the order in which scikit-learn computes it: eps is added before the correction of the bias.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), the end of section 2.
    """

    def rule(self, parameter: Tensor, group: dict[str, Any]) -> Rule:
        """Adam's, with the other order."""
        rule = super().rule(parameter, group)
        return rule._replace(attributes=(*rule.attributes[:-1], True))


def make_optimizer(network: Network, solver: str, **options: Any) -> Optimizer:
    """Adam or SGD over the weights and, in a group of their own, the biases."""
    groups = [{"params": network.weights}, {"params": network.biases}]
    return Adam(groups, **options) if solver == "adam" else optim.SGD(groups, **options)
