"""Entries: loops that Numba compiled as C functions, which the executor of a plan calls without Python."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from fastnn.kernels import Operator, isa

from .generated import generated_module

MOST_ARGUMENTS = 24  # of a compiled kernel


class GeneratedOperator(Operator):
    """An operator whose loops are generated, and which may have an entry for the arguments of one call."""

    def entry(self, inputs: Sequence[np.ndarray | None], attributes: Sequence[Any]) -> Callable[..., Any] | None:
        """A kernel of these arrays' dtype for calls with arrays of these shapes and attributes of these types; None without one."""
        return None


@functools.cache
def entry_kernel(
    module: ModuleType, name: str, kinds: tuple[str, ...], calls: tuple[tuple[str, tuple[int, ...]], ...], dtype: str
) -> Callable[..., Any] | None:
    """A kernel that the executor enters with plain C arguments; None where nothing is compiled.

    Parameters
    ----------
    module : ModuleType
        A generated one.
    name : str
        Of the operator.
    kinds : tuple of "array" or "float"
        Of each argument.
    calls : tuple of (str, tuple of int)
        The module's functions to be called, one after the other, and which arguments each gets; arrays as one line of elements. One that
        is absent has no elements.
    dtype : str
    """
    if len(kinds) > MOST_ARGUMENTS:
        return None
    (compiled,) = isa.helpers("entry")
    if compiled is None:
        return None
    lines = [
        "import numpy as np", "from numba import carray", "from fastnn.kernels.numba_support import entry, pointer",
        f"from {module.__name__} import {', '.join(dict.fromkeys(function for function, _ in calls))}",
        "@entry", "def run_entry(arguments):",
        f"    words, numbers = carray(arguments, {8 * len(kinds)}, np.int64), carray(arguments, {8 * len(kinds)}, np.float64)",
    ]  # fmt: skip
    for number, kind in enumerate(kinds):  # each argument is a structure of eight words: entry.pxd
        word = 8 * number
        array = f"carray(pointer(words[{word}]), words[{word + 2}], np.{dtype})"
        lines.append(f"    a{number} = {array if kind == 'array' else f'numbers[{word + 4}]'}")
    lines += [f"    {function}({', '.join(f'a{number}' for number in given)})" for function, given in calls]
    entry = generated_module(f"{name.replace('+', '_')}_{dtype}", "\n".join([*lines, "    return 0", ""])).run_entry
    arguments = ", ".join(f"a{number}?" if kind == "array" and number else f"{'' if kind == 'array' else 'float '}a{number}"
                          for number, kind in enumerate(kinds))  # fmt: skip
    return compiled.kernel_at(f"{name}({arguments})", entry.address, entry.address)
