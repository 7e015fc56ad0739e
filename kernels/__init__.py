"""Compute kernels: operators declared as data, with a plain NumPy reference, Cython and Numba implementations.

This package knows arrays and numbers, never layers, and imports nothing else of fastnn.
"""

from .operator import BACKENDS, Cost, Draw, Operator, families, find, operators

__all__ = ["BACKENDS", "Cost", "Draw", "Operator", "families", "find", "operators"]
