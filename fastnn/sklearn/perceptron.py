"""``Perceptron``."""

from sklearn.linear_model import Perceptron

__all__ = ["Perceptron"]
