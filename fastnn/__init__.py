"""fastnn: compute kernels for neural networks on the CPU.

``fastnn.functional`` computes on arrays and Tensors, ``fastnn.nn`` and ``fastnn.optim`` build and train networks, ``fastnn.vjp`` gives
gradients to projects with an autograd of their own.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

try:
    from . import dispatch  # reads FASTNN_BACKEND

    dispatch.is_available("cython")  # reads FASTNN_ISA
except ValueError as error:
    # The command says in one line what is wrong, also where that stops the import; a program gets the exception.
    if PurePath(sys.argv[0]).stem != "fastnn" and not (sys.argv[0] == "-m" and "fastnn.cli" in sys.orig_argv):
        raise
    print(f"fastnn: {error}", file=sys.stderr)
    raise SystemExit(2) from None

from . import functional, random
from .autograd import Function, Tensor, enable_grad, gradcheck, jacobian, no_grad, tensor, vjp
from .config import set_convolution_precision, show_config
from .dispatch import use_backend
from .functional import cat, exp, log, matmul, maximum, minimum, stack, where
from .random import manual_seed
from .threads import get_num_threads, set_flush_denormal, set_num_threads

if TYPE_CHECKING:
    from . import init, io, nn, optim
    from .custom import operator
    from .io import load, save
    from .measure import profile, scaling
    from .training import compile, fit

__all__ = [
    "Function", "Tensor", "cat", "compile", "enable_grad", "exp", "fit", "functional", "get_num_threads", "gradcheck", "init", "io",
    "jacobian", "load", "log", "manual_seed", "matmul", "maximum", "minimum", "nn", "no_grad", "operator", "optim", "profile", "random",
    "save", "scaling", "set_convolution_precision", "set_flush_denormal", "set_num_threads", "show_config", "stack", "tensor",
    "use_backend", "vjp", "where",
]  # fmt: skip


# Imported when they are asked for: half of what an import costs, and a project that takes only the kernels needs none of it.
_LAZY = {
    "compile": "training", "fit": "training", "load": "io", "operator": "custom", "profile": "measure", "save": "io",
    "scaling": "measure",
    "init": None, "io": None, "nn": None, "optim": None,
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("fastnn")
    if name not in _LAZY:
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
    module = _LAZY[name]
    if module is None:
        return importlib.import_module(f"fastnn.{name}")
    return getattr(importlib.import_module(f"fastnn.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def _tell_what_is_missing() -> None:
    """Say once, at import, that no compiled kernel is installed and what is used instead."""
    from .dispatch import is_available

    if not is_available("cython"):
        import warnings

        instead = "Numba" if is_available("numba") else "the NumPy reference, which is slow"
        warnings.warn(f"fastnn was installed without compiled kernels; it uses {instead}", RuntimeWarning, stacklevel=3)


_tell_what_is_missing()
