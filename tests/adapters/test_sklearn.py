"""fastnn.sklearn: scikit-learn's numbers, output and warnings."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("sklearn", minversion="1.7")
from sklearn import datasets, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastnn.sklearn import MLPClassifier, MLPRegressor

from .sklearn_tasks import SMALL, SOLVERS, assert_same, binary, classes, counts, labels, numbers, original

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TASKS = {
    "classes": (MLPClassifier, {}, classes),
    "binary": (MLPClassifier, {}, binary),
    "labels": (MLPClassifier, {}, labels),
    "numbers": (MLPRegressor, {}, numbers),
    "outputs": (MLPRegressor, {}, lambda: numbers(3)),
    "counts": (MLPRegressor, {"loss": "poisson"}, counts),
}
VARIANTS = {
    "plain momentum": {"nesterovs_momentum": False},
    "no momentum": {"momentum": 0.0},
    "inverse scaling": {"learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {"learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1, "max_iter": 14},
    "in order": {"shuffle": False},
    "no penalty": {"alpha": 0.0},
    "strong penalty": {"alpha": 3.0},
    "logistic": {"activation": "logistic"},
    "tanh": {"activation": "tanh"},
    "identity": {"activation": "identity"},
    "early stopping": {"early_stopping": True, "max_iter": 20, "n_iter_no_change": 3},
    "stops": {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 100},
    "one number of units": {"hidden_layer_sizes": 6},
    "units in an array": {"hidden_layer_sizes": np.array([6, 4])},
    "no hidden layer": {"hidden_layer_sizes": ()},
}


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", TASKS)
def test_the_numbers_are_theirs(task, solver, weighted, rng):
    make, settings, data = TASKS[task]
    X, y = data()
    weight = rng.uniform(0.1, 2.0, len(X)) if weighted else None
    ours = make(**SMALL, **settings, **SOLVERS[solver], precision="input")
    theirs = original(ours).fit(X, y, sample_weight=weight)
    ours.fit(X, y, sample_weight=weight)
    assert_same(ours, theirs)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=1e-9)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_numbers_are_theirs_with(variant, solver):
    X, y = datasets.load_iris(return_X_y=True)
    ours = MLPClassifier(**{**SMALL, **SOLVERS[solver], **VARIANTS[variant], "precision": "input"})
    assert_same(ours.fit(X, y), original(ours).fit(X, y))


@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")
@pytest.mark.parametrize("make, data", [(MLPClassifier, classes), (MLPRegressor, lambda: numbers(2))], ids=["classes", "numbers"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_goes_on_where_it_was(make, data, solver):
    """Over batches of changing sizes, weights, copies and pickles."""
    X, y = data()
    ours = make(**SMALL, **SOLVERS[solver], learning_rate="invscaling", precision="input")
    theirs = original(ours)
    first = {"classes": np.unique(y)} if make is MLPClassifier else {}
    for count, weight in ((100, None), (100, None), (70, None), (100, np.linspace(0.1, 1, 100)), (5, None)):
        ours.partial_fit(X[:count], y[:count], sample_weight=weight, **first)
        theirs.partial_fit(X[:count], y[:count], sample_weight=weight, **first)
        assert_same(ours, theirs)
        first = {}
    twins = [ours, pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)]
    theirs.partial_fit(X, y)
    for twin in twins:
        assert_same(twin.partial_fit(X, y), theirs)


def test_partial_fit_takes_weights_that_were_put_in():
    X, y = numbers()
    ours = MLPRegressor(**SMALL, precision="input").partial_fit(X, y)
    theirs = original(ours).partial_fit(X, y)
    for model in (ours, theirs):
        model.coefs_ = [np.full_like(coef, 0.1) for coef in model.coefs_]
        model.partial_fit(X, y)
    assert_same(ours, theirs)


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start(solver):
    X, y = classes()
    ours = MLPClassifier(**SMALL, **SOLVERS[solver], warm_start=True, precision="input")
    theirs = original(ours)
    for _ in range(2):
        ours.fit(X, y)
        theirs.fit(X, y)
    assert_same(ours, theirs)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("form", [scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, scipy.sparse.csr_array])
def test_sparse_rows_are_rows(solver, form):
    X, y = classes()
    X = X * (X > 1)
    dense = MLPClassifier(**SMALL, **SOLVERS[solver], precision="input").fit(X, y)
    sparse = clone(dense).fit(form(X), y)
    assert_same(sparse, dense)
    np.testing.assert_allclose(sparse.predict_proba(form(X)), dense.predict_proba(X), rtol=1e-12)


def test_prediction_in_pieces(rng):
    X, y = numbers(2)
    model = MLPRegressor(**SMALL).fit(X, y)
    many = rng.standard_normal((2500, X.shape[1]))
    np.testing.assert_allclose(
        model.predict(many), np.vstack([model.predict(part) for part in np.array_split(many, 7)]), rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_dtypes_of_what_is_learned_and_predicted(dtype):
    X, y = numbers(2)
    X = (10 * X).astype(dtype)
    ours = MLPRegressor(**SMALL).fit(X, y)
    theirs = original(ours).fit(X, y)
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert a.dtype == b.dtype
    assert ours.predict(X).dtype == theirs.predict(X).dtype
    for given in (np.float16, np.float32, bool):
        assert ours.predict(X.astype(given)).dtype == theirs.predict(X.astype(given)).dtype
    np.testing.assert_array_equal(ours.predict(X.astype(np.longdouble)), ours.predict(X.astype(np.float64)))


def test_verbose(capsys):
    X, y = classes()
    ours = MLPClassifier(**{**SMALL, "tol": 10.0, "n_iter_no_change": 2}, verbose=True, precision="input").fit(X, y)
    said = capsys.readouterr().out
    original(ours).fit(X, y)
    assert capsys.readouterr().out == said
    assert "Iteration 3, loss = " in said


def test_warnings_are_theirs():
    X, y = classes()
    for make in (MLPClassifier, neural_network.MLPClassifier):
        with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
            make(max_iter=2).fit(X, y)
        with pytest.warns(UserWarning, match="Got `batch_size` less than 1 or larger than sample size"):
            make(max_iter=2, batch_size=1000).fit(X, y)
