"""The libraries that fastnn is compared with, each at its best setting.

A peer's module has ``version``, ``variants(problem)`` -> {name of a setting: calls by direction}, ``to_numpy(result)`` and
``start(threads)``, which is called once before anything else.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from threadpoolctl import threadpool_limits

NAMES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX", "onnxruntime": "ONNX Runtime"}


def load(names: list[str], threads: int) -> tuple[dict[str, ModuleType], list[str]]:
    """The peers that are installed, held to so many threads as is NumPy's BLAS, and the names of those that are not."""
    threadpool_limits(threads, "blas")
    found, missing = {}, []
    for name in names:
        try:
            found[name] = importlib.import_module(f"{__package__}.{name}_peer")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in (name, "onnx"):
                raise
            missing.append(name)
            continue
        found[name].start(threads)
    return found, missing
