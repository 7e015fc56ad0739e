"""scikit-learn's neural networks, trained by plans: its parameters, attributes and numbers, and some parameters more."""

try:
    import sklearn
except ModuleNotFoundError as error:
    raise ImportError("fastnn.sklearn needs scikit-learn; install it with: pip install 'fastnn[sklearn]'") from error

if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 7):
    raise ImportError(f"fastnn.sklearn needs scikit-learn 1.7 or later, found {sklearn.__version__}")

from .multilayer_perceptron import MLPClassifier, MLPRegressor
from .perceptron import Perceptron

__all__ = ["MLPClassifier", "MLPRegressor", "Perceptron"]
