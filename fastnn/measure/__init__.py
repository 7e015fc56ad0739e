"""Measuring: what each layer costs, and whether each kernel agrees with the reference."""

from .costs import LayerCost, StepCost, layer_costs
from .verification import KernelCheck, verify

__all__ = ["KernelCheck", "LayerCost", "StepCost", "layer_costs", "verify"]
