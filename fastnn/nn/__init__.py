"""Layers and losses, with the names, arguments, parameter names and shapes of ``torch.nn``."""

from . import utils
from .containers import ModuleList, Sequential
from .dropout import Dropout
from .flatten import Flatten
from .linear import Linear
from .module import Module, Parameter

__all__ = ["Dropout", "Flatten", "Linear", "Module", "ModuleList", "Parameter", "Sequential", "utils"]
