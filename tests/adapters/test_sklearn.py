"""fastnn.sklearn: scikit-learn's numbers, and what goes beyond them."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse

import fastnn

pytest.importorskip("sklearn", minversion="1.7")
from sklearn import datasets, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn.sklearn import MLPClassifier, MLPRegressor, callbacks
from fastnn.sklearn.estimator import threads
from fastnn.sklearn.precision import denormals_flushed, float32_suffices, training_dtype

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

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


TASKS = {
    "classes": (MLPClassifier, {}, classes),
    "binary": (MLPClassifier, {}, binary),
    "labels": (MLPClassifier, {}, labels),
    "numbers": (MLPRegressor, {}, numbers),
    "outputs": (MLPRegressor, {}, lambda: numbers(3)),
    "counts": (MLPRegressor, {"loss": "poisson"}, counts),
}
SOLVERS = {
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "lbfgs": {"solver": "lbfgs"},
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


# precision


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


# beyond scikit-learn


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


# callbacks


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


# what happens around a fit


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


def test_the_own_callbacks_of_older_versions_are_not_shadowed():
    """Where scikit-learn has a protocol, it is the one in use."""
    theirs = pytest.importorskip("sklearn.callback")
    assert callbacks.CallbackSupportMixin is theirs.CallbackSupportMixin
