"""fastnn.sklearn beyond scikit-learn: precision, class weights, dropout, activations, threads, processes."""

import pickle

import numpy as np
import pytest
import scipy.sparse

import fastnn

pytest.importorskip("sklearn", minversion="1.7")
from sklearn import neural_network
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn.sklearn import MLPClassifier, MLPRegressor
from fastnn.sklearn.precision import denormals_flushed, float32_suffices, training_dtype
from fastnn.sklearn.threads import threads

from .sklearn_tasks import SMALL, Recorder, assert_same, classes, numbers, original

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_mini_batches_are_computed_in_float32():
    X, y = classes()
    ours = MLPClassifier(hidden_layer_sizes=20, random_state=0, max_iter=60, batch_size=32).fit(X, y)
    theirs = original(ours).fit(X, y)
    assert ours.coefs_[0].dtype == np.float64
    assert all((coef == coef.astype(np.float32)).all() for coef in ours.coefs_)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=0.02)


@pytest.mark.parametrize(
    "table, suffices, sparse_suffices",
    [
        ([[0.0, 1.0], [1.0, 3.0]], True, True),
        ([[5.0, 1.0], [5.0, 3.0]], True, True),  # a constant tells nothing apart
        ([[1e6, 1.0], [1e6 + 1, 3.0]], False, True),  # a sparse column has zeros
        ([[0.0], [1e20]], False, False),
        ([[0.0], [1e-20]], False, False),
        ([[0.0], [0.0]], True, True),
    ],
)
def test_data_that_need_float64_get_it(table, suffices, sparse_suffices):
    table = np.array(table)
    assert float32_suffices(table) is suffices
    assert float32_suffices(scipy.sparse.csr_matrix(table)) is sparse_suffices
    wanted = np.float32 if suffices else np.float64
    assert training_dtype("auto", table, np.zeros((2, 1), bool), 1) == wanted
    assert training_dtype("auto", np.eye(2), table, 1) == wanted
    assert training_dtype("auto", table, np.zeros((2, 1), bool), 2) == np.float64
    assert training_dtype("input", table, np.zeros((2, 1), bool), 1) == np.float64


def test_denormals_are_put_back():
    tiny = np.float32(1e-40)
    for before in (False, True):
        if not fastnn.set_flush_denormal(before):
            pytest.skip("denormals cannot be flushed here")
        with denormals_flushed(False):
            assert (tiny + np.float32(0) == 0) == before
        with denormals_flushed(True):
            assert tiny + np.float32(0) == 0
        assert (tiny + np.float32(0) == 0) == before
    fastnn.set_flush_denormal(False)


def test_class_weight():
    X, y = classes()
    weights = {"a": 1.0, "b": 5.0, "c": 0.5}
    rows = np.array([weights[name] for name in y])
    ours = MLPClassifier(**SMALL, class_weight=weights, precision="input").fit(X, y)
    assert_same(ours, original(ours).fit(X, y, sample_weight=rows))
    again = clone(ours).fit(X, y, sample_weight=np.linspace(1, 2, len(y)))
    assert_same(again, original(ours).fit(X, y, sample_weight=rows * np.linspace(1, 2, len(y))))
    few = np.r_[0:50, 50:60, 100:150]
    balanced = clone(ours).set_params(class_weight="balanced").fit(X[few], y[few])
    counts = {"a": 50, "b": 10, "c": 50}
    expected = np.array([110 / (3 * counts[name]) for name in y[few]])
    assert_same(balanced, original(ours).fit(X[few], y[few], sample_weight=expected))
    ours.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"class_weight.*partial_fit"):
        balanced.partial_fit(X, y)


def test_a_batch_without_weight_is_refused():
    X, y = numbers()
    weight = np.r_[np.zeros(32), np.ones(len(X) - 32)]
    for make in (MLPRegressor, neural_network.MLPRegressor):
        with pytest.raises(ZeroDivisionError, match="Weights sum to zero"):
            make(**SMALL, shuffle=False).fit(X, y, sample_weight=weight)


def test_lbfgs_leaves_out_rows_without_weight(monkeypatch):
    monkeypatch.setattr("fastnn.sklearn.trainer.CHUNK", 32)
    X, y = numbers()
    weight = np.r_[np.zeros(32), np.ones(len(X) - 32)]
    settings = {**SMALL, "solver": "lbfgs", "precision": "input"}
    assert_same(MLPRegressor(**settings).fit(X, y, sample_weight=weight), MLPRegressor(**settings).fit(X[32:], y[32:]), rtol=1e-7)


def test_dropout():
    X, y = classes()
    plain, silent = MLPClassifier(**SMALL), MLPClassifier(**SMALL, dropout=0.5)
    plain.fit(X, y)
    silent.fit(X, y)
    assert not np.allclose(plain.coefs_[0], silent.coefs_[0])
    again = clone(silent).fit(X, y)
    np.testing.assert_array_equal(silent.coefs_[0], again.coefs_[0])  # from random_state
    np.testing.assert_array_equal(silent.predict_proba(X), silent.predict_proba(X))  # not in prediction
    one = MLPClassifier(**SMALL, dropout=[0.0, 0.5]).fit(X, y)
    assert not np.allclose(one.coefs_[0], silent.coefs_[0])
    none = MLPClassifier(**SMALL, dropout=[0.0, 0.0]).fit(X, y)
    np.testing.assert_array_equal(none.coefs_[0], plain.coefs_[0])


def test_activation_for_each_layer():
    X, y = classes()
    same = MLPClassifier(**SMALL, activation=["tanh", "tanh"]).fit(X, y)
    np.testing.assert_array_equal(same.coefs_[0], MLPClassifier(**SMALL, activation="tanh").fit(X, y).coefs_[0])
    mixed = MLPClassifier(**SMALL, activation=("logistic", "gelu")).fit(X, y)
    bound = np.sqrt(2 / (4 + 7))  # Glorot's for the logistic layer alone
    start = np.random.RandomState(0).uniform(-bound, bound, (4, 7))
    trained = clone(mixed).set_params(learning_rate_init=1e-12, max_iter=1).fit(X, y)
    np.testing.assert_allclose(trained.coefs_[0], start, atol=1e-6)
    hidden = 1 / (1 + np.exp(-(X @ mixed.coefs_[0] + mixed.intercepts_[0]))) @ mixed.coefs_[1] + mixed.intercepts_[1]
    hidden = fastnn.functional.gelu(hidden) @ mixed.coefs_[2] + mixed.intercepts_[2]
    np.testing.assert_allclose(mixed.predict_proba(X), fastnn.functional.softmax(hidden, dim=1), rtol=1e-10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"activation": ["relu"]},
        {"activation": ["relu", "sine"]},
        {"activation": "sine"},
        {"dropout": 1.0},
        {"dropout": [0.1]},
        {"dropout": [0.1, -0.5]},
        {"dropout": 0.5, "solver": "lbfgs"},
        {"precision": "float16"},
        {"n_threads": 0},
        {"class_weight": "none"},
    ],
    ids=str,
)
def test_wrong_parameters_are_named(wrong):
    X, y = classes()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MLPClassifier(**SMALL, **wrong).fit(X, y)


def test_n_threads(two_threads, shared_work):
    X, y = classes()
    used = []

    class Watch(Recorder):
        def on_fit_task_end(self, estimator, context):
            used.append(fastnn.get_num_threads())

    one = MLPClassifier(**SMALL, n_threads=1).set_callbacks(Watch()).fit(X, y)
    assert set(used) == {1}
    assert fastnn.get_num_threads() == 2
    two = MLPClassifier(**SMALL).fit(X, y)
    np.testing.assert_array_equal(one.coefs_[0], two.coefs_[0])
    with pytest.raises(NotFittedError):
        MLPClassifier(n_threads=1).predict(X)
    assert fastnn.get_num_threads() == 2


def test_fits_side_by_side_put_the_number_of_threads_back(two_threads):
    first, second = threads(1), threads(1)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert fastnn.get_num_threads() == 1
    second.__exit__(None, None, None)
    assert fastnn.get_num_threads() == 2


@pytest.mark.parametrize("fitted", [False, True])
def test_pickles_hold_no_plan(fitted):
    X, y = classes()
    model = MLPClassifier(**SMALL)
    if fitted:
        model.partial_fit(X, y, classes=np.unique(y))
    twin = pickle.loads(pickle.dumps(model))
    assert twin.get_params() == model.get_params()
    if fitted:
        assert hasattr(model, "_trainer")
        assert not hasattr(twin, "_trainer")
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_search_in_processes_and_threads(backend):
    joblib = pytest.importorskip("joblib")
    X, y = classes()
    model = make_pipeline(StandardScaler(), MLPClassifier(8, learning_rate_init=0.05, max_iter=20, random_state=0, n_threads=1))
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__dropout": [0.0, 0.2]}
    alone = GridSearchCV(model, grid, cv=3).fit(X, y)
    with joblib.parallel_backend(backend, n_jobs=2):
        together = GridSearchCV(model, grid, cv=3).fit(X, y)
        scores = cross_val_score(model, X, y, cv=3)
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(alone.best_estimator_.predict(X), together.best_estimator_.predict(X))
    assert scores.min() > 0.5
