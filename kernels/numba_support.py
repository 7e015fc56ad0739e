"""What every Numba kernel is compiled with, and where its machine code is kept.

A kernel module imports ``kernel`` and ``reassociating_kernel``; the functions dispatch finds by name are jitted themselves, or plain
Python functions that call jitted ones (so that an output which nobody wants is a branch in Python, not another compilation).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba import cfunc, config, njit, types
from numba.extending import intrinsic

from . import isa

_LEVEL_BYTES = {"v2": 16, "v3": 32, "v4": 64}


def _vector_bytes() -> int:
    """The width of a vector register: that of the level in use, or of what Numba compiles for."""
    if isa.level() in _LEVEL_BYTES:
        return _LEVEL_BYTES[isa.level()]
    features = config.CPU_FEATURES if config.CPU_FEATURES is not None else binding.get_host_cpu_features().flatten()
    names = features.split(",")
    return 64 if "+avx512f" in names else 32 if "+avx" in names else 16


VECTOR_BYTES = _vector_bytes()


@cache
def cache_folder() -> str:
    """A folder named by the hash of everything that the machine code depends on.

    Numba notices a change only in the file of the kernel itself, not in one that it calls: so all sources are hashed.
    """
    state = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {VECTOR_BYTES}".encode())
    for file in sorted(Path(__file__).parent.glob("**/*numba*.py")):
        state.update(file.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR")
    if not base:
        base = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastnn" / "numba")
    return str(Path(base) / state.hexdigest()[:16])


def _kept(make: Callable[..., Any], function: Callable[..., Any]) -> Any:
    """``make(cache=...)(function)``, its machine code kept where there is a folder that can be written to."""
    previous = config.CACHE_DIR
    try:
        config.CACHE_DIR = cache_folder()
        return make(cache=True)(function)
    except (OSError, RuntimeError):  # compile in every process
        return make(cache=False)(function)
    finally:
        config.CACHE_DIR = previous


def _compile(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    return _kept(partial(njit, nogil=True, error_model="numpy", fastmath=fastmath), function)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with contraction (fused multiply-add) alone: NaN, infinity and the order of sums stay as written."""
    return _compile(function, {"contract"})


def reassociating_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with reassociation as well, so that a sum vectorises. The order is still fixed for a given processor."""
    return _compile(function, {"contract", "reassoc", "nsz"})


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only kernels call: nothing to call it from Python is made, and it is kept as a part of them."""
    return njit(nogil=True, error_model="numpy", fastmath={"contract"}, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def entry(function: Callable[..., Any]) -> Any:
    """Compile as what a plan's executor calls, an ``Entry`` of ``entry.pxd``; its ``address`` says where it is."""
    return _kept(partial(cfunc, types.intc(types.voidptr), error_model="numpy"), function)


@intrinsic
def pointer(typingctx, address):
    """The address in an int64, as a pointer that ``numba.carray`` takes."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen
