"""The suites: which kernels and networks are compared, for a minute or two or for as long as it takes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from fastnn.functional import checks
from fastnn.threads import get_num_threads, set_num_threads

from .. import peers as libraries
from ..problems.networks import NETWORKS
from ..problems.rows import DIRECTIONS, ROWS
from ..timing import pinned
from .kernels import Result, Settings, compare
from .networks import compare_network
from .report import Run, left_out, versions

SUITES = {"kernels": DIRECTIONS, "networks": ("step", "epoch"), "inference": ("predict", "predict batch")}
SHORT_DIRECTIONS = {"kernels": ("forward", "backward"), "networks": ("step",), "inference": ("predict", "predict batch")}
SHORT_ROWS = (
    "linear 1x256->256", "linear 32x784->128", "linear 128x1024->1024", "conv 3x3 128x28x28 N=1", "conv 5x5 1x28x28->6 N=16",
    "conv depthwise 3x3 384x14x14 N=1", "max pool 2x2 32x28x28 N=64", "average pool global 64x112x112 N=1", "relu 1e5", "tanh 1e5",
    "gelu 1e5", "softmax 128x1000", "cross entropy 128x10", "Adam 1M",
)  # fmt: skip
SHORT_NETWORKS = ("64-32-10, batch 32, Adam", "784-128-10, batch 64, Adam", "LeNet-5, batch 64, SGD momentum")
_SHORT, _FULL = (0.3, 5), (0.8, 7)  # seconds of measuring for each result, and rounds at least


def bench(
    suites: Sequence[str] = tuple(SUITES),
    *,
    full: bool = False,
    peers: Sequence[str] = libraries.NETWORKS,
    threads: int = 1,
    dtype: str = "float32",
    progress: Callable[[str], None] | None = None,
    after_each: Callable[[Run], None] | None = None,
) -> Run:
    """Compare kernels and networks with the reference and other libraries, each result checked before it is timed.

    Parameters
    ----------
    suites : sequence of "kernels", "networks", "inference"
    full : bool
        All rows, networks and contests instead of a short set of them.
    peers : sequence of str
        Of "numpy", "torch", "jax", "onnxruntime", "sklearn"; those that are not installed do not take part.
    threads : int
        For everybody.
    dtype : "float32" or "float64"
    progress : callable, optional
        Told what is being measured.
    after_each : callable, optional
        Given the run after each result, for one that lasts long.

    Returns
    -------
    Run

    Raises
    ------
    TypeError, ValueError
        Where an argument is wrong.
    ImportError
        Without threadpoolctl, which holds NumPy's BLAS to its threads.

    Examples
    --------
    >>> from fastnn.measure.bench.suites import bench
    >>> run = bench([], peers=["numpy"])  # of no suite, which takes no time
    >>> run.versions["threads"], run.results
    ('1', [])
    """
    suites, peers = checks.choices("suites", suites, SUITES), checks.choices("peers", peers, libraries.NETWORKS)
    dtype = checks.choice("dtype", dtype, ("float32", "float64"))
    threads, before = checks.integer("threads", threads, 1), get_num_threads()
    with ExitStack() as stack:
        stack.callback(set_num_threads, before)
        set_num_threads(threads)
        stack.enter_context(pinned(threads))
        found = stack.enter_context(libraries.running(peers, threads))
        budget, rounds = _FULL if full else _SHORT
        settings = Settings(
            found, dtype, threads, budget, rounds, (), numba=False, two_threads=False, reference=True, compilers=full
        )  # fmt: skip
        run = Run(versions(settings), left_out(libraries.NETWORKS, found))
        stack.callback(gc.unfreeze)
        gc.freeze()  # what the libraries have loaded need not be searched before every row
        for suite in suites:
            directions = (SUITES if full else SHORT_DIRECTIONS)[suite]
            for result in _results(suite, replace(settings, directions=directions), full, progress or (lambda text: None)):
                run.results.append(result)
                if after_each is not None:
                    after_each(run)
    return run


def _results(suite: str, settings: Settings, full: bool, tell: Callable[[str], None]) -> Iterator[Result]:
    if suite == "kernels":
        for row in ROWS:
            if full or row.label in SHORT_ROWS:
                tell(row.label)
                yield from compare(row, settings)
        return
    for network in NETWORKS:
        if full or network.name in SHORT_NETWORKS:
            tell(f"{network.name}: {' and '.join(settings.directions)}")
            yield from compare_network(network, settings)
