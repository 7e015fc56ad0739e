"""Shared fixtures."""

import os

import numpy as np
import pytest

import fastnn

# Python programs that tests start shall import the installed package, not the checkout that they are started in.
os.environ["PYTHONSAFEPATH"] = "1"


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def two_threads():
    """Two threads in the test, the former number afterwards."""
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(2)
    yield
    fastnn.set_num_threads(before)
