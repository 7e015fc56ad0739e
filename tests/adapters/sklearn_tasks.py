"""Data, settings and comparisons for the estimators of fastnn.sklearn."""

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")
from sklearn import datasets, neural_network
from sklearn.preprocessing import StandardScaler

SMALL = {"hidden_layer_sizes": (7, 5), "random_state": 0, "max_iter": 8, "batch_size": 32}


def classes():
    X, y = datasets.load_iris(return_X_y=True)
    return X, np.array(["a", "b", "c"])[y]


def binary():
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X)[:150], y[:150]


def labels():
    return datasets.make_multilabel_classification(n_samples=100, random_state=0)


def numbers(targets=1):
    X, y = datasets.make_regression(120, 6, n_targets=targets, random_state=0)
    return X, y / 100


def counts():
    X, y = numbers(2)
    return X, np.round(np.abs(y))


SOLVERS = {
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "lbfgs": {"solver": "lbfgs"},
}


def original(estimator):
    """scikit-learn's estimator with the same parameters."""
    theirs = getattr(neural_network, type(estimator).__name__)
    known = theirs().get_params()
    return theirs(**{name: value for name, value in estimator.get_params().items() if name in known})


def assert_same(ours, theirs, rtol=1e-9):
    """Equal up to rounding: what was learned, and how."""
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    for name in ("loss_", "best_loss_", "best_validation_score_", "loss_curve_", "validation_scores_"):
        assert hasattr(ours, name) == hasattr(theirs, name)
        value = getattr(theirs, name, None)
        if value is None:
            assert getattr(ours, name, None) is None
        else:
            np.testing.assert_allclose(getattr(ours, name), value, rtol=rtol, err_msg=name)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name


class Recorder:
    """Writes down every call, and stops after some iterations."""

    def __init__(self, stop_after=None):
        self.calls, self.stop_after, self.scores = [], stop_after, []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.calls.append(f"end {context.task_name} {context.task_id}")
        if context.task_name == "iteration":
            assert context.parent.task_name == "fit"
            assert context.parent.max_subtasks == estimator.max_iter
            self.scores.append(-np.mean((fitted_estimator.predict(X) - y.ravel()) ** 2))
            return self.stop_after is not None and context.task_id + 1 == self.stop_after
        return False

    def teardown(self, estimator, context):
        self.calls.append("teardown")
