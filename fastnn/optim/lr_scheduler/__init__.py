"""Learning-rate schedules, with the names, arguments and trajectories of ``torch.optim.lr_scheduler``.

Schedules change ``optimizer.param_groups[i]["lr"]`` from its present value, so that several can act on one optimiser.
"""

from .decay import CosineAnnealingLR, ExponentialLR, LambdaLR, MultiStepLR, StepLR
from .one_cycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .scheduler import LRScheduler

__all__ = [
    "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "MultiStepLR", "OneCycleLR", "ReduceLROnPlateau", "StepLR",
]  # fmt: skip
