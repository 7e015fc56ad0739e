"""Tensor, the tape, users' own operators, and derivatives of functions of plain arrays."""

from .derivatives import grad, gradcheck, jacobian, vjp
from .function import Function
from .tape import enable_grad, no_grad
from .tensor import Tensor, generation, note_change, tensor

__all__ = [
    "Function", "Tensor", "enable_grad", "generation", "grad", "gradcheck", "jacobian", "no_grad", "note_change", "tensor",
    "vjp",
]  # fmt: skip
