"""What the two multi-layer perceptrons share: scikit-learn's estimators, with training and prediction done here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import validate_data

from .callbacks import CallbackSupportMixin, Iterations, with_callbacks
from .lbfgs import penalised_loss
from .network import HIDDEN, OUTPUT, Network, predict
from .objective import Objective
from .precision import denormals_flushed, training_dtype
from .threads import threads
from .trainer import Trainer, chunks, dense, make_optimizer

CONSTRAINTS = {
    "activation": [StrOptions(set(HIDDEN)), list, tuple],
    "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
    "precision": [StrOptions({"auto", "input"})],
    "n_threads": [Interval(Integral, 1, None, closed="left"), None],
}


class PlanEstimator(CallbackSupportMixin):
    """Training and prediction of scikit-learn's multi-layer perceptrons; a mixin that stands before one of them.

    scikit-learn's class validates, initialises and judges convergence. What is replaced here is what computes: ``_fit_stochastic`` (whole
    epochs by a plan), ``_fit_lbfgs`` (loss and gradient by a plan) and ``_forward_pass_fast``.
    """

    coefs_: list[np.ndarray]  # made by scikit-learn, like the rest
    intercepts_: list[np.ndarray]
    _best_coefs: list[np.ndarray]
    _best_intercepts: list[np.ndarray]
    _no_improvement_count: int

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> Any:
        fit = super()._fit if incremental else with_callbacks(super()._fit.__func__).__get__(self)
        with threads(self.n_threads):
            return fit(X, y, sample_weight=sample_weight, incremental=incremental)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_trainer"}

    # the network

    def _activations(self) -> list[str]:
        """Names of the activations of the hidden layers."""
        return self._for_layers(
            "activation", self.activation, lambda v: isinstance(v, str) and v in HIDDEN, f"names among {sorted(HIDDEN)}"
        )

    def _dropouts(self) -> list[float]:
        """Dropout after each hidden layer; empty where there is none."""
        values = self._for_layers(
            "dropout", self.dropout, lambda v: isinstance(v, Real) and 0 <= float(v) < 1, "numbers in [0, 1)"
        )
        return values if any(values) else []

    def _for_layers(self, name: str, value: Any, fits: Callable[[Any], bool], expected: str) -> list[Any]:
        """One value for each hidden layer."""
        layers = np.size(self.hidden_layer_sizes)
        values = list(value) if isinstance(value, (list, tuple)) else [value] * layers
        if len(values) != layers or not all(map(fits, values)):
            raise ValueError(f"{name}: expected {layers} {expected}, one for each hidden layer, got {value!r}")
        return values

    def _init_coef(self, fan_in: int, fan_out: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """Glorot's initialisation, drawn in scikit-learn's order; the output layer takes the bound of the layer before it."""
        names = self._activations()
        name = names[min(len(self.coefs_), len(names) - 1)] if names else self.activation
        bound = np.sqrt((2.0 if name == "logistic" else 6.0) / (fan_in + fan_out))
        coef = self._random_state.uniform(-bound, bound, (fan_in, fan_out))
        intercept = self._random_state.uniform(-bound, bound, fan_out)
        return coef.astype(dtype, copy=False), intercept.astype(dtype, copy=False)

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> np.ndarray:
        """The output of the network for the rows of ``X``."""
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        X = X.tocsr() if issparse(X) else X
        dtype = np.float32 if np.result_type(X.dtype, self.coefs_[0].dtype) == np.float32 else np.float64
        weights = [np.ascontiguousarray(coef.T, dtype) for coef in self.coefs_]
        biases = [np.ascontiguousarray(intercept, dtype) for intercept in self.intercepts_]
        hidden, last = [HIDDEN[name] for name in self._activations()], OUTPUT[self.out_activation_]
        result = np.empty((X.shape[0], len(biases[-1])), dtype)
        with threads(self.n_threads):
            for rows, x in chunks(X, dtype):
                result[rows] = last(predict(x, weights, biases, hidden))
        return result

    def _given_targets(self, y: np.ndarray) -> np.ndarray:
        """Targets as the user gave them, for callbacks."""
        if is_classifier(self):
            return self._label_binarizer.inverse_transform(y)
        return y.ravel() if y.shape[1] == 1 else y

    def _objective(self, network: Network, *, alpha: float, weighted: bool, decays: bool) -> Objective:
        loss = "binary_log_loss" if self.loss == "log_loss" and self.out_activation_ == "logistic" else self.loss
        epsilon = float(np.finfo(self.coefs_[0].dtype).eps)
        return Objective(network, loss, alpha=alpha, weighted=weighted, decays=decays, epsilon=epsilon)

    # Adam and SGD

    def _fit_stochastic(self, X: Any, y: np.ndarray, sample_weight: np.ndarray | None, *buffers: Any) -> None:
        incremental = buffers[-1]
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if sample_weight is not None and (sample_weight == 1).all():
            sample_weight = None
        iterations = Iterations(self, X, self._given_targets(y), sample_weight)
        (X, y, sample_weight), validation = self._split(X, y, sample_weight)
        batch_size = self._batch_size(X.shape[0])
        if not incremental or not hasattr(self, "_optimizer"):
            self._start_optimizer()
            self._training_dtype = training_dtype(self.precision, X, y, batch_size)
        trainer = self._make_trainer(X, sample_weight is not None, keep=incremental)
        dtype = trainer.network.weights[0].dtype
        table = trainer.objective.table(y, sample_weight, dtype)
        X = X.tocsr() if issparse(X) else dense(X, dtype)
        try:
            rounded = dtype != self.coefs_[0].dtype
            with denormals_flushed(rounded), nullcontext() if incremental else iterations.fit():
                self._iterate(trainer, trainer.epochs(X, table, batch_size), X.shape[0], validation, iterations, incremental)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:
            self._take(trainer.network)
        if self.early_stopping:
            self.coefs_, self.intercepts_ = self._best_coefs, self._best_intercepts

    def _split(self, X: Any, y: np.ndarray, sample_weight: np.ndarray | None) -> tuple[Any, Any]:
        """Rows to train on and, for early stopping, rows to validate with, each with targets and weights."""
        if not self.early_stopping:
            return (X, y, sample_weight), (None, None, None)
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        parts = train_test_split(*arrays, random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify)
        train, held = parts[::2], parts[1::2]
        if held[0].shape[0] < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
        if is_classifier(self):
            held[1] = self._label_binarizer.inverse_transform(held[1])
        return (*train, None)[:3], (*held, None)[:3]

    def _start_optimizer(self) -> None:
        """scikit-learn's optimiser, which knows the schedule and when to stop; the moments are kept beside it."""
        if self.solver == "sgd":
            settings = self.learning_rate_init, self.learning_rate, self.momentum, self.nesterovs_momentum, self.power_t
            self._optimizer = SGDOptimizer([], *settings)
        else:
            self._optimizer = AdamOptimizer([], self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon)
        self._moments: list[dict[str, Any]] = [{} for _ in (*self.coefs_, *self.intercepts_)]
        self._rate = self._optimizer.learning_rate  # of the last step, which the momentum of SGD refers to

    def _make_trainer(self, X: Any, weighted: bool, keep: bool) -> Trainer:
        """A trainer that goes on from the estimator's weights and moments; the last one where nothing else is different."""
        optimizer = self._optimizer
        dtype = self._training_dtype
        if self.solver == "adam":
            options = {
                "lr": optimizer.learning_rate_init,
                "betas": (optimizer.beta_1, optimizer.beta_2),
                "eps": optimizer.epsilon,
            }
        else:
            momentum = optimizer.momentum
            options = {"lr": self._rate, "momentum": momentum, "nesterov": bool(optimizer.nesterov and momentum)}
        shapes = [coef.shape for coef in self.coefs_]
        kind = shapes, self._activations(), self._dropouts(), weighted, self.alpha, {**options, "lr": None}, str(dtype)
        kept, trainer = self.__dict__.pop("_trainer", (None, None))
        if kept == (kind, id(self._moments)):
            trainer.network.load(self.coefs_, self.intercepts_)
        else:
            seed = self._random_state.randint(2**31 - 1) if self._dropouts() else None
            network = Network(self.coefs_, self.intercepts_, self._activations(), dtype, self._dropouts(), seed)
            objective = self._objective(network, alpha=self.alpha, weighted=weighted, decays=not weighted)
            trainer = Trainer(network, objective, make_optimizer(network, self.solver, **options))
            trainer.optimizer.state = dict(zip([*network.weights, *network.biases], self._moments, strict=True))
        if keep:
            self._trainer = (kind, id(self._moments)), trainer
        return trainer

    def _iterate(
        self,
        trainer: Trainer,
        epoch: Callable[[np.ndarray], float],
        rows: int,
        validation: Any,
        iterations: Iterations,
        incremental: bool,
    ) -> None:
        """Epochs until the loss, or the validation score, stops improving."""
        order = np.arange(rows)
        self.n_iter_ = 0
        for _ in range(1 if incremental else self.max_iter):
            iterations.begin()
            if self.shuffle:
                permutation = np.arange(rows)
                self._random_state.shuffle(permutation)
                order = order[permutation]
            if self.solver == "sgd":
                self._rate = self._optimizer.learning_rate
                trainer.set_learning_rate(self._rate)
            self.loss_ = epoch(order)
            self.n_iter_ += 1
            self.t_ += rows
            self.loss_curve_.append(self.loss_)
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
            if self.early_stopping or iterations.wanted:
                self._take(trainer.network)
            self._update_no_improvement_count(self.early_stopping, *validation)
            self._optimizer.iteration_ends(self.t_)
            if iterations.end() or self._has_converged():
                return
        if not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=6,
            )

    def _batch_size(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=7)
        return min(self.batch_size, rows)

    def _has_converged(self) -> bool:
        """Whether nothing improved for too long, and the learning rate is not lowered instead."""
        if self._no_improvement_count <= self.n_iter_no_change:
            return False
        what = "Validation score" if self.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change:d} consecutive epochs."
        if self._optimizer.trigger_stopping(message, self.verbose):
            return True
        self._no_improvement_count = 0
        return False

    def _take(self, network: Network) -> None:
        """Make what was learned the estimator's own, in the dtype that it had."""
        dtype = self.coefs_[0].dtype
        self.coefs_, self.intercepts_ = network.coefs(dtype), network.intercepts(dtype)

    # L-BFGS

    def _fit_lbfgs(self, X: Any, y: np.ndarray, sample_weight: np.ndarray | None, *buffers: Any) -> None:
        if self._dropouts():
            raise ValueError(f"dropout: solver 'lbfgs' wants the same loss at each call, expected 0, got {self.dropout!r}")
        iterations = Iterations(self, X, self._given_targets(y), sample_weight)
        shapes = [coef.shape for coef in self.coefs_]
        ends = np.cumsum([array.size for array in (*self.coefs_, *self.intercepts_)])[:-1]
        network = Network(self.coefs_, self.intercepts_, self._activations(), np.float64)
        objective = self._objective(network, alpha=0.0, weighted=sample_weight is not None, decays=False)
        function = penalised_loss(objective, X.tocsr() if issparse(X) else X, y, sample_weight, self.alpha)

        def take(packed: np.ndarray) -> None:
            parts = np.split(packed.copy(), ends)
            self.coefs_ = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=False)]
            self.intercepts_ = parts[len(shapes) :]

        def evaluate(packed: np.ndarray) -> tuple[float, np.ndarray]:
            iterations.begin()
            return function(packed)

        def iterated(packed: np.ndarray) -> None:
            take(packed)
            if iterations.end():
                raise StopIteration

        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol, **({"iprint": 1} if self.verbose else {})}
        start = np.hstack([array.ravel() for array in (*self.coefs_, *self.intercepts_)]).astype(np.float64)
        with iterations.fit():
            callback = iterated if iterations.wanted else None
            result = minimize(evaluate, start, method="L-BFGS-B", jac=True, options=options, callback=callback)
        self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
        self.loss_ = result.fun
        take(result.x)
