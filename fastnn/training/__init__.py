"""Training: ``fit``, its callbacks, and what it is made of."""

from .callbacks import Callback, EarlyStopping, History, LearningRateSchedule, Run, WeightAverage
from .loop import fit
from .steps import accuracy, evaluate, predict, train_step

__all__ = [
    "Callback", "EarlyStopping", "History", "LearningRateSchedule", "Run", "WeightAverage", "accuracy", "evaluate", "fit",
    "predict", "train_step",
]  # fmt: skip
