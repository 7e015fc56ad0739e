"""fastnn.sklearn.Perceptron: scikit-learn's, and in mini-batches what plain NumPy does."""

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("sklearn", minversion="1.7")
from sklearn import datasets, linear_model
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastnn.sklearn import Perceptron

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def digits(classes=10):
    X, y = datasets.load_digits(n_class=classes, return_X_y=True)
    return X[:200] / 16, y[:200]


def by_hand(X, y, *, epochs, batch_size, eta0=1.0, alpha=0.0, intercept_rate=1.0, weight=None, class_weight=None, seed=0):
    """The mini-batch perceptron, one class after another."""
    names = np.unique(y)
    names = names[1:] if len(names) == 2 else names
    order, random_state = np.arange(len(X)), np.random.RandomState(seed)
    coef, intercept = np.zeros((len(names), X.shape[1])), np.zeros(len(names))
    weight = np.ones(len(X)) if weight is None else weight
    class_weight = class_weight or {}
    for _ in range(epochs):
        random_state.shuffle(order)
        for first in range(0, len(X), batch_size):
            rows = order[first : first + batch_size]
            old, z = coef.copy(), X[rows] @ coef.T + intercept
            for k, name in enumerate(names):
                side = np.where(y[rows] == name, 1.0, -1.0)
                share = np.where(side > 0, class_weight.get(name, 1.0), class_weight.get("other", 1.0))
                push = side * weight[rows] * share * (side * z[:, k] <= 0)
                coef[k] += eta0 * (push @ X[rows] - alpha * len(rows) * old[k])
                intercept[k] += eta0 * intercept_rate * push.sum()
    return coef, intercept


def assert_learned(model, expected):
    coef, intercept = expected
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "settings", [{}, {"penalty": "elasticnet"}, {"class_weight": "balanced"}, {"early_stopping": True}], ids=str
)
def test_row_by_row_it_is_theirs(settings):
    X, y = digits()
    ours, theirs = Perceptron(**settings).fit(X, y), linear_model.Perceptron(**settings).fit(X, y)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    np.testing.assert_array_equal(ours.intercept_, theirs.intercept_)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("batch_size", [7, 64, 1000])
def test_batches(classes, batch_size):
    X, y = digits(classes)
    model = Perceptron(batch_size=batch_size, max_iter=3, tol=None).fit(X, y)
    assert_learned(model, by_hand(X, y, epochs=3, batch_size=batch_size))
    assert model.n_iter_ == 3
    assert model.t_ == 1 + 3 * len(X)


def test_batches_with_penalty_and_weights(rng):
    X, y = digits(3)
    weight = rng.uniform(0.5, 2, len(X))
    model = Perceptron(
        batch_size=16, max_iter=4, tol=None, penalty="l2", alpha=1e-3, eta0=0.5, class_weight={0: 2.0, 1: 1.0, 2: 0.25}
    )
    expected = by_hand(X, y, epochs=4, batch_size=16, alpha=1e-3, eta0=0.5, weight=weight, class_weight={0: 2.0, 1: 1.0, 2: 0.25})
    assert_learned(model.fit(X, y, sample_weight=weight), expected)
    X, y = digits(2)
    model = Perceptron(batch_size=16, max_iter=4, tol=None, class_weight={0: 2.0, 1: 0.5}).fit(X, y)
    assert_learned(model, by_hand(X, y, epochs=4, batch_size=16, class_weight={"other": 2.0, 1: 0.5}))


def test_batches_without_intercept_and_in_order():
    X, y = digits(3)
    model = Perceptron(batch_size=16, max_iter=2, tol=None, fit_intercept=False).fit(X, y)
    assert_learned(model, by_hand(X, y, epochs=2, batch_size=16, intercept_rate=0.0))
    once = Perceptron(batch_size=len(X), max_iter=2, tol=None, shuffle=False).fit(X, y)
    assert_learned(once, by_hand(X, y, epochs=2, batch_size=len(X)))


def test_sparse_rows_change_the_intercept_less():
    X, y = digits(3)
    model = Perceptron(batch_size=16, max_iter=2, tol=None).fit(scipy.sparse.csr_matrix(X), y)
    assert_learned(model, by_hand(X, y, epochs=2, batch_size=16, intercept_rate=0.01))


def test_partial_fit_and_warm_start():
    X, y = digits(3)
    parts = Perceptron(batch_size=16, shuffle=False)
    for _ in range(3):
        parts.partial_fit(X, y, classes=[0, 1, 2])
    whole = Perceptron(batch_size=16, shuffle=False, max_iter=3, tol=None).fit(X, y)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-12)
    warm = Perceptron(batch_size=16, shuffle=False, max_iter=1, tol=None, warm_start=True)
    for _ in range(3):
        warm.fit(X, y)
    np.testing.assert_allclose(warm.coef_, whole.coef_, rtol=1e-12)


def test_when_it_stops(capsys):
    X, y = digits()
    model = Perceptron(batch_size=16, verbose=1).fit(X, y)
    assert model.n_iter_ < 1000
    assert f"-- Epoch {model.n_iter_}\n" in capsys.readouterr().out
    assert model.score(X, y) > 0.95
    early = clone(model).set_params(early_stopping=True, n_iter_no_change=2, verbose=0).fit(X, y)
    assert 2 < early.n_iter_ < 100
    with pytest.warns(ConvergenceWarning, match="Maximum number of iteration"):
        Perceptron(batch_size=16, max_iter=2).fit(X, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype(dtype):
    X, y = digits()
    model = Perceptron(batch_size=16, n_threads=1).fit(X.astype(dtype), y)
    assert model.coef_.dtype == model.intercept_.dtype == dtype


def test_errors():
    X, y = digits()
    with pytest.raises(ValueError, match="batch_size"):
        Perceptron(batch_size=0).fit(X, y)
    with pytest.raises(ValueError, match="batch_size"):
        Perceptron(batch_size=2, penalty="l1").fit(X, y)
    with pytest.raises(ValueError, match="n_threads"):
        Perceptron(n_threads=-1).fit(X, y)
    with pytest.raises(ValueError, match="overflow occurred at epoch"):
        Perceptron(batch_size=2).fit(X * 1e308, y)
