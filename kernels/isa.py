"""Which build of the Cython kernels this processor runs, and what is compiled once for all.

The kernels are compiled once for each x86-64 level (v2: SSE4.2, v3: AVX2 and FMA, v4: AVX-512), elsewhere once for the
compiler's baseline. The best level that is both built and supported is chosen at import; ``FASTNN_ISA`` forces one.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

LEVELS = ("v2", "v3", "v4")  # of x86-64, ascending
BASELINE = "baseline"  # every other processor
NONE = "none"  # no compiled kernel is used


def helpers(*names: str) -> list[Any]:
    """The compiled modules of those names that serve every level; None for each where one of them is not installed.

    Examples
    --------
    >>> from fastnn.kernels import isa
    >>> isa.helpers("absent")
    [None]
    """
    paths = [f"{__package__}.{name}" for name in names]
    try:
        return [importlib.import_module(path) for path in paths]
    except ModuleNotFoundError as error:  # one that is there but broken raises
        if error.name not in paths:
            raise
        return [None] * len(names)


@cache
def built() -> tuple[str, ...]:
    """Levels that the installed extensions were built for, ascending."""
    here = Path(__file__).parent
    found = {
        file.name.removeprefix("cython_kernels_").split(".")[0]
        for suffix in EXTENSION_SUFFIXES
        for file in here.glob(f"*/cython_kernels_*{suffix}")
    }
    return tuple(level for level in (BASELINE, *LEVELS) if level in found)


@cache
def supported() -> tuple[str, ...]:
    """Levels that this processor and operating system can run, ascending."""
    (processor,) = helpers("processor")
    if processor is None:
        return ()
    return (BASELINE, *LEVELS[: max(processor.x86_64_level() - 1, 0)])


@cache
def level() -> str:
    """The level in use: "v2", "v3", "v4", "baseline", or "none" where no compiled kernel is installed.

    Raises
    ------
    ValueError
        Where ``FASTNN_ISA`` names a level that does not exist, was not built, or that the processor lacks.
    """
    forced = os.environ.get("FASTNN_ISA", "").strip().lower().removeprefix("x86-64-")
    if not forced:
        usable = [name for name in built() if name in supported()]
        return usable[-1] if usable else NONE
    if forced not in (*LEVELS, BASELINE):
        names = ", ".join((*LEVELS, BASELINE))
        raise ValueError(f"FASTNN_ISA={forced!r} is no ISA level; expected one of {names}")
    if forced not in built():
        names = ", ".join(built()) or NONE
        raise ValueError(f"FASTNN_ISA={forced!r} was not built; levels in this installation: {names}")
    if forced not in supported():
        raise ValueError(f"FASTNN_ISA={forced!r}: this processor lacks the level; it supports {', '.join(supported())}")
    return forced
