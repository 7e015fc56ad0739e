"""The libraries that fastnn is compared with, each at its best setting.

``NAME_kernels`` has ``variants(problem)`` -> {name of a setting: calls by direction} and ``to_numpy(result)``; ``NAME_networks`` has
``contestants(problem)`` -> {contest: {name of a setting: call}}, where a contest is "step" (a call trains on one batch and gives the
loss), "epoch" (on all of them, the mean loss) or "predict" (one example, an array), and, where a step can be taken apart,
``stages(problem)`` -> {name of a setting: (forward, backward, update)}. One of the two has ``version``, and ``running(threads)`` where
the library must be held to so many threads. A library is imported when it is asked for, and nothing of it stays set afterwards.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

TITLES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX", "onnxruntime": "ONNX Runtime", "sklearn": "scikit-learn"}
KERNELS = ("numpy", "torch", "jax", "onnxruntime")
NETWORKS = ("numpy", "torch", "jax", "onnxruntime", "sklearn")
_NEEDED = {"onnxruntime": ("onnx",)}  # beside the library itself


class Peer(NamedTuple):
    """A library that is installed.

    Attributes
    ----------
    version : str
    kernels, networks : module or None
        What it can do, as the package describes.
    """

    version: str
    kernels: ModuleType | None
    networks: ModuleType | None


def missing(names: Sequence[str]) -> list[str]:
    """Those of the peers that are not installed."""
    return [name for name in names if any(find_spec(package) is None for package in (name, *_NEEDED.get(name, ())))]


@contextmanager
def running(names: Sequence[str], threads: int) -> Iterator[dict[str, Peer]]:
    """The peers that are installed, in the block held to so many threads, as is NumPy's BLAS.

    Raises
    ------
    ImportError
        Without threadpoolctl, which holds the BLAS.
    """
    if find_spec("threadpoolctl") is None:
        raise ImportError("comparing on a number of threads needs threadpoolctl: pip install 'fastnn[bench]'")
    from threadpoolctl import threadpool_limits

    absent, found = missing(names), {}
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(threads, "blas"))
        for name in names:
            if name not in absent:
                parts = [
                    importlib.import_module(f"{__name__}.{name}_{kind}") if name in known else None
                    for kind, known in (("kernels", KERNELS), ("networks", NETWORKS))
                ]
                first = next(part for part in parts if part is not None)
                if hasattr(first, "running"):
                    stack.enter_context(first.running(threads))
                found[name] = Peer(first.version, *parts)
        yield found
