"""Shared fixtures."""

import os
import sys
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import threads

# Python programs that tests start shall import the installed package, not the checkout that they are started in.
os.environ["PYTHONSAFEPATH"] = "1"


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def shared_work():
    """Kernels share work between threads however little it is."""
    if threads.parallel is None:
        yield
        return
    before = threads.parallel.set_work_per_thread(1)
    yield
    threads.parallel.set_work_per_thread(before)


def _with_threads(n):
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(n)
    yield
    fastnn.set_num_threads(before)


@pytest.fixture
def one_thread():
    """One thread in the test, the former number afterwards."""
    yield from _with_threads(1)


@pytest.fixture
def two_threads():
    """Two threads in the test, the former number afterwards."""
    yield from _with_threads(2)


@pytest.fixture
def releases_the_gil():
    """A function that calls a function and says whether another thread got on meanwhile.

    With a switch interval of an hour it does so only where the GIL is let go of.
    """
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0)

    def releases(function, *args):
        thread = threading.Thread(target=count, daemon=True)
        interval = sys.getswitchinterval()
        thread.start()
        try:
            sys.setswitchinterval(3600)
            start, deadline = counted[0], time.perf_counter() + 5
            while counted[0] == start and time.perf_counter() < deadline:
                function(*args)
            return counted[0] > start
        finally:
            stop.set()
            sys.setswitchinterval(interval)
            thread.join()

    return releases
