"""scikit-learn's own suites: the checks of estimators beside the originals, and its tests of multi-layer perceptrons with ours."""

import collections
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("sklearn", minversion="1.7")
from sklearn import linear_model, neural_network
from sklearn.utils.estimator_checks import check_estimator

import fastnn.sklearn

PAIRS = {
    "MLPClassifier": (fastnn.sklearn.MLPClassifier(), neural_network.MLPClassifier()),
    "MLPRegressor": (fastnn.sklearn.MLPRegressor(), neural_network.MLPRegressor()),
    "Perceptron": (fastnn.sklearn.Perceptron(), linear_model.Perceptron()),
    "Perceptron in batches": (fastnn.sklearn.Perceptron(batch_size=8), linear_model.Perceptron()),
}
# Tests of what no user calls, with the reason that they are left out.
PRIVATE = {
    "test_gradient": "calls _loss_grad_lbfgs, scikit-learn's gradient in NumPy, which nothing here uses; the numbers of "
    "test_sklearn.py::test_the_numbers_are_theirs hold ours to it",
}
SWAP = """
import sys
import pytest
import fastnn.sklearn
from sklearn import neural_network
from sklearn.neural_network.tests import test_mlp

OURS = {getattr(neural_network, name): getattr(fastnn.sklearn, name) for name in ("MLPClassifier", "MLPRegressor")}


class Swap:
    def pytest_collection_modifyitems(self, config, items):
        for name in ("MLPClassifier", "MLPRegressor"):
            setattr(items[0].module, name, getattr(fastnn.sklearn, name))
        for item in items:
            given = getattr(item, "callspec", None)
            for name, value in given.params.items() if given else ():
                given.params[name] = OURS.get(value, value) if isinstance(value, type) else value
        config.hook.pytest_deselected(items=[item for item in items if item.name in PRIVATE])
        items[:] = [item for item in items if item.name not in PRIVATE]


arguments = ["-q", "-c", "/dev/null", "-p", "no:cacheprovider", "--import-mode=importlib", test_mlp.__file__]
sys.exit(pytest.main(arguments, plugins=[Swap()]))
"""


def outcomes(estimator):
    """The outcome of each check, by its name; a check may come more than once."""
    found = collections.defaultdict(list)
    for result in check_estimator(estimator, on_fail=None, on_skip=None):
        found[result["check_name"]].append(result["status"])
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PAIRS)
def test_checks_of_estimators_come_out_as_for_the_original(name):
    ours, theirs = map(outcomes, PAIRS[name])
    for check, statuses in theirs.items():
        assert ours[check] == statuses, check
    more = {check: statuses for check, statuses in ours.items() if check not in theirs}
    assert all(status in ("passed", "skipped") for statuses in more.values() for status in statuses), more


def test_their_tests_of_perceptrons_pass(tmp_path):
    """scikit-learn's test module, with our classes in the place of its own."""
    code = f"PRIVATE = {set(PRIVATE)!r}\n{SWAP}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 50
    assert f"{len(PRIVATE)} deselected" in done.stdout
