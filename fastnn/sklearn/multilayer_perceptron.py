"""``MLPClassifier`` and ``MLPRegressor``."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import StrOptions

from .estimator import CONSTRAINTS, PlanEstimator


class MLPClassifier(PlanEstimator, neural_network.MLPClassifier):
    """:class:`sklearn.neural_network.MLPClassifier`, trained by a plan; all its parameters, attributes and methods mean the same.

    Adam and SGD draw the same initial weights and the same batches from ``random_state`` as scikit-learn, and stop by the same rules.

    Parameters
    ----------
    hidden_layer_sizes, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, random_state, tol, \
verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        scikit-learn's.
    activation : str or sequence of str
        scikit-learn's "identity", "logistic", "tanh", "relu", or "elu", "gelu", "leaky_relu", "silu", "softplus"; a sequence has one
        for each hidden layer.
    dropout : float or sequence of float in [0, 1), default=0
        Probability with which an element of a hidden layer is silenced in training. Not with solver "lbfgs".
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as everywhere in scikit-learn; they multiply ``sample_weight``.
    precision : {"auto", "input"}, default="auto"
        In which Adam and SGD compute. "input": the dtype of ``X``, so that the numbers are scikit-learn's up to rounding. "auto":
        float32, unless a column of the data needs float64. What is learned has the dtype of ``X`` in either case.
    n_threads : int or None, default=None
        Threads of the kernels in ``fit`` and ``predict``; None leaves ``fastnn.set_num_threads`` alone. It acts on the whole process.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastnn.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> MLPClassifier(learning_rate_init=0.01, random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints: dict = {  # noqa: RUF012 (scikit-learn's way)
        **neural_network.MLPClassifier._parameter_constraints,
        **CONSTRAINTS,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        class_weight: Any = None,
        precision: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes, activation, solver=solver, alpha=alpha, batch_size=batch_size, learning_rate=learning_rate,
            learning_rate_init=learning_rate_init, power_t=power_t, max_iter=max_iter, shuffle=shuffle, random_state=random_state,
            tol=tol, verbose=verbose, warm_start=warm_start, momentum=momentum, nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping, validation_fraction=validation_fraction, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon,
            n_iter_no_change=n_iter_no_change, max_fun=max_fun,
        )  # fmt: skip
        self.dropout = dropout
        self.class_weight = class_weight
        self.precision = precision
        self.n_threads = n_threads

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> Any:
        if self.class_weight is not None:
            if incremental and self.class_weight == "balanced":
                raise ValueError("class_weight 'balanced' is not supported for partial_fit: it wants all rows; give a dict")
            weight = compute_sample_weight(self.class_weight, y)
            sample_weight = weight if sample_weight is None else weight * np.asarray(sample_weight)
        return super()._fit(X, y, sample_weight, incremental)


class MLPRegressor(PlanEstimator, neural_network.MLPRegressor):
    """:class:`sklearn.neural_network.MLPRegressor`, trained by a plan; all its parameters, attributes and methods mean the same.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        scikit-learn's, like the parameters that it shares with :class:`MLPClassifier`.
    activation, dropout, precision, n_threads
        As in :class:`MLPClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.sklearn import MLPRegressor
    >>> X = np.linspace(-1, 1, 100).reshape(-1, 1)
    >>> MLPRegressor(solver="lbfgs", random_state=0).fit(X, X.ravel() ** 2).score(X, X.ravel() ** 2) > 0.99
    True
    """

    _parameter_constraints: dict = {**neural_network.MLPRegressor._parameter_constraints, **CONSTRAINTS}  # noqa: RUF012

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        precision: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        super().__init__(
            loss, hidden_layer_sizes, activation, solver=solver, alpha=alpha, batch_size=batch_size, learning_rate=learning_rate,
            learning_rate_init=learning_rate_init, power_t=power_t, max_iter=max_iter, shuffle=shuffle, random_state=random_state,
            tol=tol, verbose=verbose, warm_start=warm_start, momentum=momentum, nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping, validation_fraction=validation_fraction, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon,
            n_iter_no_change=n_iter_no_change, max_fun=max_fun,
        )  # fmt: skip
        self.dropout = dropout
        self.precision = precision
        self.n_threads = n_threads
