"""What this installation is made of."""

from __future__ import annotations

import sys
from typing import TextIO

import numpy as np

from fastnn import dispatch, threads
from fastnn.kernels import isa

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
