"""``Perceptron``."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import linear_model
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from fastnn import functional as F
from fastnn import optim

from .estimator import CONSTRAINTS
from .network import Network
from .threads import threads
from .trainer import Trainer, dense

SPARSE_INTERCEPT_DECAY = 0.01  # scikit-learn's: rows with few entries change the intercept too often


class Perceptron(linear_model.Perceptron):
    """:class:`sklearn.linear_model.Perceptron`, and in mini-batches by a plan; all its parameters, attributes and methods mean the same.

    With ``batch_size=1`` scikit-learn's own compiled loop learns from one row after another: a step that small leaves a plan nothing to
    gain. In mini-batches one plan trains all classes together: the weights change once a batch, by the sum over its rows that are on the
    wrong side.

    Parameters
    ----------
    penalty, alpha, l1_ratio, fit_intercept, max_iter, tol, shuffle, verbose, eta0, n_jobs, random_state, early_stopping, \
validation_fraction, n_iter_no_change, class_weight, warm_start
        scikit-learn's. ``penalty`` "l1" and "elasticnet" cut weights off after each row: for them ``batch_size`` has to be 1.
    batch_size : int, default=1
        Rows between two changes of the weights.
    n_threads : int or None, default=None
        As in :class:`MLPClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from fastnn.sklearn import Perceptron
    >>> X, y = load_digits(return_X_y=True)
    >>> Perceptron(batch_size=16).fit(X, y).score(X, y) > 0.9
    True
    """

    coef_: np.ndarray  # made by scikit-learn, like the rest
    intercept_: np.ndarray

    _parameter_constraints: dict = {  # noqa: RUF012 (scikit-learn's way)
        **linear_model.Perceptron._parameter_constraints,
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_threads": CONSTRAINTS["n_threads"],
    }

    def __init__(
        self,
        *,
        penalty: str | None = None,
        alpha: float = 0.0001,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        eta0: float = 1.0,
        n_jobs: int | None = None,
        random_state: Any = 0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: Any = None,
        warm_start: bool = False,
        batch_size: int = 1,
        n_threads: int | None = None,
    ) -> None:
        super().__init__(
            penalty=penalty, alpha=alpha, l1_ratio=l1_ratio, fit_intercept=fit_intercept, max_iter=max_iter, tol=tol, shuffle=shuffle,
            verbose=verbose, eta0=eta0, n_jobs=n_jobs, random_state=random_state, early_stopping=early_stopping,
            validation_fraction=validation_fraction, n_iter_no_change=n_iter_no_change, class_weight=class_weight, warm_start=warm_start,
        )  # fmt: skip
        self.batch_size = batch_size
        self.n_threads = n_threads

    def _fit_binary(self, X: Any, y: np.ndarray, **given: Any) -> None:
        if self.batch_size == 1:
            super()._fit_binary(X, y, **given)
        else:
            self._fit_batches(X, y, **given)

    def _fit_multiclass(self, X: Any, y: np.ndarray, **given: Any) -> None:
        if self.batch_size == 1:
            super()._fit_multiclass(X, y, **given)
        else:
            self._fit_batches(X, y, **given)

    def _fit_batches(self, X: Any, y: np.ndarray, *, sample_weight: np.ndarray, max_iter: int, **others: Any) -> None:
        """Train all classes against the rest, with one plan."""
        if self.penalty in ("l1", "elasticnet"):
            raise ValueError(f"batch_size: expected 1 with penalty {self.penalty!r}, got {self.batch_size}")
        random_state = check_random_state(self.random_state)
        held = self._make_validation_split(y, sample_mask=sample_weight > 0).astype(bool)
        validation = (X[held], y[held], sample_weight[held]) if self.early_stopping else None
        trainer = self._make_trainer(issparse(X))
        table = self._table(y, sample_weight)[~held]
        rows = X[~held] if issparse(X) else dense(X[~held], self.coef_.dtype)
        with threads(self.n_threads):
            self.n_iter_ = self._iterate(trainer, rows, table, validation, random_state, max_iter)
        self.t_ += self.n_iter_ * X.shape[0]

    def _make_trainer(self, sparse: bool) -> Trainer:
        network = Network([np.atleast_2d(self.coef_).T], [self.intercept_], [], self.coef_.dtype)
        decay = self.alpha if self.penalty == "l2" else 0.0
        rate = self.eta0 * (SPARSE_INTERCEPT_DECAY if sparse else 1.0) if self.fit_intercept else 0.0
        groups = [{"params": network.weights, "lr": self.eta0}, {"params": network.biases, "lr": rate}]
        return Trainer(network, Criterion(decay), optim.SGD(groups))

    def _table(self, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """For each row the side of each class, -1 or 1, and the weight with which it counts."""
        binary = len(self.classes_) == 2
        classes = self.classes_[1:] if binary else self.classes_
        positive = y.reshape(-1, 1) == classes
        other, own = (
            (self._expanded_class_weight[:1], self._expanded_class_weight[1:]) if binary else (1.0, self._expanded_class_weight)
        )
        weight = np.where(positive, own, other) * sample_weight.reshape(-1, 1)
        return np.hstack([np.where(positive, 1.0, -1.0), weight]).astype(self.coef_.dtype)

    def _iterate(self, trainer: Trainer, X: Any, table: np.ndarray, validation: Any, random_state: Any, max_iter: int) -> int:
        """Epochs until the loss, or the validation score, stops improving; their number. The rules are those of scikit-learn's loop."""
        order, tol = np.arange(X.shape[0]), -np.inf if self.tol is None else self.tol
        run = trainer.epochs(X, table, min(self.batch_size, len(order)))
        best, without_progress = -np.inf, 0
        for epoch in range(max_iter):
            if self.shuffle:
                random_state.shuffle(order)
            loss = run(order)
            dtype = self.coef_.dtype
            self.coef_, (self.intercept_,) = trainer.network.coefs(dtype)[0].T, trainer.network.intercepts(dtype)
            if not (np.isfinite(loss) and np.isfinite(self.coef_).all()):
                raise ValueError(f"Floating-point under-/overflow occurred at epoch #{epoch + 1}. Scaling input data may help.")
            if self.verbose:
                print(f"-- Epoch {epoch + 1}\nNorm: {np.linalg.norm(self.coef_):.2f}, Avg. loss: {loss:f}")
            quality = -loss if validation is None else self.score(*validation)
            without_progress = without_progress + 1 if tol > -np.inf and quality < best + tol else 0
            best = max(best, quality)
            if without_progress >= self.n_iter_no_change:
                return epoch + 1
        return max_iter


class Criterion:
    """The perceptron's loss, ``max(0, -t z)``, summed over a batch.

    A row on the border counts as wrong, so that zero weights learn; that is how :func:`fastnn.functional.clamp` passes gradients.

    Parameters
    ----------
    decay : float
        L2 penalty of each row.
    """

    reduction = "sum"
    weighted = False
    decays = True

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def weight_decay(self, rows: int) -> float:
        """The penalty of a batch."""
        return self.decay * rows

    def __call__(self, z: Any, table: Any) -> Any:
        """The loss of a batch: scores (rows, classes), and their signs and weights (rows, 2 classes)."""
        classes = z.shape[1]
        return F.sum(F.clamp(-table[:, :classes] * z, 0.0) * table[:, classes:])
