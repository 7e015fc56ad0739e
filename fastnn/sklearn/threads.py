"""The number of threads during a fit or a prediction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import fastnn

_users, _lock = [0, 0], threading.Lock()  # blocks that set the number of threads, and what it was before the first of them


@contextmanager
def threads(n: int | None) -> Iterator[None]:
    """Let the kernels use ``n`` threads; None changes nothing. The number is the process's: of fits side by side the latest decides."""
    if n is None:
        yield
        return
    with _lock:
        _users[:] = _users[0] + 1, _users[1] if _users[0] else fastnn.get_num_threads()
        fastnn.set_num_threads(n)
    try:
        yield
    finally:
        with _lock:
            _users[0] -= 1
            if not _users[0]:
                fastnn.set_num_threads(_users[1])
