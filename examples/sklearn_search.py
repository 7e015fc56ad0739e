"""A search for hyper-parameters with scikit-learn: grid and random search over a network in a pipeline, on all processors by joblib."""

import joblib
import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn.sklearn import MLPClassifier


def pipeline() -> object:
    """One thread for each network: the search runs several networks at once."""
    return make_pipeline(StandardScaler(), MLPClassifier(max_iter=30, random_state=0, n_threads=1))


def grid() -> GridSearchCV:
    """Every combination."""
    return GridSearchCV(
        pipeline(),
        {"mlpclassifier__hidden_layer_sizes": [(32,), (64, 32)], "mlpclassifier__dropout": [0.0, 0.2]},
        cv=3,
    )


def random() -> RandomizedSearchCV:
    """Draws from distributions; activations may differ from layer to layer."""
    return RandomizedSearchCV(
        pipeline().set_params(mlpclassifier__hidden_layer_sizes=(64, 32)),
        {
            "mlpclassifier__learning_rate_init": loguniform(1e-3, 3e-2),
            "mlpclassifier__alpha": loguniform(1e-5, 1e-1),
            "mlpclassifier__activation": ["relu", "tanh", ("relu", "tanh")],
        },
        n_iter=6,
        cv=3,
        random_state=0,
    )


def main(backend: str = "loky", n_jobs: int = -1) -> dict[str, float]:
    """Print what each search found, and its accuracy on digits that it did not see.

    ``backend`` is joblib's: "loky" starts processes, "threading" threads. With ``dask.distributed.Client()`` it may be "dask", after
    ``ray.util.joblib.register_ray()`` it may be "ray", and the work goes to their machines.
    """
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
    scores = {}
    for name, search in (("grid", grid()), ("random", random())):
        with joblib.parallel_config(backend, n_jobs=n_jobs):
            search.fit(X, y)
        scores[name] = float(np.mean(search.predict(X_test) == y_test))
        found = {key.removeprefix("mlpclassifier__"): value for key, value in search.best_params_.items()}
        print(f"{name}: {len(search.cv_results_['params'])} settings, best {found}, accuracy {scores[name]:.3f}")
    return scores


if __name__ == "__main__":
    main()
