"""What every Numba kernel is compiled with, and where its machine code is kept.

A kernel module imports ``kernel`` and ``reassociating_kernel``; the functions dispatch finds by name are jitted themselves, or plain
Python functions that call jitted ones (so that an output which nobody wants is a branch in Python, not another compilation).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import config, njit


@cache
def _cache_folder() -> str:
    """A folder named by the hash of everything that the machine code depends on.

    Numba notices a change only in the file of the kernel itself, not in one that it calls: so all sources are hashed.
    """
    state = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for file in sorted(Path(__file__).parent.glob("**/*numba*.py")):
        state.update(file.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR")
    if not base:
        base = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastnn" / "numba")
    return str(Path(base) / state.hexdigest()[:16])


def _compile(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    previous = config.CACHE_DIR
    try:
        config.CACHE_DIR = _cache_folder()
        return njit(nogil=True, cache=True, error_model="numpy", fastmath=fastmath)(function)
    except (OSError, RuntimeError):  # no folder that can be written to: compile in every process
        return njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    finally:
        config.CACHE_DIR = previous


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with contraction (fused multiply-add) alone: NaN, infinity and the order of sums stay as written."""
    return _compile(function, {"contract"})


def reassociating_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with reassociation as well, so that a sum vectorises. The order is still fixed for a given processor."""
    return _compile(function, {"contract", "reassoc", "nsz"})
