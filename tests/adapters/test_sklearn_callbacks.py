"""Callbacks of fastnn.sklearn: what they hear of a fit, and how they stop it."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastnn.sklearn import MLPClassifier, MLPRegressor, callbacks

from .sklearn_tasks import SMALL, SOLVERS, Recorder, classes, numbers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("solver", SOLVERS)
def test_callbacks_hear_of_each_iteration(solver):
    X, y = numbers()
    recorder = Recorder()
    model = MLPRegressor(**SMALL, **SOLVERS[solver]).set_callbacks(recorder).fit(X, y)
    iterations = [f"{edge} iteration {number}" for number in range(model.n_iter_) for edge in ("begin", "end")]
    assert recorder.calls == ["setup", "begin fit 0", *iterations, "end fit 0", "teardown"]
    assert recorder.scores[-1] == pytest.approx(-np.mean((model.predict(X) - y) ** 2), rel=1e-6)
    assert len(set(recorder.scores)) == model.n_iter_
    np.testing.assert_array_equal(clone(model).set_callbacks().fit(X, y).coefs_[0], model.coefs_[0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_callbacks_can_stop(solver):
    X, y = numbers()
    model = MLPRegressor(**SMALL, **SOLVERS[solver]).set_callbacks(Recorder(stop_after=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if solver == "lbfgs" else "error", ConvergenceWarning)
        model.fit(X, y)
    assert model.n_iter_ == 3


def test_callbacks_are_told_when_a_fit_fails():
    X, y = numbers()

    class Failing(Recorder):
        def on_fit_task_begin(self, estimator, context):
            super().on_fit_task_begin(estimator, context)
            if context.task_id == 2:
                raise OSError("no room for a log")

    callback = Failing()
    with pytest.raises(OSError, match="no room"):
        MLPRegressor(**SMALL).set_callbacks(callback).fit(X, y)
    assert callback.calls[-1] == "teardown"


def test_callbacks_must_have_the_protocol():
    with pytest.raises(TypeError, match="FitCallback"):
        MLPRegressor().set_callbacks(print)
    with pytest.raises(TypeError, match="FitCallback"):
        MLPRegressor().set_callbacks(Recorder)


def test_their_callbacks(capsys):
    monitors = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    X, y = classes()
    monitor = monitors.ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(**SMALL).set_callbacks(monitor, monitors.ProgressBar()).fit(X, y)
    assert repr(model.score(X, y)) in repr(monitor.get_logs().data)
    assert "MLPClassifier" in capsys.readouterr().out


def test_an_interrupted_fit_keeps_what_it_learned():
    X, y = numbers()

    class Interrupt(Recorder):
        def on_fit_task_begin(self, estimator, context):
            if context.task_id == 3:
                raise KeyboardInterrupt

    ours = MLPRegressor(**SMALL).set_callbacks(Interrupt())
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        ours.fit(X, y)
    np.testing.assert_array_equal(ours.coefs_[0], MLPRegressor(**{**SMALL, "max_iter": 3}).fit(X, y).coefs_[0])


def test_the_own_callbacks_of_older_versions_are_not_shadowed():
    """Where scikit-learn has a protocol, it is the one in use."""
    theirs = pytest.importorskip("sklearn.callback")
    assert callbacks.CallbackSupportMixin is theirs.CallbackSupportMixin
