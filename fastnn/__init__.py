"""fastnn: compute kernels for neural networks on the CPU.

``fastnn.functional`` computes on arrays and Tensors, ``fastnn.nn`` and ``fastnn.optim`` build and train networks, ``fastnn.vjp`` gives
gradients to projects with an autograd of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import functional, init, io, nn, optim, random
from .autograd import Function, Tensor, enable_grad, gradcheck, jacobian, no_grad, tensor, vjp
from .config import show_config
from .dispatch import use_backend
from .functional import cat, exp, log, matmul, maximum, minimum, stack, where
from .io import load, save
from .random import manual_seed
from .threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from .training import fit

__all__ = [
    "Function", "Tensor", "cat", "enable_grad", "exp", "fit", "functional", "get_num_threads", "gradcheck", "init", "io", "jacobian",
    "load", "log", "manual_seed", "matmul", "maximum", "minimum", "nn", "no_grad", "optim", "random", "save", "set_num_threads",
    "show_config", "stack", "tensor", "use_backend", "vjp", "where",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """What few programs need is imported when it is asked for."""
    if name == "fit":
        from .training import fit

        return fit
    if name == "__version__":
        from importlib.metadata import version

        return version("fastnn")
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")


def _tell_what_is_missing() -> None:
    """Say once, at import, that no compiled kernel is installed and what is used instead."""
    from .dispatch import is_available

    if not is_available("cython"):
        import warnings

        instead = "Numba" if is_available("numba") else "the NumPy reference, which is slow"
        warnings.warn(f"fastnn was installed without compiled kernels; it uses {instead}", RuntimeWarning, stacklevel=3)


_tell_what_is_missing()
