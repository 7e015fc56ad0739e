"""Shared fixtures."""

import os

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


@pytest.fixture
def two_threads():
    """Two threads in the test, the former number afterwards."""
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(2)
    yield
    fastnn.set_num_threads(before)
