"""fastnn.sklearn.MLPClassifier against scikit-learn's, at default settings: python -m benchmarks.sklearn_estimators

Both fit the same rows from the same seeds in turn, on one thread, and are judged by the accuracy on rows that they did not see. The ratio
is of the times of fits side by side. "same precision" is ``precision="input"``, which computes scikit-learn's numbers in the dtype of the
data; the default trains float64 data in float32.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from sklearn import datasets, neural_network
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastnn
from fastnn.data import read_idx
from fastnn.measure import paired_ratio, pinned
from fastnn.sklearn import MLPClassifier

Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # rows to fit, rows to test, and the classes of each
GOALS = {"digits": 8, "breast-cancer": 8, "mnist-10k": 2}
MAKERS: dict[str, Callable[..., Any]] = {
    "scikit-learn": neural_network.MLPClassifier,
    "fastnn": MLPClassifier,
    "same precision": lambda **options: MLPClassifier(precision="input", **options),
}


def load(name: str, mnist: Path | None) -> Parts:
    """A data set in float64, a quarter of it held out."""
    if name == "digits":
        X, y = datasets.load_digits(return_X_y=True)
        return tuple(train_test_split(X, y, random_state=0, stratify=y))
    if name == "breast-cancer":
        X, y = datasets.load_breast_cancer(return_X_y=True)
        X, X_test, y, y_test = train_test_split(X, y, random_state=0, stratify=y)
        scaler = StandardScaler().fit(X)
        return scaler.transform(X), scaler.transform(X_test), y, y_test
    if mnist is None:
        X, y = datasets.fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, parser="auto")
    else:
        files = [next(mnist.glob(f"train-{what}*")) for what in ("images", "labels")]
        X, y = read_idx(files[0]).reshape(-1, 784), read_idx(files[1])
    return X[:10000] / 255, X[10000:20000] / 255, y[:10000], y[10000:20000]


def measure(parts: Parts, names: list[str], seeds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds, accuracies and iterations of each estimator, for one seed after another."""
    X, X_test, y, y_test = parts
    found: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "accuracy": [], "iterations": []} for name in names}
    for name in names:  # whatever the first fit of a process has to do
        MAKERS[name](max_iter=1).fit(X, y)
    for seed in range(seeds):
        for name in names if seed % 2 else reversed(names):
            model = MAKERS[name](random_state=seed)
            start = perf_counter()
            model.fit(X, y)
            found[name]["seconds"].append(perf_counter() - start)
            found[name]["accuracy"].append(model.score(X_test, y_test))
            found[name]["iterations"].append(model.n_iter_)
    return found


def main(argv: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sklearn_estimators", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", nargs="*", choices=GOALS, default=list(GOALS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--mnist", type=Path, metavar="FOLDER", help="with MNIST's files; without it they are fetched from openml.org"
    )
    parser.add_argument("--same-precision", action="store_true", help="measure precision='input' too")
    options = parser.parse_args(argv)
    names = [name for name in MAKERS if options.same_precision or name != "same precision"]
    fastnn.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| data | rows | estimator | seconds | ratio | goal | iterations | accuracy |\n|---|---|---|---|---|---|---|---|")
    for data in options.data:
        parts = load(data, options.mnist)
        with pinned(1), threadpool_limits(1):
            found = measure(parts, names, options.seeds)
        for name in names:
            seconds, accuracy = found[name]["seconds"], np.array(found[name]["accuracy"])
            ratio = paired_ratio(found["scikit-learn"]["seconds"], seconds, quantile=0.5)  # seeds differ in epochs
            print(
                f"| {data} | {len(parts[0])} | {name} | {np.median(seconds):.3f} | {ratio.value:.2f} ({ratio.low:.2f} to "
                f"{ratio.high:.2f}) | {GOALS[data]} | {np.mean(found[name]['iterations']):.0f} | {accuracy.mean():.4f} ± "
                f"{accuracy.std():.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
