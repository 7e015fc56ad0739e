"""What this installation is made of."""

from __future__ import annotations

import importlib
import sys
from typing import TextIO

import numpy as np

from fastnn import dispatch, threads
from fastnn.kernels import isa

from .functional import checks

OPTIONAL = ("numba", "rich", "matplotlib", "safetensors", "scikit-learn", "threadpoolctl")


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and wanted by few

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def config() -> dict[str, str]:
    """Names and values of everything that ``show_config`` prints."""
    level = isa.level()
    openmp = threads.parallel is not None and threads.parallel.has_openmp()
    backends = [name for name in ("cython", "numba", "reference") if dispatch.is_available(name)]
    return {
        "fastnn": _version("fastnn") or "not installed as a package",
        "Python": sys.version.split()[0],
        "NumPy": np.__version__,
        "ISA level": f"{level} (built: {', '.join(isa.built()) or isa.NONE}; processor: {', '.join(isa.supported()) or 'not asked'})",
        "backends": ", ".join(backends),
        "threads": f"{threads.get_num_threads()} ({'OpenMP' if openmp else 'serial kernels'})",
        **{package: _version(package) or "not installed" for package in OPTIONAL},
    }


def show_config(file: TextIO | None = None) -> None:
    """Print version, ISA level, backends, threads, and which optional packages are there.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.show_config()  # doctest: +ELLIPSIS
    fastnn ...
    """
    for name, value in config().items():
        print(f"{name:<14}{value}", file=file or sys.stdout)


def set_convolution_precision(precision: str) -> None:
    """Say how accurate the compiled 3x3 convolutions have to be, in the whole process, from the next call on.

    Parameters
    ----------
    precision : "default" or "fast"
        "default": float32 results lie within ``16 eps sum |x||w|`` of the exact value (with 64 channels or more that of the largest
        sum among four neighbouring outputs). "fast": Winograd's F(4x4,3x3) where it saves time; results are then off by about 1e-5 of
        the largest output, more where the inputs differ much in size.

    Raises
    ------
    ValueError
        For any other value.

    Notes
    -----
    Gradients with respect to weights are exact to the bound in both. A tile that meets NaN or infinity is always computed directly.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.set_convolution_precision("fast")
    >>> fastnn.set_convolution_precision("default")
    """
    fast = checks.choice("precision", precision, ("default", "fast")) == "fast"
    if dispatch.is_available("cython"):
        importlib.import_module(f"fastnn.kernels.convolution.cython_kernels_{isa.level()}").set_fast(fast)
