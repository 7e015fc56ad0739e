"""Measuring: what each layer costs, whether each kernel agrees with the reference, and which of several functions is faster."""

from .costs import LayerCost, StepCost, layer_costs
from .roofline import Roofline, machine_roofline
from .scaling_result import Scaling
from .scaling_study import scaling
from .timing import Race, Ratio, Timing, interleaved, paired_ratio, pinned, summarize
from .verification import KernelCheck, verify

__all__ = [
    "KernelCheck", "LayerCost", "Race", "Ratio", "Roofline", "Scaling", "StepCost", "Timing", "interleaved", "layer_costs",
    "machine_roofline", "paired_ratio", "pinned", "scaling", "summarize", "verify",
]  # fmt: skip
