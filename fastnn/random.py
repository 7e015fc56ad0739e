"""fastnn's own random generator. NumPy's global one is never touched."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

seeding = {"number": 0}  # grows with each manual_seed, so that a plan knows that it has to draw anew

_lock = threading.Lock()
_own: np.random.Generator | None = None  # made when it is first wanted: numpy.random takes a while to import
if hasattr(os, "register_at_fork"):  # no child is born with a lock that nobody in it will release
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def manual_seed(seed: int) -> None:
    """Start fastnn's own generator anew from ``seed``, so that everything random repeats.

    Raises
    ------
    TypeError, ValueError
        Where ``seed`` is not a non-negative int.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.manual_seed(0)
    """
    global _own
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed: expected a non-negative int, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed: expected a non-negative int, got {seed}")
    with _lock:
        _own = np.random.default_rng(int(seed))
        seeding["number"] += 1


def generator(rng: Any = None) -> np.random.Generator:
    """A generator: ``rng`` itself, a new one from an int seed, or for None a fresh child of fastnn's own.

    The child makes calls from many threads safe: no two of them draw from one stream.

    Raises
    ------
    TypeError, ValueError
        Where ``rng`` is none of these, or a negative seed.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.random.generator(1).integers(10) == fastnn.random.generator(1).integers(10)
    np.True_
    """
    global _own
    if rng is None:
        with _lock:  # the import of numpy.random, too, is over before anyone forks
            if _own is None:
                _own = np.random.default_rng()
            return np.random.default_rng(_own.integers(2**63))
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, (bool, np.bool_)):
        if rng < 0:
            raise ValueError(f"rng: expected a non-negative seed, got {rng}")
        return np.random.default_rng(int(rng))
    raise TypeError(f"rng: expected None, an int seed or a numpy.random.Generator, got {rng!r}")
