"""Training: ``fit``, its callbacks, and what it is made of."""

from .callbacks import Callback, EarlyStopping, History, LearningRateSchedule, Run, WeightAverage
from .compiled import TrainingPlan, compile
from .loop import fit
from .parallel import DataParallel
from .steps import accuracy, evaluate, predict, train_step

__all__ = [
    "Callback", "DataParallel", "EarlyStopping", "History", "LearningRateSchedule", "Run", "TrainingPlan", "WeightAverage", "accuracy",
    "compile", "evaluate", "fit", "predict", "train_step",
]  # fmt: skip
