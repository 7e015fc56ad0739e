"""Tensor, the tape, users' own operators, and derivatives of functions of plain arrays."""

from .derivatives import gradcheck, jacobian, vjp
from .function import Function
from .tape import enable_grad, no_grad
from .tensor import Tensor, tensor

__all__ = ["Function", "Tensor", "enable_grad", "gradcheck", "jacobian", "no_grad", "tensor", "vjp"]
